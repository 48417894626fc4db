"""A user's own files through the autoencoder: one file for each, and a preview of originals over reconstructions."""

from __future__ import annotations

import functools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.digest import digest
from anytime_core.errors import UsageError
from anytime_core.jobs.output import output_suffix
from anytime_core.jobs.output_folder import FILLING, OutputFolder, refuse_as_output
from anytime_core.jobs.preview import PREVIEW_COLUMNS
from anytime_core.jobs.records import (
    ENTRIES,
    PREVIEW_FILE,
    RECONSTRUCTIONS_FILE,
    read_entries,
    read_head,
    write_entries,
)
from anytime_core.media import open_file
from anytime_core.modality import Modality, PreviewRow, Restored, RestoresFiles, UserFile
from anytime_core.run import Run

_BATCH = 64

OnSamples = Callable[[int, int], None]
"""Called after each batch with the numbers of samples done and of samples in all files."""


def write_reconstructions(
    run: Run,
    folder: Path,
    files: Sequence[Path],
    budget: float | str | Budget,
    *,
    suffix: str | None = None,
    restore: Restored | None = None,
    overwrite: bool = False,
    on_samples: OnSamples = lambda done, total: None,
) -> dict[str, Any]:
    """Encode files, keep as many codes of each sample as `budget` allows, and write what they decode to.

    Every file is opened before anything is written. A file that holds many samples is read, decoded and written a batch
    at a time, in memory that does not grow with its length.

    Args:
        run: the opened run.
        folder: made if it is missing; nothing but an earlier job's files is ever replaced, and no file that is read.
        files: a user's, of the run's modality.
        budget: share or number of codes.
        suffix: of the written files, see `output_suffix`.
        restore: give each output the size or the rate of its file; None: those of samples.
        overwrite: replace the files of an earlier job in `folder`, all of them.
        on_samples: progress.

    Returns:
        The contents of `reconstructions.json`; a file's metrics are means over its samples.

    Raises:
        DataError: a file cannot be read.
        UsageError: files would be lost, or mixed with those of others; or the modality does not restore what is asked
            for. Nothing has been written then.
    """
    budget = Budget.parse(budget, run.coding)
    suffix = output_suffix(run.modality, suffix)
    opener = _opener(run.modality, restore)
    names = _unique_names(files, suffix)
    refuse_as_output(folder, run)
    place = OutputFolder(
        folder, RECONSTRUCTIONS_FILE, suffixes=run.modality.suffixes, overwrite=overwrite, inputs=files
    )
    with place.filled(_digest(run, files, budget, suffix, restore), (*names, PREVIEW_FILE)) as partial:
        if not (partial / FILLING).exists():  # complete, but not all of it has moved
            return _told(partial / RECONSTRUCTIONS_FILE)
        _empty(partial)
        started = time.perf_counter()
        opened = [opener(path) for path in files]
        seconds = {"read": time.perf_counter() - started, "codes": 0.0, "write": 0.0}
        passes: list[_Pass] = []
        total = sum(map(len, opened))

        def on_batch() -> None:
            on_samples(sum(single.samples for single in passes), total)

        for file, name in zip(opened, names, strict=True):
            single = _Pass(run, budget, on_batch)
            passes.append(single)
            started = time.perf_counter()
            file.write(single.through(file), partial / name)
            seconds["codes"] += single.seconds
            seconds["write"] += time.perf_counter() - started - single.seconds
        codes = budget.codes(run.code_length)
        _write_preview(run.modality, passes[:PREVIEW_COLUMNS], codes, partial / PREVIEW_FILE)
        entries = [
            {"source": str(path), "file": name, "samples": single.samples, "metrics": single.metrics()}
            for path, name, single in zip(files, names, passes, strict=True)
        ]
        record = {
            "run": str(run.folder),
            "budget": str(budget),
            "codes": codes,
            "code_length": run.code_length,
            "restored": restore,
            "num": len(entries),
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
            "files": {name: (partial / name).stat().st_size for name in (PREVIEW_FILE, *names)},
        }
        write_entries(partial / RECONSTRUCTIONS_FILE, RECONSTRUCTIONS_FILE, record, map(json.dumps, entries))
    return {**record, "reconstructions": entries}


