"""A small continuous-batching server over the block manager: load a model, run requests, show what the pool does."""
