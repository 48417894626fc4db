"""Samples to files: one file for each, tar shards or arrays, a preview of the first ones, and `samples.json`."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.curve import preview_lengths
from anytime_core.data.files import flush_all
from anytime_core.digest import digest
from anytime_core.errors import UsageError
from anytime_core.jobs.arrays import ArrayOutput
from anytime_core.jobs.ledger import LEDGER_FILES, Ledger
from anytime_core.jobs.output import ARRAYS_SUFFIX, FolderOutput, Output, TarOutput, output_suffix
from anytime_core.jobs.output_folder import FILLING, OutputFolder, refuse_as_output
from anytime_core.jobs.records import PREVIEW_FILE, SAMPLES_FILE, join, read_head, write_entries
from anytime_core.modality import PreviewRow
from anytime_core.run import Run
from anytime_core.sampling.deadline import Deadline
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.sampler import OnCode
from anytime_core.sampling.samples import Samples
from anytime_core.spelling import argument

PREVIEW_COLUMNS = 8

_PREVIEWED = 64
_PREVIEW_SHARE = 0.2
"""The share of a deadline that a preview may take."""
_FLUSHING_SHARE = 0.1
"""The share of the time between two marks that bringing samples to the disk may take."""

Stopped = Callable[[], bool]
OnDrawn = Callable[[int, int], None]
"""Called after each code with the number of finished samples and the codes drawn of the current batch."""


def write_samples(
    run: Run,
    folder: Path,
    indices: Sequence[int],
    budget: float | str | Budget,
    options: SamplingOptions | None = None,
    *,
    stopped: Stopped = lambda: False,
    on_drawn: OnDrawn = lambda samples, codes: None,
    suffix: str | None = None,
    progressive: bool = False,
    pack: bool = False,
    overwrite: bool = False,
    load_seconds: float = 0.0,
    drawn: Samples | None = None,
) -> dict[str, Any]:
    """Draw samples and write them into `folder`, which stays untouched until all of them are written.

    Memory does not grow with the number of samples. A job that is killed goes on where it was when it is called again
    with the same arguments. Parts of one job, whose `indices` are `range(i, num, parts)`, may share a folder.

    Args:
        run: the opened run.
        folder: made if it is missing; nothing but an earlier job's files is ever replaced.
        indices: global sample indices; files are named by them.
        budget: a deadline counts from this call to its end. The preview is left out unless it is known to take
            little of the time, and so is the wait until the files are safe from a power cut.
        options: how codes are drawn.
        stopped: called after each code; true decodes and writes what is there.
        on_drawn: progress.
        suffix: of the files, see `output_suffix`; or `npz`, one file of arrays, see `ArrayOutput`.
        progressive: also write each sample decoded from five growing numbers of codes, in files that say how many, and
            whatever else the modality has to show growth.
        pack: into tar shards.
        overwrite: replace the files of an earlier job in `folder`, all of them.
        load_seconds: time that opening the run took, for the record.
        drawn: these samples, of the same indices, budget and options, instead of new ones.

    Returns:
        The contents of `samples.json` without the list of samples, which can be long.

    Raises:
        UsageError: files would be lost, or mixed with those of others. Nothing has been drawn then.
    """
    options = options or SamplingOptions()
    budget = Budget.parse(budget, run.sampler(options).spending)
    job = _Job(run, indices, budget, options, output_suffix(run.modality, suffix, arrays=True), drawn)
    job.progressive, job.pack = progressive, pack
    if pack and job.arrays:
        shards, arrays = argument("pack", True), argument("suffix", suffix, option="format")
        raise UsageError(f"{shards} writes tar shards, {arrays} one file of arrays: leave one of them out")
    job.seconds["load"] = load_seconds
    durable = not job.timed
    refuse_as_output(folder, run)
    place = OutputFolder(
        folder,
        SAMPLES_FILE,
        suffixes=(*run.modality.suffixes, *filter(None, [job.many])),
        overwrite=overwrite,
        joins=lambda earlier: job.joins(earlier, overwrite=overwrite),
        join=lambda earlier, new: join(earlier, new, lambda index: index in indices),
    )
    with place.filled(job.digest(), (PREVIEW_FILE,), resumable=lambda: job.resumable, durable=durable) as partial:
        if (partial / FILLING).exists():
            record = job.run_in(partial, stopped, on_drawn)
        else:
            record = read_head(partial / SAMPLES_FILE, SAMPLES_FILE)
        job.resumable = False
        closing = time.perf_counter()
    if job.timed:
        run.costs.note("close", len(indices), time.perf_counter() - closing)
    run.costs.save()
    return record


class _Job:
    """One call of `write_samples`.

    Attributes:
        seconds: spent on each part of the work, by all processes together.
        resumable: whether another call can go on from what is on the disk.
        timed: whether this call has a deadline; not if it only writes samples that were drawn within one.
    """

    progressive: bool
    pack: bool

    def __init__(
        self,
        run: Run,
        indices: Sequence[int],
        budget: Budget,
        options: SamplingOptions,
        suffix: str,
        drawn: Samples | None = None,
    ) -> None:
        self.drawn, self.timed = drawn, drawn is None and budget.seconds is not None
        self.run, self.indices, self.budget, self.options, self.suffix = run, indices, budget, options, suffix
        self.seconds = {"load": 0.0, "codes": 0.0, "decode": 0.0, "write": 0.0}
        self.resumable = False
        self._next_mark = 0.0
        self._flushes: deque[float] = deque([0.0], maxlen=2)
        self._done, self._most_codes, self._calls, self._interrupted = 0, 0, 0, False
        self._shown: dict[int, list[Tensor]] = defaultdict(list)
        self._previewed, self._previewable = False, min(len(indices), _PREVIEWED)
        self._prior_length = run.require_prior().code_length
        self._wanted = budget.most_codes(self._prior_length)
        self._deadline: Deadline | None = None
        if self.timed and budget.seconds is not None:
            previews = run.costs.expected("preview", self._previewable)
            self._previewed = previews is None or previews > _PREVIEW_SHARE * budget.seconds
            last = {"finish": len(indices), "close": len(indices)}
            if not self._previewed:
                last["preview"] = self._previewable
            self._deadline = Deadline(budget.seconds, run.costs, ["decode", "write"], last=last)

    def digest(self) -> str:
        """A name that follows from everything that decides what the files will be."""
        return self._digest(str(self.indices) if isinstance(self.indices, range) else list(self.indices))

    @property
    def arrays(self) -> bool:
        """Whether samples go into one file of arrays; they do not if the modality writes such files itself."""
        return self.suffix not in self.run.modality.suffixes

    @property
    def many(self) -> str | None:
        """Suffix of files that hold many samples each, None if there are none."""
        return ".tar" if self.pack else ARRAYS_SUFFIX if self.arrays else None

    @property
    def part(self) -> str | None:
        """`i/n` if this is part i of a job that is done in n parts, else None."""
        if not isinstance(self.indices, range) or not 0 <= self.indices.start < self.indices.step != 1:
            return None
        return f"{self.indices.start}/{self.indices.step}"

    def joins(self, earlier: Path, *, overwrite: bool) -> bool:
        """Whether a `samples.json` lists other parts of the same job; with `overwrite` also this part."""
        try:
            head = read_head(earlier, SAMPLES_FILE)
            return head["job"] == self._whole and (overwrite or self.part not in head["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @property
    def _whole(self) -> str | None:
        """A name for the job that this is a part of, and its files; None if it is all of it."""
        return (
            self._digest([self.indices.stop, self.indices.step])
            if self.part and isinstance(self.indices, range)
            else None
        )

    def _digest(self, indices: Any) -> str:
        described = {
            "run": str(self.run.folder.resolve()),
            "trained": self.run.record.model_dump(mode="json", include={"created", "stages"}),
            "indices": indices,
            "budget": str(self.budget),
            "options": dataclasses.asdict(dataclasses.replace(self.options, batch_size=None)),
            "files": [self.suffix, self.progressive, self.pack],
            **({} if self.drawn is None else {"codes": self.drawn.codes.tolist(), "of": self.drawn.lengths.tolist()}),
        }
        return digest(described)[:12]

    def run_in(self, partial: Path, stopped: Stopped, on_drawn: OnDrawn) -> dict[str, Any]:
        """Draw and write everything into the folder `partial`, from the last mark there on."""
        output = self._output(partial)
        ledger = Ledger(partial, self._fits, output.holds)
        try:
            output.restore(ledger.last["output"] if ledger.last else None)
            if ledger.last is not None:
                self._go_on(ledger.last, partial)
            else:
                _empty(partial)

            def on_code(drawn: int) -> bool:
                on_drawn(self._done, drawn)
                if not stopped():
                    return False
                self._interrupted |= drawn < self._wanted
                return True

            if self._deadline is not None:
                self._measure_writing(output)
            for batch in self._batches(on_code):
                started = time.perf_counter()
                self._add(batch, output, ledger, partial)
                self._note("write", len(batch.indices), time.perf_counter() - started)
                for name, value in batch.seconds.items():
                    self.seconds[name] += value
                if stopped():
                    break
                if self._previewed and self._deadline is None and time.perf_counter() >= self._next_mark:
                    self._mark(output, ledger, partial)
            self._preview(partial)
            return self._finish(partial, output, ledger)
        finally:
            output.close()
            ledger.close()

    def _batches(self, on_code: OnCode) -> Iterable[Samples]:
        """The samples that are still to be written."""
        left = self.indices[self._done :]
        if self.drawn is not None:
            return (self.drawn,) if left else ()  # either all of it was written, or nothing
        return self.run.sampler(self.options).batches(left, self.budget, deadline=self._deadline, on_code=on_code)

    def _output(self, partial: Path) -> Output:
        if self.pack:
            return TarOutput(self.run.modality, partial, self.suffix, self.part)
        if not self.arrays:
            return FolderOutput(self.run.modality, partial, self.suffix)
        prior = self.run.require_prior()
        return ArrayOutput(
            partial,
            self.run.modality.sample_shape(),
            code_length=self._wanted,
            codebook_size=prior.codebook_size,
            classes=self.run.record.classes if prior.classes else (),
            progressive=self.progressive,
            part=self.part,
        )

    def _mark(self, output: Output, ledger: Ledger, partial: Path) -> None:
        """Set a mark that a killed job goes on from, once all is on the disk; rarely enough to take little time."""
        state = output.state()
        ledger.flush()
        started = time.perf_counter()
        flush_all(partial)
        self._flushes.append(time.perf_counter() - started)
        drawn = {"done": self._done, "most": self._most_codes, "calls": self._calls}
        ledger.mark(**drawn, seconds=self.seconds, output=state)
        # The shorter of the last two: one may have waited for what other programs had written.
        self._next_mark = time.perf_counter() + min(self._flushes) * (1 / _FLUSHING_SHARE - 1)
        self.resumable = True

    def _fits(self, mark: dict[str, Any]) -> bool:
        """Whether this job can have written a mark."""
        return mark["done"] <= len(self.indices) and (mark["output"] is not None) == (self.many is not None)

    def _measure_writing(self, output: Output) -> None:
        """Write a sample twice and remove it, if no earlier call with a deadline has measured what writing costs."""
        if self.run.costs.expected("write", 1) is None:
            x = self.run.decode(torch.zeros(1, 1, dtype=torch.int64))[0]
            output.try_out(x)  # the first one imports what writes files
            started = time.perf_counter()
            output.try_out(x)
            self.run.costs.note("write", 1, time.perf_counter() - started)

    def _go_on(self, mark: dict[str, Any], partial: Path) -> None:
        """Go on with a killed job, without the samples that it wrote after its last mark."""
        self._done, self._most_codes, self._calls = mark["done"], mark["most"], mark["calls"]
        self._previewed = self.resumable = True
        self.seconds |= {name: value for name, value in mark["seconds"].items() if name != "load"}
        if self.many is None:
            left = self.indices[self._done :]
            unmarked = left if isinstance(left, range) else set(left)
            with os.scandir(partial) as entries:
                paths = [entry.path for entry in entries if _index(entry.name) in unmarked]
            for path in paths:
                os.unlink(path)

    def _add(self, batch: Samples, output: Output, ledger: Ledger, partial: Path) -> None:
        """Write the samples of a batch."""
        grown = self._grown(batch) if self.progressive else {}
        for row, sample in enumerate(batch):
            name = output.add(sample)
            label = None if sample.label is None else self.run.record.classes[sample.label]
            if self.progressive:
                output.add_growth(sample.index, {codes: x_hat[row] for codes, x_hat in grown.items()})
            files = output.written()
            entry = {"file": name, "index": sample.index, "label": label, "codes": sample.length}
            if self.many is None:
                entry["bytes"] = files[name]
                entry |= {"growth": {other: size for other, size in files.items() if other != name}} if grown else {}
            ledger.add(entry, files)
        self._done += len(batch.indices)
        self._most_codes = max(self._most_codes, *batch.lengths.tolist())
        self._calls = max(self._calls, batch.calls)
        if not self._previewed:
            for codes, x in grown.items() if self.progressive else [(self._wanted, batch.x)]:
                columns = PREVIEW_COLUMNS if self.progressive else _PREVIEWED
                self._shown[codes] += list(x[: columns - len(self._shown[codes])])
            if self._done >= _PREVIEWED and self._deadline is None:
                self._preview(partial)

    def _grown(self, batch: Samples) -> dict[int, Tensor]:
        """The samples of a batch from five growing numbers of codes each."""
        lengths = preview_lengths(int(batch.lengths.max()))
        return {codes: self.run.decode(batch.codes, batch.lengths.clamp(max=codes)) for codes in lengths}

    def _preview(self, partial: Path) -> None:
        if self._previewed:
            return
        started = time.perf_counter()
        rows = [PreviewRow(f"{codes} codes", torch.stack(x)) for codes, x in sorted(self._shown.items())]
        self.run.modality.preview(rows if self.progressive else _in_rows(rows[0].x), partial / PREVIEW_FILE)
        self._shown.clear()
        self._previewed = True
        self.run.costs.note("preview", self._previewable, time.perf_counter() - started)

    def _finish(self, partial: Path, output: Output, ledger: Ledger) -> dict[str, Any]:
        """Complete the files, and write `samples.json`, with a line for each sample."""
        started = time.perf_counter()
        output.finish()
        preview = partial / PREVIEW_FILE
        many = sorted(partial.glob(f"*{self.many}")) if self.many else []
        files = [path for path in (preview, *many) if path.exists()]
        record: dict[str, Any] = {
            "run": str(self.run.folder),
            "budget": str(self.budget),
            "codes": self._wanted,
            "code_length": self._prior_length,
            "drawn": self._most_codes,
            "calls": self._calls,
            "seed": self.options.seed,
            **({"completed": True} if self.drawn is not None and self.drawn.origin.completed else {}),
            "num": self._done,
            "preview": PREVIEW_FILE if preview.exists() else None,
            "interrupted": self._interrupted or self._done < len(self.indices),
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "files": {path.name: path.stat().st_size for path in files},
            **({"job": self._whole, "shards": [self.part]} if self.part else {}),
        }
        if self._deadline is not None:
            left = {"finish": len(self.indices), "close": len(self.indices)}
            record["deadline"] = {"seconds": self._deadline.seconds, "took": round(self._deadline.took(left), 4)}
        write_entries(partial / SAMPLES_FILE, SAMPLES_FILE, record, ledger.entries())
        self._note("finish", len(self.indices), time.perf_counter() - started)
        return record

    def _note(self, work: str, batch: int, seconds: float) -> None:
        self.seconds["write"] += seconds
        if self._deadline is not None:
            self.run.costs.note(work, batch, seconds)


def _empty(folder: Path) -> None:
    """Remove what a job left that was killed before its first mark."""
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name not in (FILLING, *LEDGER_FILES)]
    for path in left:
        os.unlink(path)


def _index(name: str) -> int | None:
    """The sample that a file of its own shows."""
    digits = name.partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdecimal() else None


def _in_rows(x: Tensor) -> list[PreviewRow]:
    """Samples as rows of eight, without captions."""
    return [PreviewRow("", part) for part in x.split(PREVIEW_COLUMNS)]
