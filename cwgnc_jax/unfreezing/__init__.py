"""Gradual unfreezing, section 2 and Algorithm 1 of the paper."""
