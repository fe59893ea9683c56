"""Blocks that can be told apart: a key and bytes for every number."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def key_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "little")).digest()


def bytes_of(number: int, num_bytes: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, num_bytes, dtype=np.uint8)
