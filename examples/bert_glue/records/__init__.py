"""What is on the disk: finished runs, what made them, checkpoints inside runs."""
