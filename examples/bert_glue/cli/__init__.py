"""The command line: options, what they choose, and the frame of every script."""
