"""Many runs: which are missing, doing them in groups of seeds, and what they give."""
