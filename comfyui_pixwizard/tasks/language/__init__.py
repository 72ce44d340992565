"""Sentences of the tasks, the grammar that says them in other words, and the guess of a task from a sentence."""
