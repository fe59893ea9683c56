"""Judges runtimes by their traces. Knows the contract and its protocol; runtimes are found by name (`runtimes.py`)."""
