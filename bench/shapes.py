"""Sizes that our workloads and the peers' share, so that both sides of a ratio do the same work."""

from typing import Final

BLOCK_TOKENS: Final = 16
REQUEST_BLOCKS: Final = 64  # blocks of the request that is admitted, or of the prefix that is hit
NUM_RUNNING: Final = 256  # requests of a decode step
DECODE_PROMPT_BLOCKS: Final = 8
DECODE_STEPS_OF_A_LIFE: Final = 256  # then every running request finishes and another takes its place
EVICTED_BLOCKS: Final = 512  # taken from a full pool by one admission
