"""What makes the network fast on a CPU; nothing here changes what it computes."""
