"""From plans and stores to batches, ahead of time and in a reproducible order."""
