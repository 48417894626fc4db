"""Stage `codes`: the encoder turns the data into the files of `codes/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CodesTraining
from anytime_core.distributed import from_first, joined, rank, world_size
from anytime_core.modality import Datasets, Modality, SampleDataset
from anytime_core.training.batches import listed_batches, spread
from anytime_core.training.codes import CodesWriter
from anytime_core.training.log import Progress
from anytime_core.training.seeds import step_generator
from anytime_core.training.surroundings import Surroundings
from anytime_core.transfer import to_device

_UNKNOWN, _DAMAGED = -1, -2
"""The labels that mark a sample without a label, and a sample that cannot be read."""


def write_codes(
    autoencoder: OrderedAutoencoder,
    modality: Modality,
    datasets: Datasets,
    settings: CodesTraining,
    folder: Path,
    surroundings: Surroundings,
    *,
    seed: int,
    workers: int,
) -> int:
    """Encode training and validation data into `folder`; returns the number of batches encoded.

    The training set, or `settings.samples` of it, is encoded `settings.copies` times: first unchanged, then with a new
    augmentation each time; not at all with `settings.online`. Several processes encode batches in turn, and the first
    process writes them.

    Raises:
        InterruptedTrainingError: Ctrl-C or SIGTERM came; what was encoded is kept.
    """
    assert autoencoder.codebook_size is not None
    encoding = _Encoding(autoencoder, modality, settings.batch_size, surroundings, seed, workers)
    train = _Part(datasets.train, settings, folder, "train", autoencoder, copies=settings.copies)
    validation = _Part(datasets.validation, settings, folder, "validation", autoencoder, copies=1)
    if not settings.online:
        return encoding.run([train, validation])
    if rank() == 0:
        train.writer.discard()  # what a training before has left
    return encoding.run([validation])


class _Part:
    """The batches of one part of the data, each with some rows of one copy, and the file that they go to."""

    def __init__(
        self,
        dataset: SampleDataset,
        settings: CodesTraining,
        folder: Path,
        name: str,
        autoencoder: OrderedAutoencoder,
        *,
        copies: int,
    ) -> None:
        self.dataset, self.items = dataset, spread(len(dataset), settings.samples)
        self.batches = [
            (copy, range(first, min(first + settings.batch_size, len(self.items))))
            for copy in range(copies)
            for first in range(0, len(self.items), settings.batch_size)
        ]
        rows = copies * len(self.items)
        self.writer = CodesWriter(folder, name, rows, autoencoder.code_length, autoencoder.codebook_size or 0)

    def flushed(self) -> dict[str, Tensor]:
        """Flush the file to the disk. It holds all that a checkpoint of this stage refers to."""
        self.writer.flush()
        return {}

    def row(self, number: int) -> int:
        """The row in the file at which batch `number` starts."""
        copy, rows = self.batches[number]
        return copy * len(self.items) + rows.start


class _Encoding:
    def __init__(
        self,
        autoencoder: OrderedAutoencoder,
        modality: Modality,
        batch_size: int,
        surroundings: Surroundings,
        seed: int,
        workers: int,
    ) -> None:
        self.autoencoder, self.modality, self.batch_size = autoencoder, modality, batch_size
        self.surroundings, self.seed, self.workers = surroundings, seed, workers

    def run(self, parts: Sequence[_Part]) -> int:
        steps = sum(len(part.batches) for part in parts)
        done = self._resume(parts)
        before = 0
        for part in parts:
            for number in self._encode(part, max(0, done - before)):
                done = before + number
                self.surroundings.on_progress(Progress("codes", done, steps))
                self.surroundings.after_step(done, part.flushed, last=done == steps)
            before += len(part.batches)
        if rank() == 0:
            for part in parts:
                part.writer.finish()
        return steps

    def _resume(self, parts: Sequence[_Part]) -> int:
        """The number of batches that were written before, 0 if their files are gone."""
        done = self.surroundings.done
        if rank() == 0:
            if done > sum(len(part.batches) for part in parts):
                done = 0
            before = 0
            for part in parts:
                if before < done and not part.writer.holds(finished=done - before >= len(part.batches)):
                    done = 0
                before += len(part.batches)
            if done == 0:
                for part in parts:
                    part.writer.discard()
        return int(from_first(torch.tensor(done, device=self.autoencoder.device)))

    def _encode(self, part: _Part, done: int) -> Iterator[int]:
        """Encode and write what follows the first `done` batches; yields the number that is done after each round."""
        total, own = len(part.batches), rank()
        lists = [[part.items[row] for row in rows] for _, rows in part.batches[done + own :: world_size()]]
        loaded = iter(listed_batches(part.dataset, lists, workers=self.workers))
        for first in range(done, total, world_size()):
            last = min(first + world_size(), total)
            codes, labels = self._own(next(loaded, None), part, first + own)
            codes, labels = joined(codes), joined(labels)
            if own == 0:
                for number in range(first, last):
                    rows = slice((number - first) * self.batch_size, None)
                    size = len(part.batches[number][1])
                    known = labels[rows][:size].cpu().numpy()
                    readable = known != _DAMAGED
                    labelled = bool(readable.any()) and bool((known[readable] != _UNKNOWN).all())
                    part.writer.write(
                        part.row(number),
                        codes[rows][:size].cpu().numpy(),
                        known if labelled else None,
                        readable,
                    )
            yield last

    @torch.inference_mode()
    def _own(self, batch: Mapping[str, Tensor] | None, part: _Part, number: int) -> tuple[Tensor, Tensor]:
        """Codes [batch size, N] and labels [batch size] of this process's batch, padded; only padding if it is None."""
        device = self.autoencoder.device
        codes = torch.zeros(self.batch_size, self.autoencoder.code_length, dtype=torch.int64, device=device)
        labels = torch.full((self.batch_size,), _DAMAGED, device=device)
        if batch is not None:
            x = to_device(batch["x"], device)
            copy, within = part.batches[number]
            if copy:
                x = self.modality.augment(x, step_generator(self.seed, "codes", copy, within.start))
            items = torch.tensor([part.items[row] for row in within])
            rows = to_device(torch.searchsorted(items, batch["index"]), device)
            codes[rows] = self.autoencoder.encode(x)
            labels[rows] = to_device(batch["label"], device) if "label" in batch else _UNKNOWN
        return codes, labels
