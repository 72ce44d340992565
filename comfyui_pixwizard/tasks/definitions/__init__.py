"""The tasks by domain: words, code and defaults of each."""
