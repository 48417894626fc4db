"""The pictures of an evaluation's page: samples at each budget beside real ones, and samples that share first codes."""

from __future__ import annotations

import mimetypes
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.evaluation.page.sheets import PriorityCodes, Sheet, Shown
from anytime_core.modality import Datasets, Modality, PreviewRow
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.samples import Samples, joined
from anytime_core.training.batches import ordered_batches

_COLUMNS = 8
_SHOWN, _COMPARED = 32, 16
"""How many new samples a picture shows, and how many of validation data and their reconstructions.

It is half as many if one plays samples, such as sounds, because their pictures are larger."""
_PLAYED, _COMPARED_PLAYED = 6, 3
"""How many of them can be played."""
_CANDIDATES = 250
"""Validation samples from which those in the picture are picked."""
_PRIORITY_ROWS = 4


@dataclass(frozen=True)
class RealSamples:
    """Validation samples [B, *sample_shape] and their labels [B], None if the data has none."""

    x: Tensor
    labels: Tensor | None


def shown_samples(
    run: Run, codes: Sequence[int], options: SamplingOptions, real: RealSamples, others: Mapping[str, Run]
) -> list[Shown]:
    """What the page shows at each number of codes: the first samples, reconstructions, and samples of other runs.

    Args:
        run: the page is about it; without a prior it has no samples.
        codes: ascending numbers of codes.
        options: of sampling.
        real: samples to reconstruct.
        others: name -> run to compare with; runs without a prior show nothing.
    """
    length = run.prior.code_length if run.prior is not None else run.code_length
    own = _Samples(run, options) if run.prior is not None else None
    theirs = {name: _Samples(other, options) for name, other in others.items() if other.prior is not None}

    def sheets(number: int) -> Iterator[Sheet]:
        if own is not None:
            yield _sheet(run, "New samples", own.decoded(number), own.labels, _PLAYED)
        reconstructed = run.reconstruct(real.x, Budget(number, "codes"))
        yield _sheet(run, "Reconstructions of validation data", reconstructed, real.labels)
        for name, samples in theirs.items():
            yield _sheet(samples.run, f"New samples, {name}", samples.decoded(number), samples.labels)

    return [Shown(number / length, number, tuple(sheets(number))) for number in codes]


def real_samples(run: Run, datasets: Datasets) -> RealSamples:
    """Some validation samples, from each class in turn as new samples are."""
    batch = next(iter(ordered_batches(datasets.validation, _CANDIDATES, limit=_CANDIDATES, workers=0)))
    x, labels = batch["x"], batch.get("label")
    if labels is not None and datasets.classes:
        seen = Counter[int]()
        turns = []
        for position, label in enumerate(labels.tolist()):
            turns.append((seen[label], label, position))
            seen[label] += 1
        picked = torch.tensor([position for _, _, position in sorted(turns)])
        x, labels = x[picked], labels[picked]
    number = _COMPARED // 2 if _played(run) else _COMPARED
    return RealSamples(x[:number], labels[:number] if labels is not None and datasets.classes else None)


def real_sheet(run: Run, real: RealSamples) -> Sheet:
    """The sheet of validation data."""
    return _sheet(run, "Validation data", real.x, real.labels)


class _Samples:
    """The first samples of a run, at any number of codes."""

    def __init__(self, run: Run, options: SamplingOptions) -> None:
        self.run, self.options = run, options
        self.number = _SHOWN // 2 if _played(run) else _SHOWN
        self.whole = _drawn(run, self.number, Budget(1.0), options)
        self.labels = self.whole.labels

    def decoded(self, number: int) -> Tensor:
        prior = self.run.require_prior()
        number = min(number, prior.code_length)
        if isinstance(prior, AnyOrderPrior):
            return _drawn(self.run, self.number, Budget(number, "codes"), self.options).x
        return self.run.decode(self.whole.codes, number)


def _sheet(run: Run, caption: str, x: Tensor, labels: Tensor | None = None, played: int = _COMPARED_PLAYED) -> Sheet:
    """A sheet of samples; the first `played` are files too, if the modality's samples can be played."""
    media_type = _played(run)
    played = played if media_type else 0
    names = () if labels is None else tuple(run.record.classes[label] for label in labels[:played].tolist())
    return Sheet(
        caption=caption,
        picture=_picture(run.modality, [PreviewRow("", part) for part in x.split(_COLUMNS)]),
        media=tuple(_file(run.modality, one) for one in x[:played]),
        media_type=media_type,
        labels=names,
    )


def _played(run: Run) -> str:
    """The media type of samples that are played, such as `audio/wav`; empty for samples that are looked at."""
    media_type = mimetypes.guess_type(f"x{run.modality.suffixes[0]}")[0] or ""
    return media_type if media_type.startswith(("audio/", "video/")) else ""


def priority_codes(run: Run, options: SamplingOptions) -> list[PriorityCodes]:
    """Rows of samples that share ever more of their first codes, and their class."""
    length = run.require_prior().code_length
    numbers = sorted({max(1, length // 8), max(1, length // 4), max(1, length // 2)} - {length})
    return [PriorityCodes(number, _sharing(run, number, options)) for number in numbers]


def _sharing(run: Run, number: int, options: SamplingOptions) -> bytes:
    """Samples in rows; each row goes on from the first `number` codes of one sample."""
    first = _drawn(run, _PRIORITY_ROWS, Budget(number, "codes"), options)
    labels = None if first.labels is None else first.labels.repeat_interleave(_COLUMNS)
    codes = first.codes.repeat_interleave(_COLUMNS, 0)
    known = torch.ones_like(codes, dtype=torch.bool)
    completed = run.complete(codes, known, label=labels, options=options)
    return _picture(run.modality, [PreviewRow("", part) for part in completed.x.split(_COLUMNS)])


def _drawn(run: Run, number: int, budget: Budget, options: SamplingOptions) -> Samples:
    return joined(list(run.sample_batches(range(number), budget, options)))


def _picture(modality: Modality, rows: Sequence[PreviewRow]) -> bytes:
    return _written(".png", lambda path: modality.preview(rows, path))


def _file(modality: Modality, x: Tensor) -> bytes:
    return _written(modality.suffixes[0], lambda path: modality.write(x, path))


def _written(suffix: str, write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        write(path)
        return path.read_bytes()
