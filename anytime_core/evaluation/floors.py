"""What values of data need if none says anything of another: every model of the data has to be below that.

Histograms of training data give each value its probability, and validation data are measured by them. Each level counts
half a time more than it was seen (Krichevsky and Trofimov, "The performance of universal encoding", IEEE Transactions
on Information Theory 1981), so that none is impossible.

B is the number of samples, V that of the values of each, P that of codes of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytime_core.data_space import DataSpace, data_space
from anytime_core.digest import digest
from anytime_core.errors import RunError, UsageError
from anytime_core.evaluation.judge import BATCH, OnProgress
from anytime_core.evaluation.result import ValueFloors
from anytime_core.evaluation.same_data import data_of
from anytime_core.run import Run
from anytime_core.training.batches import ordered_batches
from anytime_core.training.codes import CodesDataset
from anytime_core.training.online import as_trained_on

_MOST_COUNTS = 2**24
"""The most counts of all histograms together, 128 MiB; with more, values get no histogram each."""
_UNSEEN = 0.5
_ROWS = 2000

Values = Iterable[NDArray[np.int64]]
"""Values [B, V] of some samples at a time."""


def data_space_of(run: Run) -> DataSpace | None:
    """How the codes of a run make the values of its samples; None if they are those of an encoder."""
    kind = run.record.config.get("autoencoder", {}).get("kind", "ordered")
    return data_space(kind, run.modality.sample_shape(), run.autoencoder.spec)


def floors_of(run: Run, on_progress: OnProgress = lambda activity, done, total: None) -> ValueFloors:
    """The floors of a run's data, from the files of stage `codes`, or from its data if there are no such files.

    No prior is needed.

    Args:
        run: its codes are the values of samples.
        on_progress: called with a description of the work, how much is done, and how much there is in all.

    Raises:
        UsageError: its codes are those of an encoder.
        DataError: neither the files nor the data are there.
    """
    space = data_space_of(run)
    if space is None:
        raise UsageError(
            f"the codes of run {run.folder} are those of an encoder, not values of data, and have no floors: train one "
            "with --baseline identity"
        )
    parts = [_PartOfRun(run, space, part, on_progress) for part in ("train", "validation")]
    return measure(space, *parts)


def measure(space: DataSpace, train: Values, validation: Values) -> ValueFloors:
    """The floors of validation data by histograms of training data.

    Args:
        space: of the values.
        train: is read once.
        validation: is read once.
    """
    if space.values * space.levels <= _MOST_COUNTS:
        seen, wanted = (_count_each(space, values) for values in (train, validation))
        independent, data = space.of_bits(_bits(seen, wanted)), digest(wanted.astype("<i8").tobytes())
        seen, wanted = (counts.sum(0, keepdims=True) for counts in (seen, wanted))
    else:
        seen, wanted = (_count_all(space, values) for values in (train, validation))
        independent, data = None, digest(wanted.astype("<i8").tobytes())
    zero_order = space.of_bits(space.values * _bits(seen, wanted))
    return ValueFloors(zero_order=zero_order, independent=independent, data=data)


def values_of(space: DataSpace, codes: NDArray[Any], order: Sequence[int] | None) -> NDArray[np.int64]:
    """The values of samples, [B, V] in 0..levels-1.

    Args:
        space: of the values; P codes make each.
        codes: [B, P * V].
        order: the cell of each position in [P, V], see `CodeSpec`; the first plane has the most significant digits.
    """
    cells = codes.astype(np.int64)
    if order is not None:
        cells[:, np.asarray(order)] = codes
    digits = cells.reshape(len(codes), space.planes, space.values)
    base = round(space.levels ** (1 / space.planes))
    found = digits[:, 0]
    for plane in range(1, space.planes):
        found = base * found + digits[:, plane]
    return found


def _bits(seen: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """The mean bits of a row of independent values, by histograms [V, levels] of what was seen and what is wanted."""
    probable = (seen + _UNSEEN) / (seen + _UNSEEN).sum(1, keepdims=True)
    return float((wanted / wanted.sum(1, keepdims=True) * -np.log2(probable)).sum())


def _count_each(space: DataSpace, samples: Values) -> NDArray[np.int64]:
    """How often each value has each level, [V, levels]."""
    first = np.arange(space.values) * space.levels
    return _counts(space.values * space.levels, samples, lambda values: first + values).reshape(-1, space.levels)


def _count_all(space: DataSpace, samples: Values) -> NDArray[np.int64]:
    """How often a value has each level, [1, levels]."""
    return _counts(space.levels, samples, lambda values: values)[None]


def _counts(size: int, samples: Values, number: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> NDArray[np.int64]:
    total = np.zeros(size, np.int64)
    for values in samples:
        total += np.bincount(number(values).ravel(), minlength=size)
    return total


class _PartOfRun:
    """The values of training or validation data of a run."""

    def __init__(self, run: Run, space: DataSpace, part: str, on_progress: OnProgress) -> None:
        self.run, self.space, self.part, self.on_progress = run, space, part, on_progress

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = self.run.autoencoder.spec.order
        total, batches = self._written() or self._encoded()
        done = 0
        for codes in batches:
            yield values_of(self.space, codes, order)
            done += len(codes)
            self.on_progress(f"{self.run.folder}, independent values of {self.part} data", done, total)

    def _written(self) -> tuple[int, Iterator[NDArray[np.int64]]] | None:
        """Number of samples, and their codes as stage `codes` wrote them; None if there are none."""
        record = self.run.record
        try:
            dataset = CodesDataset(
                self.run.folder / "codes",
                self.part,
                code_length=record.code_length,
                codebook_size=record.codebook_size,
            )
        except RunError:
            return None
        starts = range(0, len(dataset), _ROWS)
        return len(dataset), (dataset.codes[start : start + _ROWS] for start in starts)

    def _encoded(self) -> tuple[int, Iterator[NDArray[np.int64]]]:
        """The same of the data itself."""
        datasets = data_of(self.run)[0]
        dataset = datasets.train if self.part == "train" else datasets.validation
        samples = (batch["x"] for batch in ordered_batches(dataset, BATCH, workers=0))
        if self.part == "train":
            samples = (as_trained_on(self.run.modality, x, number) for number, x in enumerate(samples))
        return len(dataset), (self.run.encode(x).numpy() for x in samples)
