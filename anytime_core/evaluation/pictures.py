"""What an evaluation's page shows: the same samples at each budget, and samples that share their first codes."""

from __future__ import annotations

import mimetypes
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.evaluation.report import PriorityCodes, Shown
from anytime_core.modality import Modality, PreviewRow
from anytime_core.priors import ARDMPrior
from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.sampler import SamplingOptions
from anytime_core.sampling.samples import Samples

_COLUMNS = 8
_SHOWN = 32
_PLAYED = 8
_PRIORITY_ROWS = 4


def shown_samples(run: Run, codes: Sequence[int], options: SamplingOptions) -> list[Shown]:
    """The first samples at each number of codes; pictures of all, and files of some where one plays them."""
    prior = run.require_prior()
    samples = _drawn(run, _SHOWN, Budget(1.0), options)
    media_type = mimetypes.guess_type(f"x{run.modality.suffixes[0]}")[0] or ""
    played = media_type.startswith(("audio/", "video/"))
    names = () if samples.labels is None else tuple(run.record.classes[label] for label in samples.labels.tolist())

    def show(number: int) -> Shown:
        if isinstance(prior, ARDMPrior):
            x = _drawn(run, _SHOWN, Budget(number, "codes"), options).x
        else:
            x = run.decode(samples.codes, number)
        return Shown(
            budget=number / prior.code_length,
            codes=number,
            picture=_picture(run.modality, [PreviewRow("", part) for part in x.split(_COLUMNS)]),
            media=tuple(_file(run.modality, one) for one in x[:_PLAYED]) if played else (),
            media_type=media_type if played else "",
            labels=names[: _PLAYED if played else 0],
        )

    return [show(number) for number in codes]


def priority_codes(run: Run, options: SamplingOptions) -> list[PriorityCodes]:
    """Rows of samples that share ever more of their first codes, and their class."""
    length = run.require_prior().code_length
    numbers = sorted({max(1, length // 8), max(1, length // 4), max(1, length // 2)} - {length})
    return [PriorityCodes(number, _sharing(run, number, options)) for number in numbers]


def _sharing(run: Run, number: int, options: SamplingOptions) -> bytes:
    """Each row goes on from the first `number` codes of one sample."""
    first = _drawn(run, _PRIORITY_ROWS, Budget(number, "codes"), options)
    labels = None if first.labels is None else first.labels.repeat_interleave(_COLUMNS)
    codes = first.codes.repeat_interleave(_COLUMNS, 0)
    known = torch.ones_like(codes, dtype=torch.bool)
    completed = run.complete(codes, known, label=labels, options=options)
    return _picture(run.modality, [PreviewRow("", part) for part in completed.x.split(_COLUMNS)])


def _drawn(run: Run, number: int, budget: Budget, options: SamplingOptions) -> Samples:
    return run.sample(number, budget, seed=options.seed, guidance=options.filtering.guidance)


def _picture(modality: Modality, rows: Sequence[PreviewRow]) -> bytes:
    return _written(".png", lambda path: modality.preview(rows, path))


def _file(modality: Modality, x: Tensor) -> bytes:
    return _written(modality.suffixes[0], lambda path: modality.write(x, path))


def _written(suffix: str, write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        write(path)
        return path.read_bytes()
