"""Where data sets are looked for, and where what is made of them is kept."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anytime_core.errors import DataError, UsageError

_T = TypeVar("_T")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|pipe:")

_ADVICE = re.compile(r"\W*(You can use|Please use) .?download=True.? to download it\W*$")
"""Advice in errors of torchvision and torchaudio, which is for programmers."""

DATA_VARIABLE = "ANYTIME_DATA"
"""Environment variable naming the folder that holds the user's data sets, one folder each."""


def user_path(text: str | os.PathLike[str]) -> Path:
    """The file or folder that a user means by `text`: a leading `~` or `~user` stands for a home folder.

    A file really called `~x` is reached as `./~x`, and as `~x` too if there is no user `x` and the file exists.

    Raises:
        UsageError: the text is empty, names the home folder of nobody, or has a character that no file name can have.
    """
    written = os.fspath(text)
    if not written:
        raise UsageError("'' names no file or folder: use . for the present folder")
    if "\0" in written:
        raise UsageError(f"{written!r} cannot be the name of a file or folder: leave the null character out")
    home = written.partition("/")[0]
    if not home.startswith("~"):
        path = Path(written)
        # Without ./ it would mean a home folder to the next reader.
        return path.absolute() if path.parts and path.parts[0].startswith("~") else path
    try:
        return Path(written).expanduser()
    except RuntimeError:
        if os.path.lexists(home):
            return Path(written).absolute()
        whose = f"no user is called '{home[1:]}'" if home != "~" else "this user has no home folder"
        raise UsageError(
            f"{written}: {whose}; name the folder in full, or write ./{written} if it is called so"
        ) from None


def lasting_path(text: str | os.PathLike[str]) -> Path:
    """As `user_path`, but valid from any folder: absolute, unless `text` is the address of something elsewhere."""
    path = user_path(text)
    return path if _ADDRESS.match(os.fspath(text)) else path.absolute()


def from_here(path: Path) -> str:
    """`path` for a message: relative to the present folder if it lies below it."""
    with contextlib.suppress(OSError, ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def data_candidates(name: str, root: Path | None = None) -> list[Path]:
    """Folders in which the data set `name` is looked for, in order; only `root` if it is given."""
    if root is not None:
        return [user_path(root)]
    home = os.environ.get(DATA_VARIABLE)
    folders = [user_path(home) / name] if home else []
    return [*folders, Path("data") / name, user_path("~/.cache/anytime") / name]


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
        root: the `data.root` of the config, None for the usual places.
        download: whether it may be fetched, into `root` or else into the last place, the user's cache.
        open_in: (folder, whether to download) -> the data set; raises if it is not there.
        way_out: what helps, besides setting the root, if the data set is missing.

    Raises:
        DataError: it is in none of the places; the message says for each what was wrong there.
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
            told = _ADVICE.sub("", " ".join(str(error).split()))[:200]
            problems.append(f"{from_here(folder)}: {told or type(error).__name__}")
    looked = ", ".join(map(from_here, candidates))
    found = f" ({'; '.join(problems)})" if problems else ""
    further = "" if download else f", or {way_out}"
    raise DataError(f"data set '{name}' not found in {looked}{found}: set data.root=DIR to where it is{further}")


def cache_folder(name: str) -> Path:
    """Where derived data called `name` is kept: below `$XDG_CACHE_HOME`, or `~/.cache`, in `anytime`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return user_path(home or "~/.cache") / "anytime" / name
