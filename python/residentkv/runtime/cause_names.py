"""Causes of invalidations, which callers give as text and native records carry as small numbers."""

from typing import Final

_MAX_CAUSES: Final = (1 << 16) - 1  # records carry a cause in 16 bits; the last one is the core's own


class CauseNames:
    """Numbers for texts. REQUIRES that records are read before `clear`."""

    __slots__ = ("_numbers", "_texts")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def __getitem__(self, number: int) -> str:
        return self._texts[number]

    @property
    def is_full(self) -> bool:
        """Whether another new text has no number."""
        return len(self._texts) == _MAX_CAUSES

    def number(self, text: str) -> int:
        """The number of `text`, the same until `clear`. REQUIRES: not is_full."""
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return known

    def clear(self) -> None:
        """Forget every text."""
        self._texts.clear()
        self._numbers.clear()
