"""Quality against budget: what each further code buys, in a run and in its baselines, under one judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.distributed import launched
from anytime_core.errors import PluginError, UsageError
from anytime_core.evaluation.bound import PASSES, bits_by_calls, bits_of_plan, call_numbers
from anytime_core.evaluation.cost import sampling_cost
from anytime_core.evaluation.drawn import CODES_PREFIX, DrawnCodes, Draws
from anytime_core.evaluation.folder import check_folder, remove_shown
from anytime_core.evaluation.judge import BATCH, Batches, Judge, OnProgress
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.reconstruction import preview_lengths, reconstruction_curve
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation, Row
from anytime_core.files import locked, open_own, remove_partial_files, write_json
from anytime_core.found import found_in
from anytime_core.priors import ARDMPrior
from anytime_core.reading import JSON_LIMIT
from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.plan import make_plan
from anytime_core.training.batches import ordered_batches

_BOUND_SAMPLES = 2000
"""Validation samples by which the bits of an order-agnostic prior are bounded."""
_GAIN_LENGTHS, _GAIN_SAMPLES = 64, 500
"""Numbers of codes, and validation samples, by which the gain of further codes is measured."""
_ROWS = ".rows-"
"""Start of the names of files of rows, for going on after a kill."""


def evaluate(
    run: Run,
    folder: Path,
    options: EvaluationOptions | None = None,
    *,
    against: Sequence[Run] = (),
    on_progress: OnProgress = lambda activity, done, total: None,
) -> list[Evaluation]:
    """Evaluate a run and, at the same numbers of codes, its baselines, with one judge.

    What is done is kept in `folder`, so that the same call goes on where one was killed. At the end `evaluation.json`
    takes its place, that of an earlier evaluation, and that of what killed calls with other options left there. New
    samples are looked at a batch at a time, and only their codes are kept, on the disk: memory does not grow with their
    number.

    Args:
        run: that the evaluation is about.
        folder: made where it is missing; the classifier stays there.
        options: how.
        against: runs of the same data.
        on_progress: called with what is being done, how much of it is done, and how much it is in all.

    Returns:
        One evaluation for each run, that of `run` first, and where a prior is order-agnostic one for each number of
        calls. Of several processes that torchrun or accelerate started the first returns them, and the others, which
        only draw their shares of the samples, none.

    Raises:
        UsageError: an option that this run cannot follow, a run of other data, another process that evaluates into the
            folder, or a file of somebody else's there that would be replaced.
        DataError: the data is gone, or has other classes than the run.
    """
    options = options or EvaluationOptions()
    codes = sorted({budget.codes(run.drawn_length) for budget in options.budgets})
    for other in against:
        _check_comparable(run, other)
    draws = [Draws(one, folder, options, codes) for one in (run, *against)]
    if launched()[0] > 0:
        folder.mkdir(parents=True, exist_ok=True)
        for one in draws:
            one.share()
        return []
    with locked(folder, "evaluation", f"evaluating into {folder}"):
        check_folder(folder, run)
        judge = Judge(
            run, options.extractors, folder, seed=options.seed, download=options.download, on_progress=on_progress
        )
        jobs = [_Job(one, judge, folder, on_progress) for one in draws]
        evaluations = [
            evaluation if not number else evaluation.model_copy(update={"baseline_of": str(run.folder)})
            for number, evaluation in enumerate(evaluation for job in jobs for evaluation in job.run_it())
        ]
        dumped = [evaluation.model_dump(mode="json") for evaluation in evaluations]
        remove_shown(folder)
        write_json(folder / EVALUATION_FILE, dumped if len(dumped) > 1 else dumped[0])
        for pattern in (f"{_ROWS}*", f"{CODES_PREFIX}*"):
            for left in list(folder.glob(pattern)):
                left.unlink()
        remove_partial_files(folder)
    return evaluations


class _Job:
    """One run under the judge; its rows and its samples' codes are kept in the folder until all runs are done."""

    def __init__(
        self,
        draws: Draws,
        judge: Judge,
        folder: Path,
        on_progress: OnProgress,
    ) -> None:
        self.draws, self.judge, self.on_progress = draws, judge, on_progress
        self.run, self.options, self.most = draws.run, draws.options, draws.most
        self._rows_file = folder / f"{_ROWS}{self._digest()}.json"

    def _digest(self) -> str:
        """A name for everything that decides what the rows will be, but for the codes, which rows say themselves."""
        described = {
            "run": str(self.run.folder.resolve()),
            "trained": self.run.record.model_dump(mode="json", include={"created", "stages"}),
            "judge": {name: extractor.description for name, extractor in self.judge.extractors.items()},
            "reference": self.judge.reference,
            "data": found_in(self.judge.datasets).digest,
            "num": self.options.num,
            "seed": self.options.seed,
            "plan": self.options.plan,
            "guidance": self.options.guidance,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]

    def run_it(self) -> list[Evaluation]:
        """Every row, and what does not depend on the budget: once for each number of calls, if there is a choice."""
        prior, record = self.run.prior, self.run.record
        validation = record.stages["autoencoder"].validation
        bits = list(record.stages["prior"].validation.bits_per_position) if prior is not None else []
        gains = self._gains()
        ordered = Evaluation(
            run=str(self.run.folder),
            modality=record.modality,
            recipe=record.recipe,
            baseline=record.baseline,
            code_length=self.run.code_length,
            codebook_size=record.codebook_size,
            num=self.options.num,
            reference=self.judge.reference,
            changes=self.judge.changes,
            seed=self.options.seed,
            guidance=self.options.guidance,
            extractors={name: extractor.description for name, extractor in self.judge.extractors.items()},
            label_judge=self.judge.label_judge,
            cautions=self.judge.cautions(self.options.num if prior is not None else 0),
            codebook_use=validation.codebook_use,
            gains=gains,
            order_agreement=_order_agreement(gains),
            bits_per_position=bits,
            rows=[],
        )
        if not isinstance(prior, ARDMPrior):
            return [ordered.model_copy(update={"rows": self._rows(None)})]
        numbers = call_numbers(len(prior.digits) * self.most)
        by_calls = bits_by_calls(prior, self._validation_codes, numbers, self._telling_passes("bits by calls"))
        common = {"plan": self.options.plan, "bits_per_calls": by_calls}
        return [
            ordered.model_copy(update={**common, "rows": self._rows(calls), "calls": calls})
            for calls in self.draws.limits
        ]

    def _rows(self, calls: int | None) -> list[Row]:
        kept = self._kept_rows()
        rows = []
        for codes in self.draws.codes:
            used = self.draws.calls(codes, calls)
            key = f"{codes} by {used}"
            if key not in kept:
                reconstructed = next((row for name, row in kept.items() if name.startswith(f"{codes} by ")), None)
                row = self._reconstruction(codes) if reconstructed is None else Row.model_validate(reconstructed)
                kept[key] = self._with_samples(row, used).model_dump(mode="json")
                write_json(self._rows_file, kept, durable=False)
            rows.append(Row.model_validate(kept[key]))
        return rows

    def _kept_rows(self) -> dict[str, Any]:
        """Rows of a killed evaluation; a damaged file holds none, as rows can always be measured again."""
        try:
            with open_own(self._rows_file, "rb") as file:
                kept = json.loads(file.read(JSON_LIMIT))
            rows = {name: Row.model_validate(row).model_dump(mode="json") for name, row in kept.items()}
            json.dumps(rows, allow_nan=False)  # as they are written again
            return rows
        except (OSError, UsageError, ValueError, AttributeError, RecursionError):
            return {}

    def _reconstruction(self, codes: int) -> Row:
        """What the autoencoder alone makes of so many codes."""
        totals = _Totals()
        reconstructed = self.judge.quality(
            self._reconstructions(codes, totals),
            f"{self.run.folder}, {codes} of {self.most} codes: reconstructions",
            self.judge.reference,
            self.on_progress,
        )
        return Row(
            budget=codes / self.most,
            codes=codes,
            reconstruction=totals.means,
            reconstruction_spread=totals.spreads,
            reconstructed=reconstructed,
        )

    def _with_samples(self, row: Row, calls: int) -> Row:
        """The row with new samples, drawn by so many calls, where the run has a prior."""
        if self.run.prior is None:
            return row
        codes = row.codes
        agnostic = isinstance(self.run.prior, ARDMPrior)
        measuring = f"{self.run.folder}, {codes} of {self.most} codes: measuring the cost"
        self.on_progress(measuring, 0, 1)
        cost = sampling_cost(self.run, codes, calls if agnostic else None, self.options.filtering)
        self.on_progress(measuring, 1, 1)
        samples = self._judged(self._drawn(codes, calls).decoded(codes, BATCH))
        return row.model_copy(
            update={
                "samples": self.judge.quality(
                    samples,
                    f"{self.run.folder}, {codes} of {self.most} codes: samples",
                    self.options.num,
                    self.on_progress,
                ),
                **self._bits(codes, calls),
                "seconds_per_sample": cost.seconds_per_sample,
                "codes_per_second": cost.codes_per_second,
                "calls": calls,
                "peak_memory": cost.peak_memory,
            }
        )

    @cached_property
    def _numbers(self) -> list[int]:
        """The number that each of the judge's classes has in this run, which may have them in another order."""
        return [self.run.record.classes.index(name) for name in self.judge.datasets.classes]

    def _judged(self, samples: Batches) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Samples of this run, labelled as the judge numbers the classes."""
        numbers = torch.tensor(self._numbers).argsort()
        for x, labels in samples:
            yield x, None if labels is None else numbers[labels]

    def _drawn(self, codes: int, calls: int) -> DrawnCodes:
        drawn = self.draws.drawn(codes, calls)
        drawn.draw(lambda done: self.on_progress(f"drawing from {self.run.folder}", done, self.options.num))
        drawn.wait()
        return drawn

    def _bits(self, codes: int, calls: int) -> dict[str, float | None]:
        """Bits a code in validation data."""
        prior = self.run.prior
        if isinstance(prior, ARDMPrior):
            spacing = "linear" if self.options.plan == "linear" else "optimal"
            plan = make_plan(prior.losses(codes).double().cpu().numpy(), calls, spacing)
            telling = self._telling_passes(f"{codes} of {self.most} codes: bits")
            bits = bits_of_plan(prior, self._validation_codes, codes, plan, telling)
            return {"bits_per_code": bits.per_code, "bits_standard_error": bits.standard_error}
        each = self.run.record.stages["prior"].validation.bits_per_position
        return {"bits_per_code": sum(each[:codes]) / codes if len(each) >= codes else None}

    def _telling_passes(self, activity: str) -> Callable[[], None]:
        """Called for each batch of the passes over `_validation_codes`, tells how many there have been."""
        numbers, total = count(1), PASSES * len(self._validation_codes)
        return lambda: self.on_progress(f"{self.run.folder}, {activity}", next(numbers), total)

    @cached_property
    def _validation_codes(self) -> list[tuple[Tensor, Tensor | None]]:
        """Codes and labels of some validation samples, on the prior's device."""
        prior, device = self.run.require_prior(), self.run.device
        batches = ordered_batches(self.judge.datasets.validation, BATCH, limit=_BOUND_SAMPLES, workers=0)
        return [
            (
                self.run.encode(batch["x"])[:, : prior.code_length].to(device),
                torch.tensor(self._numbers)[batch["label"]].to(device) if prior.classes else None,
            )
            for batch in batches
        ]

    def _reconstructions(self, codes: int, totals: _Totals) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Validation data through the autoencoder, whose measures go into `totals`."""
        for x, labels in self.judge.validation():
            x_hat = self.run.reconstruct(x, Budget(codes, "codes"))
            totals.add({name: self._measured(name, x_hat, x) for name in self._measures})
            yield x_hat, labels

    def _measured(self, name: str, x_hat: Tensor, x: Tensor) -> Tensor:
        values = self._measures[name](x_hat, x)
        if not values.isfinite().all():
            raise PluginError(
                f"modality '{self.run.record.modality}': its metric '{name}' is not finite for every sample"
            )
        return values

    @cached_property
    def _measures(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"loss": self.run.modality.reconstruction_loss, **self.run.modality.metrics()}

    def _gains(self) -> dict[int, float]:
        """Number of codes -> reconstruction loss of some validation samples."""
        curve = reconstruction_curve(
            self.run.autoencoder,
            {"loss": self.run.modality.reconstruction_loss},
            self._gain_batches(),
            preview_lengths(self.run.code_length, _GAIN_LENGTHS),
        )
        return dict(zip(curve.lengths, curve.values["loss"], strict=True))

    def _gain_batches(self) -> Iterator[Mapping[str, Tensor]]:
        done, total = 0, min(_GAIN_SAMPLES, self.judge.reference)
        for batch in ordered_batches(self.judge.datasets.validation, BATCH, limit=_GAIN_SAMPLES, workers=0):
            yield batch
            done += len(batch["x"])
            self.on_progress(f"{self.run.folder}, gains of further codes", done, total)


@dataclass
class _Totals:
    """Sums over samples, by measure."""

    samples: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, measured: dict[str, Tensor]) -> None:
        self.samples += len(next(iter(measured.values())))
        for name, values in measured.items():
            values = values.double()
            self.sums[name] = self.sums.get(name, 0.0) + values.sum().item()
            self.squares[name] = self.squares.get(name, 0.0) + values.square().sum().item()

    @property
    def means(self) -> dict[str, float]:
        return {name: total / self.samples for name, total in self.sums.items()}

    @property
    def spreads(self) -> dict[str, float]:
        """Standard deviations."""
        return {name: max(0.0, self.squares[name] / self.samples - mean**2) ** 0.5 for name, mean in self.means.items()}


def _order_agreement(gains: dict[int, float]) -> float | None:
    """How often a code buys at least as much as the next one."""
    falls = [(gains[fewer] - gains[more]) / (more - fewer) for fewer, more in pairwise(sorted(gains))]
    agreeing = [earlier >= later for earlier, later in pairwise(falls)]
    return sum(agreeing) / len(agreeing) if agreeing else None


def _check_comparable(run: Run, other: Run) -> None:
    """Raise UsageError where a baseline is of other data."""
    for what, own, theirs in (
        ("modality", run.record.modality, other.record.modality),
        ("sample shape", run.modality.sample_shape(), other.modality.sample_shape()),
        ("classes", sorted(run.record.classes), sorted(other.record.classes)),
    ):
        if own != theirs:
            raise UsageError(
                f"run {other.folder} cannot be compared with {run.folder}: its {what} is {theirs}, not {own}"
            )
