"""Samples to files: one file for each, tar shards or arrays, a preview of the first ones, and `samples.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anytime_core.budget import Budget
from anytime_core.curve import preview_lengths
from anytime_core.errors import UsageError
from anytime_core.jobs.description import SamplingJob
from anytime_core.jobs.job_deadline import JobDeadline
from anytime_core.jobs.ledger import Ledger
from anytime_core.jobs.marks import Progress, remove_all, remove_unmarked
from anytime_core.jobs.output import Output, output_suffix
from anytime_core.jobs.output_folder import FILLING, OutputFolder, refuse_as_output
from anytime_core.jobs.preview import MOST_PREVIEWED, Preview
from anytime_core.jobs.records import PREVIEW_FILE, SAMPLES_FILE, join, read_head, write_entries
from anytime_core.jobs.writing import Grown, SampleWriter
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.pending import PendingSamples
from anytime_core.sampling.sampler import OnCode
from anytime_core.sampling.samples import Samples
from anytime_core.spelling import argument

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
    suffix_used = output_suffix(run.modality, suffix, arrays=True)
    job = SamplingJob(run, indices, budget, options, suffix_used, progressive, pack, drawn)
    call = _Call(job, stopped, on_drawn)
    if pack and job.arrays:
        shards, arrays = argument("pack", True), argument("suffix", suffix, option="format")
        raise UsageError(f"{shards} writes tar shards, {arrays} one file of arrays: leave one of them out")
    call.progress.seconds["load"] = load_seconds
    refuse_as_output(folder, run)
    place = OutputFolder(
        folder,
        SAMPLES_FILE,
        suffixes=(*run.modality.suffixes, *filter(None, [job.many])),
        overwrite=overwrite,
        joins=lambda earlier: job.joins(earlier, overwrite=overwrite),
        join=lambda earlier, new: join(earlier, new, lambda index: index in indices),
    )
    resumable, durable = (lambda: call.progress.marked), not job.timed
    with place.filled(job.digest(), (PREVIEW_FILE,), resumable=resumable, durable=durable) as partial:
        if (partial / FILLING).exists():
            record = call.run_in(partial)
        else:
            record = read_head(partial / SAMPLES_FILE, SAMPLES_FILE)
        call.progress.marked = False
        closing = time.perf_counter()
    if job.timed:
        run.costs.note("close", len(indices), time.perf_counter() - closing)
    run.costs.save()
    return record


class _Call:
    """One call of `write_samples`, whose deadline begins now.

    Attributes:
        progress: how far the job is.
    """

    def __init__(self, job: SamplingJob, stopped: Stopped, on_drawn: OnDrawn) -> None:
        self.job, self.run, self.stopped, self.on_drawn = job, job.run, stopped, on_drawn
        self.progress, self._interrupted = Progress(), False
        self._preview = Preview(job.run.modality, len(job.indices), job.codes, progressive=job.progressive)
        self._deadline: JobDeadline | None = None
        if job.timed and job.budget.seconds is not None:
            self._deadline = JobDeadline(job.run, job.budget.seconds, len(job.indices), self._preview)

    def run_in(self, partial: Path) -> dict[str, Any]:
        """Draw and write everything into the folder `partial`, from the last mark there on."""
        output = self.job.output(partial)
        ledger = Ledger(partial, self.job.fits, output.holds)
        try:
            output.restore(ledger.last["output"] if ledger.last else None)
            if ledger.last is None:
                remove_all(partial)
            else:
                self._go_on(ledger.last, partial)
            if self._deadline is not None:
                self._deadline.measure_writing(output)
            self._write(self._batches(), output, ledger, partial)
            self._show(partial)
            return self._finish(partial, output, ledger)
        finally:
            output.close()
            ledger.close()

    def _go_on(self, mark: dict[str, Any], partial: Path) -> None:
        """Go on with a killed job, without the samples that it wrote after its last mark."""
        self.progress.go_on(mark)
        self._preview.wanted = False
        if self.job.many is None:
            remove_unmarked(partial, self.job.indices[self.progress.done :])

    def _batches(self) -> Iterator[PendingSamples]:
        """The samples that are still to be written, until the call is stopped."""

        def on_code(drawn: int) -> bool:
            self.on_drawn(self.progress.done, drawn)
            if not self.stopped():
                return False
            self._interrupted |= drawn < self.job.codes
            return True

        for batch in self._drawn(self.job.indices[self.progress.done :], on_code):
            yield batch
            if self.stopped():
                return

    def _drawn(self, left: Sequence[int], on_code: OnCode) -> Iterable[PendingSamples]:
        if self.job.drawn is not None:
            return (PendingSamples(self.job.drawn),) if left else ()  # either all of it was written, or nothing
        deadline = None if self._deadline is None else self._deadline.deadline
        sampler = self.run.sampler(self.job.options)
        return sampler.pending_batches(left, self.job.budget, deadline=deadline, on_code=on_code)

    def _write(self, batches: Iterable[PendingSamples], output: Output[Any], ledger: Ledger, partial: Path) -> None:
        classes, single = self.run.record.classes, self.job.many is None
        with SampleWriter(output, ledger, classes, grow=self._grown, single=single) as writer:
            for batch in writer.written(batches):
                started = time.perf_counter()
                self.progress.add(batch.samples)
                if self._preview.wanted:
                    self._preview.add(batch)
                    if self.progress.done >= MOST_PREVIEWED and self._deadline is None:
                        self._show(partial)
                self._note("write", len(batch.samples), batch.seconds + time.perf_counter() - started)
                if not self._preview.wanted and self._deadline is None and not self.stopped():
                    self.progress.mark_if_due(partial, output, ledger)

    def _grown(self, batch: Samples) -> Grown:
        """The samples of a batch from five growing numbers of codes each."""
        if not self.job.progressive:
            return {}
        lengths = preview_lengths(int(batch.lengths.max()))
        return {codes: self.run.decode(batch.codes, batch.lengths.clamp(max=codes)) for codes in lengths}

    def _show(self, partial: Path) -> None:
        """Draw the preview, unless that is done or not wanted."""
        if self._preview.wanted:
            started = time.perf_counter()
            self._preview.write(partial / PREVIEW_FILE)
            self.run.costs.note("preview", self._preview.number, time.perf_counter() - started)

    def _finish(self, partial: Path, output: Output[Any], ledger: Ledger) -> dict[str, Any]:
        """Complete the files, and write `samples.json`, with a line for each sample."""
        started, job, progress = time.perf_counter(), self.job, self.progress
        output.finish()
        preview = partial / PREVIEW_FILE
        many = sorted(partial.glob(f"*{job.many}")) if job.many else []
        files = [path for path in (preview, *many) if path.exists()]
        record: dict[str, Any] = {
            "run": str(self.run.folder),
            "budget": str(job.budget),
            "codes": job.codes,
            "code_length": job.code_length,
            "drawn": progress.most_codes,
            "calls": progress.calls,
            "seed": job.options.seed,
            **({"completed": True} if job.drawn is not None and job.drawn.origin.completed else {}),
            "num": progress.done,
            "preview": PREVIEW_FILE if preview.exists() else None,
            "interrupted": self._interrupted or progress.done < len(job.indices),
            "seconds": {name: round(value, 4) for name, value in progress.seconds.items()},
            "files": {path.name: path.stat().st_size for path in files},
            **({"job": job.whole, "shards": [job.part]} if job.part else {}),
        }
        if self._deadline is not None:
            record["deadline"] = self._deadline.told()
        write_entries(partial / SAMPLES_FILE, SAMPLES_FILE, record, ledger.entries())
        self._note("finish", len(job.indices), time.perf_counter() - started)
        return record

    def _note(self, work: str, batch: int, seconds: float) -> None:
        self.progress.seconds["write"] += seconds
        if self._deadline is not None:
            self.run.costs.note(work, batch, seconds)
