"""The result of an evaluation: `evaluation.json`, and the same as lines of numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from anytime_core.data.files import replacing
from anytime_core.data_space import BITS, NATS

EVALUATION_FILE = "evaluation.json"
"""A file in the folder `evaluation` of a run."""

_GOOD_ACCURACY, _ENOUGH_A_CLASS = 0.9, 50
"""A classifier is a weak judge below this share of correct answers, or this many training samples a class."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Quality(_Record):
    """A set of samples, compared with validation data.

    Attributes:
        frechet: extractor -> Fréchet distance of its features, at least 0; lower is better.
        precision: share of the samples within the manifold of validation data, in [0, 1].
        recall: share of validation data within the manifold of the samples, in [0, 1].
        density: how densely validation data lies around the samples, about 1 if they are alike, 0 for none.
        coverage: share of validation data that has samples around it, in [0, 1].
        label_accuracy: share of the samples that the classifier recognises as their labels; None if the data has no
            labels.
        scores: means of the features that mean something by themselves.
    """

    frechet: dict[str, float]
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    label_accuracy: float | None = None
    scores: dict[str, float] = {}


class LabelJudge(_Record):
    """The classifier that tells whether samples show their labels.

    Attributes:
        samples: how many it was trained on.
        classes: how many it tells apart.
        accuracy: share of the validation data that it classifies correctly.
        chance: the same for always naming the largest class.
    """

    samples: int
    classes: int
    accuracy: float
    chance: float

    @property
    def weakness(self) -> str:
        """Why its judgement counts for little; empty if it counts."""
        if self.accuracy < _GOOD_ACCURACY:
            return f"it is right on only {self.accuracy:.1%} of the validation data, by chance {self.chance:.1%}"
        if self.samples < _ENOUGH_A_CLASS * self.classes:
            return f"it was trained on only {self.samples:,} samples of {self.classes} classes"
        return ""


class Row(_Record):
    """One budget.

    Attributes:
        budget: share of the codes that can be drawn, as in `anytime sample --budget`.
        codes: their number.
        reconstruction: metric -> mean over the validation data.
        reconstruction_spread: metric -> standard deviation over the validation data.
        reconstructed: the reconstructions as a set of samples: what the autoencoder loses by itself.
        samples: new samples; None for a run without a prior.
        bits_per_code: mean negative log-likelihood of these codes in validation data, an upper bound if the prior is
            order-agnostic.
        bits_standard_error: of this bound.
        nats_per_sample: of these codes, if they are binary values of data, see `anytime_core.data_space`.
        bits_per_dimension: the same over all values of a sample, if codes are other values of data, or their digits.
        seconds_per_sample: of drawing and decoding.
        codes_per_second: codes drawn in a second, over all samples of a batch.
        calls: of the prior's network, for a sample.
        peak_memory: the most bytes that the process held, weights included; None if the system does not tell.
    """

    budget: float
    codes: int
    reconstruction: dict[str, float]
    reconstruction_spread: dict[str, float]
    reconstructed: Quality
    samples: Quality | None = None
    bits_per_code: float | None = None
    bits_standard_error: float | None = None
    nats_per_sample: float | None = None
    bits_per_dimension: float | None = None
    seconds_per_sample: float | None = None
    codes_per_second: float | None = None
    calls: int | None = None
    peak_memory: int | None = None

    def without_samples(self) -> Row:
        """Only what it says of reconstructions."""
        said = {"budget", "codes", "reconstruction", "reconstruction_spread", "reconstructed"}
        return Row.model_validate(self.model_dump(include=said))


class ValueFloors(_Record):
    """What the values of validation data need if each is independent of all others, by histograms of training data.

    Attributes:
        zero_order: with one histogram for all values.
        independent: with a histogram for each; None if these would be too large.
        data: the digest of histograms of the validation data, by which they are known, whatever their order is.
    """

    zero_order: float
    independent: float | None = None
    data: str


class ValueBits(_Record):
    """That codes are the values of data, by which likelihoods compare with those of other models of the same data.

    Attributes:
        values: of a sample.
        levels: that each may have.
        unit: of what a prior needs, `nats per sample` or `bits per dimension`.
        floors: in this unit.
        needed: by the prior for a sample, in this unit; None without a prior of all codes.
        standard_error: of `needed`.
    """

    values: int
    levels: int
    unit: str
    floors: ValueFloors
    needed: float | None = None
    standard_error: float | None = None


class BitsBeside(_Record):
    """What a run's prior needs for codes of validation data, beside another prior of the same codes.

    Attributes:
        codes: how many leading codes both model; the bits are of these.
        bits: a code, of the run's prior.
        other_bits: a code, of the other one.
        bound: whether `bits` is an upper bound, as the prior is order-agnostic.
        other_bound: whether `other_bits` is one.
        paired: whether the standard error is that of the differences, sequence by sequence.
        standard_error: of the mean difference; if it is not paired, that for independent sets of codes, which is
            larger; None if it is not known.
    """

    codes: int
    bits: float
    other_bits: float
    bound: bool = False
    other_bound: bool = False
    paired: bool
    standard_error: float | None


