"""The table of copy paths that the native core measures: read, shown, and bent towards one path. No device needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PATHS: Final = ("loop", "batch", "kernel", "staged")
DIRECTIONS: Final = ("offload", "restore")
_HEADER_LINES: Final = 4  # csrc/cuda/calibration.hpp: version, device, driver, runtime


@dataclass(frozen=True, slots=True)
class PathTime:
    """`seconds` to move `num_runs` runs of `run_bytes` bytes each."""

    direction: str
    path: str
    run_bytes: int
    num_runs: int
    seconds: float

    @property
    def gb_per_s(self) -> float:
        return self.run_bytes * self.num_runs / self.seconds / 1e9


def parse(text: str) -> list[PathTime]:
    """Rows of what `_core.cuda_calibrate()` returned."""
    words = [line.split() for line in text.splitlines()[_HEADER_LINES:]]
    return [PathTime(d, p, int(size), int(count), float(seconds)) for d, p, size, count, seconds in words]


def favouring(text: str, path: str) -> str:
    """The same table with `path` the fastest everywhere, so that a backend takes it wherever it can."""
    lines = text.splitlines()
    rows = parse(text)
    if path not in {row.path for row in rows}:
        raise ValueError(f"the table has no {path}")
    bent = [f"{r.direction} {r.path} {r.run_bytes} {r.num_runs} {'1e-6' if r.path == path else '1e-3'}" for r in rows]
    return "\n".join([*lines[:_HEADER_LINES], *bent]) + "\n"


def table(rows: Sequence[PathTime]) -> list[str]:
    """GB/s by direction, size and count, a column per path; the fastest is starred, "-" was not measured."""
    lines = [f"{'':9}{'run bytes':>10}{'runs':>6}" + "".join(f"{path:>10}" for path in PATHS) + "   GB/s"]
    points = sorted({(row.direction, row.run_bytes, row.num_runs) for row in rows})
    for direction, run_bytes, num_runs in points:
        speeds = {
            r.path: r.gb_per_s
            for r in rows
            if (r.direction, r.run_bytes, r.num_runs) == (direction, run_bytes, num_runs)
        }
        best = max(speeds, key=lambda path: speeds[path])
        cells = [f"{speeds[p]:.2f}{'*' if p == best else ' '}" if p in speeds else "- " for p in PATHS]
        lines.append(f"{direction:9}{run_bytes:>10}{num_runs:>6}" + "".join(f"{cell:>10}" for cell in cells))
    return lines
