"""A picture of the pool: one character per block, in the order of block ids, and a legend that counts them.

####################
AAABBB--............
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

# Codes of `block_states`.
_FREE, _CACHED, _ACTIVE, _RESIDENT_IDLE, _RESIDENT_ACTIVE, _NULL = range(6)

# Glyph, style, meaning. The glyphs differ by themselves: the picture reads the same without colour.
_PLAIN: Final = {
    _FREE: (".", "dim", "free"),
    _CACHED: ("-", "yellow", "cached, may be evicted"),
    _RESIDENT_IDLE: ("#", "bold green", "claimed, held by no request"),
    _RESIDENT_ACTIVE: ("@", "bold green", "claimed and in use"),
}
_SHARED: Final = ("+", "cyan", "shared by requests")
_OWN_STYLE: Final = "bold cyan"
_UNNAMED: Final = ("?", _OWN_STYLE, "other requests")


def draw_pool(states: NDArray[np.uint8], holders: Mapping[str, Sequence[int]], *, width: int = 48) -> Text:
    """Draw who holds which block.

    Parameters
    ----------
    states : `[rows of the storage]` uint8, as `PoolView.block_states`; a null block is left out.
    holders : request id to the blocks it holds. The first 26 get letters.
    width : blocks per line, > 0.

    Returns
    -------
    The picture's lines and one legend line, without a newline at the end.
    """
    names = dict(zip(holders, ascii_uppercase, strict=False))
    owners: dict[int, list[str]] = {}
    for request_id, blocks in holders.items():
        for block in blocks:
            owners.setdefault(block, []).append(request_id)
    cells = [
        _cell(int(state), owners.get(block, []), names) for block, state in enumerate(states.tolist()) if state != _NULL
    ]
    text = Text()
    for begin in range(0, len(cells), width):
        text.append("  ")
        for glyph, style, _ in cells[begin : begin + width]:
            text.append(glyph, style)
        text.append("\n")
    text.append("  ")
    for number, ((glyph, style, meaning), count) in enumerate(Counter(cells).items()):
        text.append("   " if number else "")
        text.append(glyph, style)
        text.append(f" {meaning}: {count}")
    return text


def _cell(state: int, owners: Sequence[str], names: Mapping[str, str]) -> tuple[str, str, str]:
    if state != _ACTIVE:
        return _PLAIN[state]
    if len(owners) > 1:
        return _SHARED
    if not owners or owners[0] not in names:
        return _UNNAMED
    return (names[owners[0]], _OWN_STYLE, owners[0])