class Evaluation(_Record):
    """One run, budget by budget.

    Attributes:
        run: its folder.
        modality: its plugin.
        recipe: the recipe that it was trained with, if any.
        baseline: the name of the baseline, such as `unordered`; None for an ordered model.
        baseline_of: folder of the run that it is compared with; None for the run that the evaluation is about.
        prior: the kind of its prior; None if it has none, and in evaluations of versions that did not say.
        autoencoder: the digest of its autoencoder, by which it is known; None in those versions.
        code_length: number of codes.
        codebook_size: entries; None for continuous codes.
        prefix: what samples of fewer codes are if they are not whole samples, coarser, in words; else empty.
        num: new samples at each budget.
        reference: validation samples.
        changes: how the data differ from what the run was trained on; empty if no difference is known.
        seed: of the samples.
        guidance: of the samples, see `SamplingOptions`.
        sampling: the other options of `SamplingOptions` that were not at their default.
        extractors: name -> description; manifolds are compared by the first.
        label_judge: what judges label accuracy; None if the data has no labels.
        judge: how good it is; None if the data has no labels, and in evaluations of versions that did not say.
        chance: `samples` and `reconstructed` -> label accuracy of always naming the largest class: its share of
            validation data; one over the number of classes for new samples, whose classes are drawn in turn.
        floor: as many training samples as new ones, or all there are, in their place: about the best possible.
        cautions: what makes these numbers uncertain, such as few samples.
        codebook_use: share of the codebook's entries that validation data uses.
        perfect: metric -> its value for reconstructions without any error, which tells whether higher is better.
        mean_sample: metric -> its value if the mean of the training samples stands for every sample.
        shuffled: metric -> number of codes -> its value if samples are decoded from the codes of others.
        gains: number of codes -> reconstruction loss with that many; how much each further code buys.
        order_agreement: how often a code buys at least as much as the next one, over neighbours in `gains`.
        bits_per_position: bits of each code in validation data.
        bits_standard_error: of their mean; None in those versions.
        bound: whether bits are upper bounds, and with them nats.
        data_space: what the prior needs for the values of data; None if codes are those of an encoder, and in
            evaluations of versions that did not say.
        bits_beside: folder of another run with a prior of the same codes -> how the bits of the two compare.
        calls: the most network calls for a sample of an order-agnostic prior; None: one for each code.
        plan: how such a prior shares the codes among the calls; None for other priors.
        bits_per_calls: spacing of an order-agnostic prior's plan -> network calls -> bits a code of validation data.
        verdict: conclusions from the numbers, in sentences; see `anytime_core.evaluation.verdict`.
        rows: by ascending budget.
    """

    run: str
    modality: str
    recipe: str | None = None
    baseline: str | None = None
    baseline_of: str | None = None
    prior: str | None = None
    autoencoder: str | None = None
    code_length: int
    codebook_size: int | None
    prefix: str = ""
    num: int
    reference: int
    changes: tuple[str, ...] = ()
    seed: int
    guidance: float = 1.0
    sampling: dict[str, float | int | str] = {}
    extractors: dict[str, str]
    label_judge: str | None = None
    judge: LabelJudge | None = None
    chance: dict[str, float] = {}
    floor: Quality | None = None
    cautions: list[str] = []
    codebook_use: float | None
    perfect: dict[str, float] = {}
    mean_sample: dict[str, float] = {}
    shuffled: dict[str, dict[int, float]] = {}
    gains: dict[int, float]
    order_agreement: float | None
    bits_per_position: list[float] = []
    bits_standard_error: float | None = None
    bound: bool = False
    data_space: ValueBits | None = None
    bits_beside: dict[str, BitsBeside] = {}
    calls: int | None = None
    plan: str | None = None
    bits_per_calls: dict[str, dict[int, float]] = {}
    verdict: tuple[str, ...] = ()
    rows: list[Row]

    @property
    def bounded(self) -> bool:
        """Whether bits are upper bounds; earlier versions only said the bits of order-agnostic priors by calls."""
        return self.bound or bool(self.bits_per_calls)


def cells(row: Row) -> Iterator[tuple[str, float | None]]:
    """Yield the numbers of a row with the names of their columns."""
    yield "budget", row.budget
    yield "codes", row.codes
    yield from ((metric, value) for metric, value in row.reconstruction.items())
    yield from ((f"{metric} spread", value) for metric, value in row.reconstruction_spread.items())
    for name, quality in (("reconstructed", row.reconstructed), ("samples", row.samples)):
        if quality is not None:
            yield from ((f"{name} frechet {extractor}", value) for extractor, value in quality.frechet.items())
            yield f"{name} precision", quality.precision
            yield f"{name} recall", quality.recall
            yield f"{name} density", quality.density
            yield f"{name} coverage", quality.coverage
            yield f"{name} label accuracy", quality.label_accuracy
            yield from ((f"{name} {score}", value) for score, value in quality.scores.items())
    yield "bits per code", row.bits_per_code
    yield "bits standard error", row.bits_standard_error
    for unit, value in ((NATS, row.nats_per_sample), (BITS, row.bits_per_dimension)):
        if value is not None:  # most data has neither
            yield unit, value
    yield "seconds per sample", row.seconds_per_sample
    yield "codes per second", row.codes_per_second
    yield "calls", row.calls
    yield "peak memory", row.peak_memory


def write_csv(evaluations: Sequence[Evaluation], path: Path) -> None:
    """One line for each budget of each run; columns that a run has no number for stay empty."""
    lines = [
        {"run": one.run, **dict(cells(row)), "cautions": "; ".join(one.cautions)}
        for one in evaluations
        for row in one.rows
    ]
    columns = dict.fromkeys(column for line in lines for column in line)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(lines)
