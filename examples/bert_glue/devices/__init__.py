"""The machine: its devices and their memory, and processes that share a program."""
