"""One trainer for every recipe: steps, checkpoints, processes, logs, and what is made of a run."""
