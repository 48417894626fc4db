"""Where data sets are looked for when a config names no `data.root`."""

from __future__ import annotations

import os
from pathlib import Path

DATA_VARIABLE = "ANYTIME_DATA"
"""Environment variable naming the folder that holds the user's data sets, one folder each."""


def data_candidates(name: str, root: Path | None = None) -> list[Path]:
    """Folders in which the data set `name` is looked for, in order; `root` alone where it is given."""
    if root is not None:
        return [root.expanduser()]
    home = os.environ.get(DATA_VARIABLE)
    folders = [Path(home).expanduser() / name] if home else []
    return [*folders, Path("data") / name, Path.home() / ".cache" / "anytime" / name]
