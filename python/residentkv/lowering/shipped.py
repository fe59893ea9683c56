"""The descriptors that come with the package, by runtime."""

from importlib import resources
from pathlib import Path


def shipped_descriptors() -> list[Path]:
    """Their paths, in order of their names."""
    folder = Path(str(resources.files("residentkv.lowering"))) / "descriptors"
    return sorted(folder.glob("*.toml"))


def shipped_rows_file(row_id: str) -> Path | None:
    """The shipped descriptor that mentions `row_id`, None if none does."""
    line = f'id = "{row_id}"'
    return next((path for path in shipped_descriptors() if line in path.read_text(encoding="utf-8")), None)
