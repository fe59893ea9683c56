"""Speed of the public Python API: one table of cases, one command (`python -m bench`), see README.md."""
