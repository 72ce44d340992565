"""What evaluates the velocity: eager first, other evaluators behind the same call."""
