"""A small English: its lexicon, its grammar, and three tasks made of its sentences."""
