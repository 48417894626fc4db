"""Quality against budget: what each further code buys, in a run and in its baselines, under one judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from anytime_core.errors import PluginError, UsageError
from anytime_core.evaluation.cost import sampling_cost
from anytime_core.evaluation.drawn import DrawnCodes
from anytime_core.evaluation.extractors import ExtractorRequest
from anytime_core.evaluation.judge import BATCH, Judge, OnProgress
from anytime_core.evaluation.reconstruction import preview_lengths, reconstruction_curve
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation, Row
from anytime_core.files import write_json
from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.training.batches import ordered_batches

_GAIN_LENGTHS, _GAIN_SAMPLES = 64, 500
"""Numbers of codes, and validation samples, by which the gain of further codes is measured."""

TENTHS = tuple(Budget(tenth / 10) for tenth in range(1, 11))


@dataclass(frozen=True)
class EvaluationOptions:
    """How runs are evaluated.

    Attributes:
        budgets: shares or numbers of codes.
        num: new samples, the same ones at each budget.
        seed: of the samples and of the classifier.
        extractors: what sets of samples are compared with; empty: all that need nothing.
        download: whether extractors may download their weights.
    """

    budgets: tuple[Budget, ...] = TENTHS
    num: int = 2000
    seed: int = 0
    extractors: tuple[ExtractorRequest, ...] = field(default=())
    download: bool = False

    def __post_init__(self) -> None:
        if not self.budgets:
            raise UsageError("no budgets to evaluate: name at least one, such as 0.5")
        if self.num < 2:
            raise UsageError(f"number of samples {self.num} is not at least 2")


def evaluate(
    run: Run,
    folder: Path,
    options: EvaluationOptions | None = None,
    *,
    against: Sequence[Run] = (),
    on_progress: OnProgress = lambda activity, done, total: None,
) -> list[Evaluation]:
    """Evaluate a run and, at the same numbers of codes, its baselines, with one judge.

    What is done is kept in `folder`, so that the same call goes on where one was killed; at the end `evaluation.json`
    takes its place.

    Args:
        run: that the evaluation is about.
        folder: made where it is missing; the classifier stays there.
        options: how.
        against: runs of the same data.
        on_progress: called with what is being done, how much of it is done, and how much it is in all.

    Returns:
        One evaluation for each run, that of `run` first.

    Raises:
        UsageError: an option that this run cannot follow, or a run of other data.
        DataError: the data is gone.
    """
    options = options or EvaluationOptions()
    basis = run.prior.code_length if run.prior is not None else run.code_length
    codes = sorted({budget.codes(basis) for budget in options.budgets})
    for other in against:
        _check_comparable(run, other)
    judge = Judge(
        run, options.extractors, folder, seed=options.seed, download=options.download, on_progress=on_progress
    )
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(one, judge, folder, options, codes, on_progress) for one in (run, *against)]
    evaluations = [job.run_it(None if job.run is run else run.folder) for job in jobs]
    dumped = [evaluation.model_dump(mode="json") for evaluation in evaluations]
    write_json(folder / EVALUATION_FILE, dumped if against else dumped[0])
    for job in jobs:
        job.forget()
    return evaluations


class _Job:
    """One run under the judge; its rows and its samples' codes are kept in the folder until all runs are done."""

    def __init__(
        self,
        run: Run,
        judge: Judge,
        folder: Path,
        options: EvaluationOptions,
        codes: Sequence[int],
        on_progress: OnProgress,
    ) -> None:
        self.run, self.judge, self.options, self.on_progress = run, judge, options, on_progress
        self.most = run.prior.code_length if run.prior is not None else run.code_length
        # A run of fewer codes is compared at what it has, and at all of it.
        self.codes = sorted({min(number, self.most) for number in codes})
        digest = self._digest()
        self._rows_file, self._codes_file = folder / f".rows-{digest}.json", folder / f".codes-{digest}.bin"

    def _digest(self) -> str:
        """A name for everything that decides what the rows will be, but for the codes, which rows say themselves."""
        described = {
            "run": str(self.run.folder.resolve()),
            "trained": self.run.record.model_dump(mode="json", include={"created", "stages"}),
            "judge": {name: extractor.description for name, extractor in self.judge.extractors.items()},
            "reference": self.judge.reference,
            "num": self.options.num,
            "seed": self.options.seed,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]

    def run_it(self, baseline_of: Path | None) -> Evaluation:
        """Every row, and what does not depend on the budget."""
        record = self.run.record
        validation = record.stages["autoencoder"].validation
        bits = record.stages["prior"].validation.get("bits_per_position", []) if self.run.prior is not None else []
        rows = self._rows(bits)
        gains = self._gains()
        return Evaluation(
            run=str(self.run.folder),
            modality=record.modality,
            recipe=record.recipe,
            baseline=record.baseline,
            baseline_of=None if baseline_of is None else str(baseline_of),
            code_length=self.run.code_length,
            codebook_size=record.codebook_size,
            num=self.options.num,
            reference=self.judge.reference,
            seed=self.options.seed,
            extractors={name: extractor.description for name, extractor in self.judge.extractors.items()},
            label_judge=self.judge.label_judge,
            codebook_use=validation.get("codebook_use"),
            gains=gains,
            order_agreement=_order_agreement(gains),
            bits_per_position=bits,
            rows=rows,
        )

    def forget(self) -> None:
        """Remove what was kept for a killed evaluation."""
        self._rows_file.unlink(missing_ok=True)
        self._codes_file.unlink(missing_ok=True)

    def _rows(self, bits: Sequence[float]) -> list[Row]:
        kept = json.loads(self._rows_file.read_text()) if self._rows_file.exists() else {}
        drawn = None
        if self.run.prior is not None and any(str(codes) not in kept for codes in self.codes):
            drawn = DrawnCodes(self._codes_file, self.run, self.options.num, self.most, self.options.seed)
            drawn.draw(lambda done: self.on_progress(f"drawing from {self.run.folder}", done, self.options.num))
        for codes in self.codes:
            if str(codes) not in kept:
                kept[str(codes)] = self._row(codes, drawn, bits).model_dump(mode="json")
                write_json(self._rows_file, kept, durable=False)
        return [Row.model_validate(kept[str(codes)]) for codes in self.codes]

    def _row(self, codes: int, drawn: DrawnCodes | None, bits: Sequence[float]) -> Row:
        totals = _Totals()
        activity = f"{self.run.folder}, {codes} of {self.most} codes"
        reconstructed = self.judge.quality(
            self._reconstructions(codes, totals), f"{activity}: reconstructions", self.judge.reference, self.on_progress
        )
        row = Row(
            budget=codes / self.most,
            codes=codes,
            reconstruction=totals.means,
            reconstruction_spread=totals.spreads,
            reconstructed=reconstructed,
        )
        if drawn is None:
            return row
        cost = sampling_cost(self.run, codes)
        return row.model_copy(
            update={
                "samples": self.judge.quality(
                    drawn.decoded(codes, BATCH), f"{activity}: samples", self.options.num, self.on_progress
                ),
                "bits_per_code": sum(bits[:codes]) / codes if bits else None,
                "seconds_per_sample": cost.seconds_per_sample,
                "codes_per_second": cost.codes_per_second,
                "calls": codes,
                "peak_memory": cost.peak_memory,
            }
        )

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
            ordered_batches(self.judge.datasets.validation, BATCH, limit=_GAIN_SAMPLES, workers=0),
            preview_lengths(self.run.code_length, _GAIN_LENGTHS),
        )
        return dict(zip(curve.lengths, curve.values["loss"], strict=True))


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
        ("classes", list(run.record.classes), list(other.record.classes)),
    ):
        if own != theirs:
            raise UsageError(
                f"run {other.folder} cannot be compared with {run.folder}: its {what} is {theirs}, not {own}"
            )