def _digest(run: Run, files: Sequence[Path], budget: Budget, suffix: str, restore: Restored | None) -> str:
    """A name for the job, from everything that decides what the files will be."""
    read = [(os.path.abspath(path), *_state(path)) for path in files]
    described = [str(run.folder.resolve()), run.record.created, read, str(budget), suffix, restore]
    return digest(described)[:12]


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a file; zeros if it is missing, as reading it will report that."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _told(path: Path) -> dict[str, Any]:
    head = read_head(path, RECONSTRUCTIONS_FILE)
    return {**head, ENTRIES[RECONSTRUCTIONS_FILE]: list(read_entries(path, RECONSTRUCTIONS_FILE))}


def _empty(partial: Path) -> None:
    """Remove what a killed call has left: it has to be made again."""
    for path in partial.iterdir():
        if path.name != FILLING:
            path.unlink()


class _Pass:
    """The samples of one file through the autoencoder, and what is known of them afterwards.

    Attributes:
        samples: how many have gone through.
        seconds: time spent on coding and measuring them.
        first: the first sample and its reconstruction.
    """

    first: tuple[Tensor, Tensor]

    def __init__(self, run: Run, budget: Budget, on_batch: Callable[[], None]) -> None:
        self.run, self.budget, self.on_batch = run, budget, on_batch
        self.samples, self.seconds = 0, 0.0
        self._totals: dict[str, float] = defaultdict(float)

    def through(self, samples: Iterable[Tensor]) -> Iterator[Tensor]:
        remaining = iter(samples)
        while batch := list(islice(remaining, _BATCH)):
            started = time.perf_counter()
            x = torch.stack(batch)
            x_hat = self.run.reconstruct(x, self.budget)
            if self.samples == 0:
                self.first = x[0], x_hat[0]
            for name, measure in self.run.modality.metrics().items():
                self._totals[name] += measure(x_hat, x).sum().item()
            self.samples += len(x)
            self.seconds += time.perf_counter() - started
            self.on_batch()
            yield from x_hat

    def metrics(self) -> dict[str, float]:
        return {name: round(total / self.samples, 6) for name, total in self._totals.items()}


_OPTIONS: Mapping[Restored, str] = {"size": "--original-size", "rate": "--keep-rate"}


def _opener(modality: Modality, restore: Restored | None) -> Callable[[Path], UserFile]:
    """How a modality opens files. Raises UsageError if it does not restore what is asked for."""
    if restore is None:
        return functools.partial(open_file, modality)
    restored = modality.restores if isinstance(modality, RestoresFiles) else None
    if restored != restore or not isinstance(modality, RestoresFiles):
        way_out = "leave it out" if restored is None else f"use {_OPTIONS[restored]}, or leave it out"
        raise UsageError(
            f"{_OPTIONS[restore]}: modality '{modality.name}' does not restore the {restore} of files; {way_out}"
        )
    return functools.partial(open_file, modality, opened=modality.open_to_restore)


def _write_preview(modality: Modality, passes: Sequence[_Pass], codes: int, path: Path) -> None:
    originals, reconstructions = zip(*(single.first for single in passes), strict=True)
    rows = [("original", originals), (f"{codes} codes", reconstructions)]
    modality.preview([PreviewRow(caption, torch.stack(samples)) for caption, samples in rows], path)


def _unique_names(files: Sequence[Path], suffix: str) -> list[str]:
    """A file name for each source; a number follows if two sources share a stem, or one is called preview.

    Names that differ only in upper and lower case are one file on some disks, so they count as the same.
    """
    taken = {PREVIEW_FILE.casefold(), RECONSTRUCTIONS_FILE.casefold()}
    last: dict[str, int] = {}  # stem -> the number that was tried last; the next source starts after it
    names: list[str] = []
    for path in files:
        stem = path.stem.casefold()
        name, number = f"{path.stem}{suffix}", last.get(stem, 1)
        while name.casefold() in taken:
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        last[stem] = number
        taken.add(name.casefold())
        names.append(name)
    return names
