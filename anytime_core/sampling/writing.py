"""Samples to files: one file a sample, a preview of the first ones, and `samples.json`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.evaluation.reconstruction import preview_lengths
from anytime_core.files import filling, write_json
from anytime_core.modality import Modality, PreviewRow
from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.draw import Filter

SAMPLES_FILE = "samples.json"
PREVIEW_FILE = "preview.png"
PREVIEW_COLUMNS = 8

_PREVIEWED = 64

Stopped = Callable[[], bool]
OnDrawn = Callable[[int, int], None]
"""Called after each code with the number of finished samples and of codes drawn of the current batch."""


def write_samples(
    run: Run,
    folder: Path,
    indices: Sequence[int],
    budget: float | str | Budget,
    *,
    seed: int = 0,
    label: int | str | None = None,
    filtering: Filter | None = None,
    engine: str = "auto",
    stopped: Stopped = lambda: False,
    on_drawn: OnDrawn = lambda samples, codes: None,
    suffix: str | None = None,
    progressive: bool = False,
    load_seconds: float = 0.0,
) -> dict[str, Any]:
    """Draw samples and write them into `folder`, which stays untouched until all of them are written.

    Args:
        run: the opened run.
        folder: made where it is missing; files of the same name are replaced.
        indices: global sample indices, by which the files are named.
        budget, seed, label, filtering, engine: see `Run.sample_batches`.
        stopped: asked after each code; true decodes and writes what is there.
        on_drawn: progress.
        suffix: of the files, see `output_suffix`.
        progressive: also write each sample decoded from five growing numbers of codes, in files that say how many.
        load_seconds: time that opening the run took, for the record.

    Returns:
        What `samples.json` says.
    """
    budget = Budget.parse(budget)
    suffix = output_suffix(run.modality, suffix)
    seconds = {"load": load_seconds, "codes": 0.0, "decode": 0.0, "write": 0.0}
    entries: list[dict[str, Any]] = []
    shown: dict[int, list[Tensor]] = defaultdict(list)
    prior_length = run.require_prior().code_length
    wanted = budget.codes(prior_length)

    def on_code(drawn: int) -> bool:
        on_drawn(len(entries), drawn)
        return stopped()

    with filling(folder) as partial:
        for batch in run.sample_batches(
            indices, budget, seed=seed, label=label, filtering=filtering, engine=engine, on_code=on_code
        ):
            started = time.perf_counter()
            drawn = batch.codes.shape[1]
            numbers = [None] * len(batch.indices) if batch.labels is None else batch.labels.tolist()
            for index, number, x in zip(batch.indices, numbers, batch.x, strict=True):
                entries.append(
                    {
                        "file": f"{index:06d}{suffix}",
                        "index": index,
                        "label": None if number is None else run.record.classes[number],
                        "codes": drawn,
                    }
                )
                run.modality.write(x, partial / entries[-1]["file"])
            if progressive:
                for codes in preview_lengths(drawn):
                    x_hat = run.decode(batch.codes, codes)
                    for index, x in zip(batch.indices, x_hat, strict=True):
                        run.modality.write(x, partial / f"{index:06d}-{codes}codes{suffix}")
                    shown[codes] += list(x_hat[: PREVIEW_COLUMNS - len(shown[codes])])
            else:
                shown[wanted] += list(batch.x[: _PREVIEWED - len(shown[wanted])])
            seconds["write"] += time.perf_counter() - started
            for name, value in batch.seconds.items():
                seconds[name] += value
            if stopped():
                break
        started = time.perf_counter()
        rows = [PreviewRow(f"{codes} codes", torch.stack(x)) for codes, x in sorted(shown.items())]
        run.modality.preview(rows if progressive else _in_rows(rows[0].x), partial / PREVIEW_FILE)
        seconds["write"] += time.perf_counter() - started
        record = {
            "run": str(run.folder),
            "budget": str(budget),
            "codes": wanted,
            "code_length": prior_length,
            "calls": max((entry["codes"] for entry in entries), default=0),
            "seed": seed,
            "interrupted": len(entries) < len(indices) or any(entry["codes"] < wanted for entry in entries),
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
            "samples": entries,
        }
        write_json(partial / SAMPLES_FILE, record)
    return record


def _in_rows(x: Tensor) -> list[PreviewRow]:
    """Samples in rows of eight, without captions."""
    return [PreviewRow("", part) for part in x.split(PREVIEW_COLUMNS)]


def output_suffix(modality: Modality, suffix: str | None) -> str:
    """`suffix` with its dot, or the modality's default where None.

    Raises:
        UsageError: the modality writes no such files.
    """
    if suffix is None:
        return modality.suffixes[0]
    suffix = f".{suffix.lower().removeprefix('.')}"
    if suffix not in modality.suffixes:
        raise UsageError(f"modality '{modality.name}' writes no {suffix} files: use {', '.join(modality.suffixes)}")
    return suffix
