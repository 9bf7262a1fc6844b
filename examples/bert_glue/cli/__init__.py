"""The command line: options, what they choose, and the frame of every script.

The scripts import ``parser``, ``options`` and ``choices`` at their top. These import
nothing that takes long: a command line is answered, or refused, before JAX is imported.
"""
