"""Watching a run: sinks that take its events, and reading a trace back."""
