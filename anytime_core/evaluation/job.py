"""The evaluation of one run: row by row, so that a killed one can go on, and what follows from all rows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.data.files import open_own, write_json
from anytime_core.data.reading import JSON_LIMIT
from anytime_core.digest import digest
from anytime_core.errors import UsageError
from anytime_core.evaluation.cost import sampling_cost
from anytime_core.evaluation.drawn import DrawnCodes, Draws
from anytime_core.evaluation.floors import data_space_of, floors_of
from anytime_core.evaluation.gains import gains_of_codes, order_agreement
from anytime_core.evaluation.judge import BATCH, Batches, Judge, OnProgress
from anytime_core.evaluation.likelihood import Likelihood, value_bits
from anytime_core.evaluation.metrics import Metrics, Totals
from anytime_core.evaluation.result import Evaluation, Quality, Row, ValueFloors
from anytime_core.evaluation.verdict import verdict
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.results import PriorValidation
from anytime_core.sampling.options import SamplingOptions
from anytime_core.training.batches import ordered_batches
from anytime_core.weights import autoencoder_digest

ROWS_PREFIX = ".rows-"
"""Start of the names of files that keep rows, so that a killed evaluation can go on."""

_PERFECT_SAMPLES = 16
"""How many validation samples tell what the best value of a measure is."""


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    """What autoencoders do by themselves, which the runs that share one need not measure again.

    Attributes:
        rows: digest of an autoencoder and number of codes -> a row without samples.
        gains: digest of an autoencoder -> what `gains_of_codes` gives.
        floors: digest of an autoencoder -> what `floors_of` gives.
    """

    rows: dict[tuple[str, int], Row] = dataclasses.field(default_factory=dict)
    gains: dict[str, dict[int, float]] = dataclasses.field(default_factory=dict)
    floors: dict[str, ValueFloors] = dataclasses.field(default_factory=dict)


class Job:
    """One run under a judge; its rows and its samples' codes are kept in the folder until all runs are done.

    Args:
        draws: new samples of the run.
        judge: the same for all runs.
        floor: how the judge sees training samples.
        folder: of the evaluation.
        reconstructed: the same for all runs; what is measured is added to it.
        on_progress: called with a description of the work, how much is done, and how much there is in all.
    """

    def __init__(
        self,
        draws: Draws,
        judge: Judge,
        floor: Quality | None,
        folder: Path,
        reconstructed: Reconstructed,
        on_progress: OnProgress,
    ) -> None:
        self.draws, self.judge, self.floor, self.on_progress = draws, judge, floor, on_progress
        self.run, self.options, self.most = draws.run, draws.options, draws.most
        self.reconstructed = reconstructed
        self.autoencoder = autoencoder_digest(self.run.folder, self.run.record)
        self._rows_file = folder / f"{ROWS_PREFIX}{self._digest()}.json"

    def _digest(self) -> str:
        """A name that follows from everything that decides the rows, except their numbers of codes, which rows hold."""
        described = {
            "run": str(self.run.folder.resolve()),
            "trained": self.run.record.model_dump(mode="json", include={"created", "stages"}),
            "judge": {name: extractor.description for name, extractor in self.judge.extractors.items()},
            "reference": self.judge.reference,
            "data": self.judge.datasets.counted().digest,
            "num": self.options.num,
            "sampling": dataclasses.asdict(self.options.sampling),
        }
        return digest(described)[:12]

    def run_it(self) -> list[Evaluation]:
        """All rows, and what does not depend on the budget: an evaluation for each number of calls asked for."""
        prior, record = self.run.prior, self.run.record
        validation = record.stages["autoencoder"].validation
        likelihood = record.stages["prior"].validation if prior is not None else PriorValidation()
        gains = self.reconstructed.gains.get(self.autoencoder)
        if gains is None:
            gains = gains_of_codes(self.run, self.judge.datasets.validation, self.on_progress)
            self.reconstructed.gains[self.autoencoder] = gains
        ordered = Evaluation(
            run=str(self.run.folder),
            modality=record.modality,
            recipe=record.recipe,
            baseline=record.baseline,
            prior=None if prior is None else prior.kind,
            autoencoder=self.autoencoder,
            code_length=self.run.code_length,
            codebook_size=record.codebook_size,
            prefix=self.run.autoencoder.prefix,
            num=self.options.num,
            reference=self.judge.reference,
            changes=self.judge.changes,
            seed=self.options.sampling.seed,
            guidance=self.options.sampling.guidance,
            sampling=_shaped(self.options.sampling),
            extractors={name: extractor.description for name, extractor in self.judge.extractors.items()},
            label_judge=self.judge.label_judge,
            judge=self.judge.judge,
            chance=self._chance(),
            floor=self.floor,
            cautions=self.judge.cautions(self.options.num if prior is not None else 0),
            codebook_use=validation.codebook_use,
            perfect=self._perfect(),
            mean_sample=validation.mean_sample,
            shuffled={
                measure: dict(zip(validation.codes, values, strict=True))
                for measure, values in validation.shuffled.items()
            },
            gains=gains,
            order_agreement=order_agreement(gains),
            bits_per_position=list(likelihood.bits_per_position),
            bits_standard_error=likelihood.standard_error,
            bound=prior is not None and not prior.exact,
            rows=[],
        )
        if not isinstance(prior, AnyOrderPrior):
            return [self._concluded(ordered, None)]
        common = {"plan": self.options.sampling.plan, "bits_per_calls": self._likelihood.by_calls()}
        by_all = ordered.model_copy(update=common)
        return [self._concluded(by_all, calls) for calls in self.draws.limits]

    def _concluded(self, evaluation: Evaluation, calls: int | None) -> Evaluation:
        """The evaluation with its rows at one number of calls, and what follows from them."""
        measured = evaluation.model_copy(update={"rows": self._rows(calls), "calls": calls})
        if (space := data_space_of(self.run)) is not None:
            measured = measured.model_copy(update={"data_space": value_bits(space, self._floors(), measured)})
        return measured.model_copy(update={"verdict": verdict(measured, self.run.record.config)})

    def _chance(self) -> dict[str, float]:
        """Label accuracy of always naming the largest class, for samples and for reconstructions."""
        if self.judge.judge is None:
            return {}
        chance = {"reconstructed": self.judge.judge.chance}
        if self.run.prior is not None and self.run.prior.classes:
            chance["samples"] = math.ceil(self.options.num / self.run.prior.classes) / self.options.num
        return dict(sorted(chance.items(), reverse=True))

    def _rows(self, calls: int | None) -> list[Row]:
        kept = self._kept_rows()
        for row in map(Row.model_validate, kept.values()):
            self.reconstructed.rows.setdefault((self.autoencoder, row.codes), row.without_samples())
        rows = []
        for codes in self.draws.codes:
            used = self.draws.calls(codes, calls)
            key = f"{codes} by {used}"
            if key not in kept:
                row = self._reconstruction(codes)
                kept[key] = self._with_samples(row, used).model_dump(mode="json")
                write_json(self._rows_file, kept, durable=False)
            rows.append(Row.model_validate(kept[key]))
        return rows

    def _kept_rows(self) -> dict[str, Any]:
        """Rows of a killed evaluation; a damaged file counts as empty, because rows can be measured again."""
        try:
            with open_own(self._rows_file, "rb") as file:
                kept = json.loads(file.read(JSON_LIMIT))
            rows = {name: Row.model_validate(row).model_dump(mode="json") for name, row in kept.items()}
            json.dumps(rows, allow_nan=False)  # they must be fit to be written again
            return rows
        except (OSError, UsageError, ValueError, AttributeError, RecursionError):
            return {}

    def _reconstruction(self, codes: int) -> Row:
        """The row of what the autoencoder alone does with a number of codes."""
        known = self.reconstructed.rows.get((self.autoencoder, codes))
        if known is not None:
            return known.model_copy(update={"budget": codes / self.most})
        totals = Totals()
        reconstructed = self.judge.quality(
            self._reconstructions(codes, totals),
            f"{self.run.folder}, {codes} of {self.most} codes: reconstructions",
            self.judge.reference,
            self.on_progress,
        )
        row = Row(
            budget=codes / self.most,
            codes=codes,
            reconstruction=totals.means,
            reconstruction_spread=totals.spreads,
            reconstructed=reconstructed,
        )
        self.reconstructed.rows[self.autoencoder, codes] = row
        return row

    def _with_samples(self, row: Row, calls: int) -> Row:
        """The row with new samples too, drawn by this number of calls, if the run has a prior."""
        if self.run.prior is None:
            return row
        codes = row.codes
        measuring = f"{self.run.folder}, {codes} of {self.most} codes: measuring the cost"
        self.on_progress(measuring, 0, 1)
        cost = sampling_cost(self.run, codes, self.draws.sampling(calls))
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
                **self._likelihood.of_row(codes, calls),
                "seconds_per_sample": cost.seconds_per_sample,
                "codes_per_second": cost.codes_per_second,
                "calls": calls,
                "peak_memory": cost.peak_memory,
            }
        )

    @cached_property
    def _numbers(self) -> list[int]:
        """The number of each of the judge's classes in this run, where their order may differ."""
        return [self.run.record.classes.index(name) for name in self.judge.datasets.classes]

    def _judged(self, samples: Batches) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Samples of this run, with labels as the judge numbers the classes."""
        numbers = torch.tensor(self._numbers).argsort()
        for x, labels in samples:
            yield x, None if labels is None else numbers[labels]

    def _drawn(self, codes: int, calls: int) -> DrawnCodes:
        drawn = self.draws.drawn(codes, calls)
        drawn.draw(lambda done: self.on_progress(f"drawing from {self.run.folder}", done, self.options.num))
        drawn.wait()
        return drawn

    @cached_property
    def _likelihood(self) -> Likelihood:
        return Likelihood(self.draws, self.judge.datasets, self._numbers, self.on_progress)

    def _floors(self) -> ValueFloors:
        known = self.reconstructed.floors.get(self.autoencoder)
        if known is None:
            known = self.reconstructed.floors[self.autoencoder] = floors_of(self.run, self.on_progress)
        return known

    def _reconstructions(self, codes: int, totals: Totals) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Validation data through the autoencoder; the measures are added to `totals`."""
        for x, labels in self.judge.validation():
            x_hat = self.run.reconstruct(x, Budget(codes, "codes"))
            totals.add(self._metrics(x_hat, x))
            yield x_hat, labels

    @cached_property
    def _metrics(self) -> Metrics:
        return Metrics(self.run.modality)

    def _perfect(self) -> dict[str, float]:
        """The value of each measure if a few validation samples are reconstructed without any change."""
        batch = next(iter(ordered_batches(self.judge.datasets.validation, _PERFECT_SAMPLES, workers=0)))
        return self._metrics.perfect(batch["x"])


def _shaped(sampling: SamplingOptions) -> dict[str, Any]:
    """What was changed of sampling, without what an evaluation says elsewhere."""
    return {name: value for name, value in sampling.changed().items() if name not in ("seed", "calls", "plan")}
