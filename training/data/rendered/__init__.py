"""Training pairs of what is rendered here."""
