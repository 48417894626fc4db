"""Checks of what a modality offers beyond the required methods."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import torch

from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.modality import Restored, UserFile, WeightsSource
from anytime_core.testing.modality.subject import Subject, check

_THREADS = 4


@check("opens-files")
def opened_files_are_samples(subject: Subject, folder: Path) -> None:
    """A file that is opened gives as many samples as its length says, and writes them as a readable file."""
    made: Any = subject.made
    _check_opened(subject, made.open_file, folder)


@check("restores-files")
def restored_files_are_samples(subject: Subject, folder: Path) -> None:
    """A file that is opened to be restored does the same, and `restores` says which property is restored."""
    made: Any = subject.made
    assert made.restores in get_args(Restored), f"restores is {made.restores!r}, not size or rate"
    _check_opened(subject, made.open_to_restore, folder)


@check("writes-in-memory")
def contents_are_those_of_files(subject: Subject, folder: Path) -> None:
    """`contents` gives what `write` writes, for each suffix, beyond [-1, 1] too, and in several threads at a time."""
    made: Any = subject.made
    x = subject.x * 3
    for suffix in subject.modality.suffixes:
        names = [f"{number}{suffix}" for number in range(len(x))]
        for sample, name in zip(x, names, strict=True):
            subject.made.write(sample, folder / name)
        expected = [(folder / name).read_bytes() for name in names]
        with ThreadPoolExecutor(_THREADS) as threads:
            several = list(threads.map(lambda _, names=names: made.contents(x.clone(), names), range(_THREADS)))
        for contents in several:
            assert contents == expected, f"contents() of {suffix} files are not what write() writes"


@check("shows-growth")
def growth_is_named_after_the_stem(subject: Subject, folder: Path) -> None:
    """`write_growth` writes files, and the name of each starts with the stem."""
    made: Any = subject.made
    made.write_growth(list(subject.x[:3]), folder / "stem")
    names = [path.name for path in folder.iterdir()]
    assert names, "write_growth() wrote nothing"
    assert all(name.startswith("stem") for name in names), f"write_growth() wrote {names}, not named after the stem"


@check("feature-network")
def features_are_rows(subject: Subject, folder: Path) -> None:
    """The feature network makes [B, F] of samples."""
    made: Any = subject.made
    features = made.feature_network().eval()(subject.x)
    assert features.ndim == 2, f"feature_network() gives {tuple(features.shape)}, not [B, F]"
    assert len(features) == len(subject.x), f"feature_network() makes {len(features)} rows of {len(subject.x)} samples"


@check("needs-views")
def the_setting_that_needs_views_is_one_of_the_config(subject: Subject, folder: Path) -> None:
    """`needs_views` names a setting as `section.key=value`, or nothing; if it does, `augment` draws new samples."""
    made: Any = subject.made
    setting = made.needs_views()
    assert isinstance(setting, str), f"needs_views() is {setting!r}, not a string"
    if setting:
        value: Any = subject.modality.Config.model_validate(subject.config)
        for name in setting.partition("=")[0].split("."):
            assert hasattr(value, name), f"needs_views() names {setting}, and the config has no {name}"
            value = getattr(value, name)
        first, second = (made.augment(subject.x, torch.Generator().manual_seed(seed)) for seed in range(2))
        assert not torch.equal(first, second), f"needs_views() names {setting}, and augment draws nothing"


@check("extractors")
def extractors_give_features(subject: Subject, folder: Path) -> None:
    """Each default extractor makes float32 [B, F] of samples, the same for a row alone, and has a description."""
    made: Any = subject.made
    offered = made.extractors()
    assert CLASSIFIER not in offered, f"extractor {CLASSIFIER!r} is core's own"
    for name, one in offered.items():
        if one.default:
            extractor = one.load(WeightsSource())
            features = extractor.features(subject.x)
            assert features.ndim == 2, f"extractor {name} gives {tuple(features.shape)}, not [B, F]"
            assert features.dtype == torch.float32, f"extractor {name} gives {features.dtype}, not float32"
            alone = extractor.features(subject.x[1:2])
            torch.testing.assert_close(alone, features[1:2], rtol=1e-3, atol=1e-3)
            assert extractor.description.strip(), f"extractor {name} has no description"


def _check_opened(subject: Subject, open_file: Callable[[Path], UserFile], folder: Path) -> None:
    """A file that is opened gives as many samples as its length says, and writes them as a readable file."""
    suffix, x, name = subject.modality.suffixes[0], subject.x[0], open_file.__name__
    path, copy = folder / f"user{suffix}", folder / f"{name}{suffix}"
    subject.made.write(x, path)
    file = open_file(path)
    parts = list(file)
    assert len(parts) == len(file) > 0, f"{name}() says {len(file)} samples and gives {len(parts)}"
    assert all(part.shape == x.shape for part in parts), f"{name}() gives samples of another shape"
    file.write(iter(parts), copy)
    assert copy.stat().st_size, f"write() of what {name}() opened wrote nothing"
    assert subject.made.read(copy).shape == x.shape, f"write() of what {name}() opened wrote a file that cannot be read"
