"""Edits of one thing in a picture, by masks: where to edit, three forms of the mask, and which answer is the best."""
