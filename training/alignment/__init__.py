"""Alignment with what people like: candidates by guidance, choices among them, training on what was chosen."""
