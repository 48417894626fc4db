"""Where data sets are looked for, and where what is made of them is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anytime_core.errors import DataError

_T = TypeVar("_T")

DATA_VARIABLE = "ANYTIME_DATA"
"""Environment variable naming the folder that holds the user's data sets, one folder each."""


def data_candidates(name: str, root: Path | None = None) -> list[Path]:
    """Folders in which the data set `name` is looked for, in order; `root` alone where it is given."""
    if root is not None:
        return [root.expanduser()]
    home = os.environ.get(DATA_VARIABLE)
    folders = [Path(home).expanduser() / name] if home else []
    return [*folders, Path("data") / name, Path.home() / ".cache" / "anytime" / name]


def open_data_set(
    name: str,
    root: Path | None,
    *,
    download: bool,
    open_in: Callable[[Path, bool], _T],
    way_out: str = "data.download=true to fetch it",
) -> _T:
    """The data set `name` from the first of its candidate folders in which it can be opened.

    Args:
        name: what configs call it.
        root: the config's `data.root`, None for the usual places.
        download: whether it may be fetched, into `root` or else into the last place, the user's cache.
        open_in: (folder, whether to download) -> the data set; raises where it is not there.
        way_out: what else than setting the root helps where the data set is missing.

    Raises:
        DataError: naming every place with what was wrong there.
    """
    candidates = data_candidates(name, root)
    problems: list[str] = []
    for position, folder in enumerate(candidates):
        fetch = download and position == len(candidates) - 1
        if not folder.is_dir() and not fetch:
            continue
        try:
            if fetch:
                folder.mkdir(parents=True, exist_ok=True)
            return open_in(folder, fetch)
        except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
            problems.append(f"{folder}: {' '.join(str(error).split())[:200] or type(error).__name__}")
    looked = ", ".join(str(folder) for folder in candidates)
    found = f" ({'; '.join(problems)})" if problems else ""
    further = "" if download else f", or {way_out}"
    raise DataError(f"data set '{name}' not found in {looked}{found}: set data.root=DIR to where it is{further}")


def cache_folder(name: str) -> Path:
    """Where derived data called `name` is kept: below `$XDG_CACHE_HOME`, or `~/.cache`, in `anytime`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "anytime" / name
