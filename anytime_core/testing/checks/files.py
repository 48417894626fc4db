"""Its files and pictures."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

from anytime_core.errors import DataError
from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.modality import (
    FILE_TOLERANCE,
    HasExtractors,
    HasFeatureNetwork,
    OpensFiles,
    PreviewRow,
    Restored,
    RestoresFiles,
    ShowsGrowth,
    UserFile,
    WeightsSource,
)
from anytime_core.testing.checks.subject import Subject, check


@check
def files_are_read_as_written(subject: Subject, folder: Path) -> None:
    """A sample that is written and read again is itself within `file_tolerance`, in the default format."""
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


@check
def every_suffix_is_written(subject: Subject, folder: Path) -> None:
    """`write` makes a file for each of the suffixes, of values beyond [-1, 1] too, and nothing else."""
    for suffix in subject.modality.suffixes:
        path = folder / f"x{suffix}"
        subject.made.write(subject.x[0] * 3, path)
        assert path.exists(), f"write() made no {path.name}"
        assert path.stat().st_size, f"write() made an empty {path.name}"
    others = sorted({path.name for path in folder.iterdir()} - {f"x{suffix}" for suffix in subject.modality.suffixes})
    assert not others, f"write() made {', '.join(others)} too"


@check
def damaged_files_are_named(subject: Subject, folder: Path) -> None:
    """A missing, an empty and a damaged file are each refused with a DataError that names it."""
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


@check
def previews_are_pictures(subject: Subject, folder: Path) -> None:
    """`preview` writes a PNG of one row or several, with and without captions, also where rows differ in length."""
    x = subject.x
    for number, rows in enumerate(
        ([PreviewRow("", x[:1])], [PreviewRow("original", x), PreviewRow("60 %", x[:2]), PreviewRow("", x)])
    ):
        path = folder / f"preview{number}.png"
        subject.made.preview(rows, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n"), f"preview() wrote no PNG to {path.name}"


@check
def optional_parts_work(subject: Subject, folder: Path) -> None:
    """What the modality offers beyond its duties does what the contract says of it."""
    made, x = subject.made, subject.x
    if isinstance(made, OpensFiles):
        _check_opened(subject, made.open_file, folder)
    if isinstance(made, RestoresFiles):
        assert made.restores in get_args(Restored), f"restores is {made.restores!r}, not size or rate"
        _check_opened(subject, made.open_to_restore, folder)
    if isinstance(made, ShowsGrowth):
        (folder / "growth").mkdir()
        made.write_growth(list(x[:3]), folder / "growth" / "stem")
        names = [path.name for path in (folder / "growth").iterdir()]
        assert names, "write_growth() wrote nothing"
        assert all(name.startswith("stem") for name in names), f"write_growth() wrote {names}, not named after the stem"
    if isinstance(made, HasFeatureNetwork):
        features = made.feature_network().eval()(x)
        assert features.ndim == 2, f"feature_network() gives {tuple(features.shape)}, not [B, F]"
        assert len(features) == len(x), f"feature_network() makes {len(features)} rows of {len(x)} samples"
    if isinstance(made, HasExtractors):
        offered = made.extractors()
        assert CLASSIFIER not in offered, f"extractor {CLASSIFIER!r} is core's own"
        for name, one in offered.items():
            if one.default:
                extractor = one.load(WeightsSource())
                features = extractor.features(x)
                assert features.ndim == 2, f"extractor {name} gives {tuple(features.shape)}, not [B, F]"
                assert features.dtype == torch.float32, f"extractor {name} gives {features.dtype}, not float32"
                alone = extractor.features(x[1:2])
                torch.testing.assert_close(alone, features[1:2], rtol=1e-3, atol=1e-3)
                assert extractor.description.strip(), f"extractor {name} has no description"


def _check_opened(subject: Subject, open_file: Callable[[Path], UserFile], folder: Path) -> None:
    """A file that is opened gives as many samples as it says, and writes them as a file that can be read."""
    suffix, x, name = subject.modality.suffixes[0], subject.x[0], open_file.__name__
    path, copy = folder / f"user{suffix}", folder / f"{name}{suffix}"
    subject.made.write(x, path)
    file = open_file(path)
    parts = list(file)
    assert len(parts) == len(file) > 0, f"{name}() says {len(file)} samples and gives {len(parts)}"
    assert all(part.shape == x.shape for part in parts), f"{name}() gives samples of another shape"
    file.write(iter(parts), copy)
    assert copy.stat().st_size, f"write() of what {name}() opened wrote nothing"
    assert subject.made.read(copy).shape == x.shape, f"write() of what {name}() opened wrote what cannot be read"
