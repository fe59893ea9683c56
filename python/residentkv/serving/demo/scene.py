"""What a scene of the demo reports, and who tells the story."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rich.text import Text


@dataclass(frozen=True, slots=True)
class Scene:
    """One finished scene.

    Attributes
    ----------
    checks : what had to happen, by name, and whether it did.
    facts : the numbers, as JSON values.
    """

    name: str
    checks: Mapping[str, bool]
    facts: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(self.checks.values())

    def as_json(self) -> dict[str, Any]:
        """`{"name": ..., "ok": ..., "facts": {...}}`; the checks that failed are among the facts."""
        failed = [name for name, passed in self.checks.items() if not passed]
        return {
            "name": self.name,
            "ok": self.ok,
            "facts": {**self.facts, **({"failed_checks": failed} if failed else {})},
        }


class Narrator(Protocol):
    """Tells people what happens, while it happens."""

    def begin(self, title: str) -> None:
        """Open a scene."""

    def say(self, text: str) -> None:
        """One paragraph."""

    def show(self, caption: str, picture: Text) -> None:
        """A picture of the pool."""

    def end(self, scene: Scene) -> None:
        """Close the scene with its verdict."""
