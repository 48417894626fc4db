"""Checks of a modality's files and previews."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from anytime_core.errors import DataError
from anytime_core.modality import FILE_TOLERANCE, PreviewRow
from anytime_core.testing.modality.subject import Subject, check


@check()
def files_are_read_as_written(subject: Subject, folder: Path) -> None:
    """A sample that is written in the default format and read again is the same within `file_tolerance`."""
    tolerance = getattr(subject.modality, "file_tolerance", FILE_TOLERANCE)
    suffix = subject.modality.suffixes[0]
    for number, x in enumerate(subject.x):
        path = folder / f"{number}{suffix}"
        subject.made.write(x.clone(), path)
        again = subject.made.read(path)
        assert again.dtype == torch.float32, f"read() gives {again.dtype}, not float32"
        assert again.shape == x.shape, f"read() gives {tuple(again.shape)} for a sample of {tuple(x.shape)}"
        worst = (again - x).abs().max().item()
        assert worst <= tolerance, f"a {suffix} file differs by {worst:.4g} from what was written"


@check()
def every_suffix_is_written(subject: Subject, folder: Path) -> None:
    """`write` makes one file for each suffix and nothing else, even if values are beyond [-1, 1]."""
    for suffix in subject.modality.suffixes:
        path = folder / f"x{suffix}"
        subject.made.write(subject.x[0] * 3, path)
        assert path.exists(), f"write() made no {path.name}"
        assert path.stat().st_size, f"write() made an empty {path.name}"
    others = sorted({path.name for path in folder.iterdir()} - {f"x{suffix}" for suffix in subject.modality.suffixes})
    assert not others, f"write() made {', '.join(others)} too"


@check()
def damaged_files_are_named(subject: Subject, folder: Path) -> None:
    """A missing, an empty and a damaged file are refused with a DataError that names the file."""
    suffix = subject.modality.suffixes[0]
    missing, empty, damaged = (folder / f"{name}{suffix}" for name in ("missing", "empty", "damaged"))
    empty.touch()
    damaged.write_bytes(bytes(random.Random(0).randrange(256) for _ in range(300)))
    for path in (missing, empty, damaged):
        try:
            subject.made.read(path)
        except DataError as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(f"a {path.stem} file raises {type(error).__name__}, not DataError: {error}") from error
        else:
            raise AssertionError(f"a {path.stem} file is read without an error")
        assert path.name in message, f"the error for {path.name} does not name it: {message}"


@check()
def previews_are_pictures(subject: Subject, folder: Path) -> None:
    """`preview` writes a PNG of one or more rows, with and without captions, even if rows differ in length."""
    x = subject.x
    for number, rows in enumerate(
        ([PreviewRow("", x[:1])], [PreviewRow("original", x), PreviewRow("60 %", x[:2]), PreviewRow("", x)])
    ):
        path = folder / f"preview{number}.png"
        subject.made.preview(rows, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n"), f"preview() wrote no PNG to {path.name}"
