"""A runtime that has everything except the contract; what the bad-lowering suite points at."""
