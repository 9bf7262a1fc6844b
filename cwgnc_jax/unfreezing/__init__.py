"""Gradual unfreezing, section 2 and Algorithm 1: groups, labels, parts, stages."""
