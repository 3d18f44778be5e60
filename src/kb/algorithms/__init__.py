"""Algorithms and Python itself, small: each in a package of its own."""
