"""Evaluation: every task scored beside copying the input and beside the autoencoder's own ceiling."""
