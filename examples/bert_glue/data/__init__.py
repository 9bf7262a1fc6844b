"""Tasks, their examples, their tokens and batches, and how predictions are scored."""
