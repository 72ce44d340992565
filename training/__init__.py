"""Training: rendered data, degradations, recipes, the trainer and evaluation."""
