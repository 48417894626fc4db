"""Samples to files: one file a sample, a preview of the first ones, and `samples.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.files import filling, write_json
from anytime_core.modality import Modality, PreviewRow
from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.draw import Filter

SAMPLES_FILE = "samples.json"
PREVIEW_FILE = "preview.png"

_PREVIEWED = 64
_PREVIEW_COLUMNS = 8

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
        load_seconds: time that opening the run took, for the record.

    Returns:
        What `samples.json` says.
    """
    budget = Budget.parse(budget)
    seconds = {"load": load_seconds, "codes": 0.0, "decode": 0.0, "write": 0.0}
    entries: list[dict[str, Any]] = []
    shown: list[Tensor] = []
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
            for row, index in enumerate(batch.indices):
                name = f"{index:06d}{run.modality.suffix}"
                run.modality.write(batch.x[row], partial / name)
                number = None if batch.labels is None else int(batch.labels[row])
                entries.append(
                    {
                        "file": name,
                        "index": index,
                        "label": None if number is None else run.record.classes[number],
                        "codes": batch.codes.shape[1],
                    }
                )
            shown += list(batch.x[: max(0, _PREVIEWED - len(shown))])
            seconds["write"] += time.perf_counter() - started
            for name, value in batch.seconds.items():
                seconds[name] += value
            if stopped():
                break
        started = time.perf_counter()
        write_sheet(run.modality, shown, partial / PREVIEW_FILE)
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


def write_sheet(modality: Modality, samples: Sequence[Tensor], path: Path) -> None:
    """A picture of samples in rows of eight."""
    rows = [samples[start : start + _PREVIEW_COLUMNS] for start in range(0, len(samples), _PREVIEW_COLUMNS)]
    modality.preview([PreviewRow("", torch.stack(tuple(row))) for row in rows], path)


def write_reconstructions(
    run: Run, folder: Path, files: Sequence[Path], budget: float | str | Budget
) -> dict[str, Any]:
    """A user's files through the autoencoder: one file each, and a preview of originals over reconstructions.

    Every file is read before anything is written. Raises DataError naming a file that cannot be read.
    """
    budget = Budget.parse(budget)
    codes = budget.codes(run.code_length)
    started = time.perf_counter()
    x = torch.stack([run.modality.read(path) for path in files])
    read = time.perf_counter()
    x_hat = run.reconstruct(x, budget)
    decoded = time.perf_counter()
    names = _unique_names(files, run.modality.suffix)
    measures = {name: measure(x_hat, x).tolist() for name, measure in run.modality.metrics().items()}
    with filling(folder) as partial:
        for sample, name in zip(x_hat, names, strict=True):
            run.modality.write(sample, partial / name)
        shown = slice(0, _PREVIEW_COLUMNS)
        rows = [PreviewRow("original", x[shown]), PreviewRow(f"{codes} codes", x_hat[shown])]
        run.modality.preview(rows, partial / PREVIEW_FILE)
        record = {
            "run": str(run.folder),
            "budget": str(budget),
            "codes": codes,
            "code_length": run.code_length,
            "seconds": {
                "read": round(read - started, 4),
                "codes": round(decoded - read, 4),
                "write": round(time.perf_counter() - decoded, 4),
            },
            "reconstructions": [
                {"source": str(path), "file": name, **_metrics_of(measures, row)}
                for row, (path, name) in enumerate(zip(files, names, strict=True))
            ],
        }
        write_json(partial / "reconstructions.json", record)
    return record


def _metrics_of(measures: Mapping[str, Sequence[float]], row: int) -> dict[str, Any]:
    return {"metrics": {name: round(values[row], 6) for name, values in measures.items()}}


def _unique_names(files: Sequence[Path], suffix: str) -> list[str]:
    """A file name for each source; a number follows where two sources share a stem, or one is called preview."""
    names: list[str] = []
    for path in files:
        name, number = f"{path.stem}{suffix}", 2
        while name in (*names, PREVIEW_FILE):
            name, number = f"{path.stem}-{number}{suffix}", number + 1
        names.append(name)
    return names
