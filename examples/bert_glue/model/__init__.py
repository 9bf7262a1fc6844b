"""BERT in Flax NNX, and the checkpoints that it is read from and saved to."""
