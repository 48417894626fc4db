"""Conclusions from an evaluation: at which budget samples are best, what is to blame, and what to change first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anytime_core.curve import ignored_input
from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.evaluation.metrics import LOSS
from anytime_core.evaluation.result import Evaluation, Quality, Row
from anytime_core.evaluation.values import needed_in_words

_ALIKE = 1.05
"""Distances whose ratio is smaller count as equal: other samples would change them as much."""
_WORSE = 1.1
"""A distance of more than this many times the best one is really worse, not only uncertain."""
_MOSTLY = 1.5
"""A part whose distance is more than this many times the other's is to blame alone."""
_ALONE = 5.0
"""A part whose distance is less than this share of the other's is not to blame."""
_CLOSE = 1.25
"""Nothing is to blame if the distance of samples is at most this many times that of training data."""
_UNLIKE_LABELS = 0.05
"""Samples do not follow their labels if their label accuracy is this far below that of reconstructions."""
_NO_BETTER_THAN_CHANCE = 1.2
_SIZES = ("width", "hidden")
"""What decides how large a prior is; each kind has one of these."""
_SMALL_DATA = 5000
"""With fewer training samples a prior is likely to learn them by heart, not to learn too little."""


@dataclass(frozen=True)
class _Point:
    """Fréchet distances at a number of codes; `samples` is None for a run without a prior."""

    row: Row
    samples: float | None
    reconstructed: float

    @property
    def judged(self) -> float:
        """The distance that judges the run: of new samples, or of reconstructions if there are none."""
        return self.reconstructed if self.samples is None else self.samples


def verdict(evaluation: Evaluation, config: Mapping[str, Any]) -> tuple[str, ...]:
    """One to four sentences, the most important first; none for an evaluation without rows.

    Fréchet distances are those of the first extractor.

    Args:
        evaluation: with its rows; nothing is said of what earlier versions did not measure.
        config: of the run, as in `run.json`, so that advice can name present values.
    """
    if not evaluation.rows:
        return ()
    if evidence := _ignored_input(evaluation):
        return (
            f"The autoencoder ignores its input: {evidence}, so that no budget and no prior can help; first "
            f"{_autoencoder_advice(config)}.",
        )
    extractor = next(iter(evaluation.extractors), None)
    points = [point for row in evaluation.rows if (point := _point(row, extractor)) is not None]
    if extractor is None or not points:
        sentences = ["Nothing here judges how good samples are: name features to compare them by with --extractor."]
    else:
        sentences = [_best(evaluation, points, extractor)]
        if not of_few(evaluation):  # distances of few samples do not tell what is to blame
            sentences += _blame(evaluation, points, config)
    return tuple(sentence for sentence in (*sentences, needed_in_words(evaluation), _weakest(evaluation)) if sentence)


# What is said


def _best(evaluation: Evaluation, points: Sequence[_Point], extractor: str) -> str:
    """At which budget samples are best."""
    best, first, last = _best_point(points), points[0], points[-1]
    where, distance = _amount(best, evaluation), f"a Fréchet distance of {best.judged:.3g} ({extractor})"
    what = "samples" if last.samples is not None else "without a prior only reconstructions are judged, and"
    be = "are" if last.samples is not None else "these are"
    if _rises(points):
        budget = f" (--budget {best.row.codes}codes)"
        said = f"{be} best with {where}{budget}, at {distance}, and get worse with more: {last.judged:.3g} with "
        said += _amount(last, evaluation)
    elif len(points) > 1 and first.judged <= _ALIKE * best.judged:
        said = f"{be} as good with {_amount(first, evaluation)} as with {_amount(last, evaluation)}, at {distance}"
    else:
        said = f"{be} best with {where}, at {distance}"
        enough = next(point for point in points if point.judged <= _ALIKE * best.judged)
        if enough.row.codes < best.row.codes:
            said += f"; {_amount(enough, evaluation)} come within 5 % of it"
    return _capitalised(f"{_hedge(evaluation, extractor)}{what} {said}.")


def _blame(evaluation: Evaluation, points: Sequence[_Point], config: Mapping[str, Any]) -> list[str]:
    """What keeps samples from being better, and what to change first."""
    rises = _rises(points)
    point = points[-1] if rises else _best_point(points)
    floor = _floor(evaluation)
    training = "" if floor is None else f", training data at {floor:.3g}"
    if floor is not None and point.judged <= _CLOSE * floor:
        blameless = "the autoencoder is not" if point.samples is None else "neither autoencoder nor prior is"
        return [f"Training data itself stands at {floor:.3g}: {blameless} to blame."]
    if point.samples is None:
        advice = f"first {_autoencoder_advice(config)}"
        return [f"Training data stands at {floor:.3g}: to come closer, {advice}."] if floor is not None else []
    # Reconstructions are of the validation data itself: with a perfect autoencoder they have no distance to it. Samples
    # of a perfect prior are other samples, and have the distance of training data too.
    by_autoencoder = point.reconstructed
    by_prior = point.samples - by_autoencoder - (floor or 0.0)
    # If samples get worse with more codes and reconstructions do not, the prior is the reason.
    rises_alone = rises and by_autoencoder <= _ALIKE * _best_point(points).reconstructed
    if rises_alone or by_prior > _MOSTLY * by_autoencoder:
        advice = _prior_advice(evaluation, point.row, config, keep=_best_point(points).row.codes if rises else None)
        alone = rises_alone or by_prior > _ALONE * by_autoencoder
        said = f"The prior is to blame{', not' if alone else ' more than'} the autoencoder: reconstructions"
    elif by_autoencoder > _MOSTLY * by_prior:
        advice = f"first {_autoencoder_advice(config)}"
        said = "The autoencoder is to blame rather than the prior: even reconstructions"
    else:
        advice = f"first {_longer(config, 'autoencoder', 'prior')}"
        said = "Autoencoder and prior are to blame alike: reconstructions"
    return [f"{said} from as many codes stand at {point.reconstructed:.3g}{training}; {advice}."]


def _weakest(evaluation: Evaluation) -> str:
    """A warning that some budgets show nothing, or that samples ignore their labels; empty if neither is so."""
    mean = evaluation.mean_sample.get(LOSS)
    worse: list[Row] = []
    for row in evaluation.rows:
        if mean is None or row.reconstruction.get(LOSS, 0.0) <= mean:
            break
        worse.append(row)
    if worse and mean is not None:
        codes = f"{worse[-1].codes} of {evaluation.code_length} codes"
        losses = f"loss {worse[-1].reconstruction[LOSS]:.3g} against {mean:.3g}"
        return (
            f"With {'up to ' if len(worse) > 1 else ''}{codes} reconstructions are worse than the mean of the training "
            f"samples ({losses}), so that they show nothing of a sample."
        )
    last, chance = evaluation.rows[-1].samples, evaluation.chance.get("samples", 0.0)
    recognised = last.label_accuracy if last is not None else None
    if recognised is not None and recognised <= _NO_BETTER_THAN_CHANCE * chance:
        return f"Samples do not follow their labels: {recognised:.1%} are recognised, by chance {chance:.1%}."
    return ""


def _prior_advice(evaluation: Evaluation, row: Row, config: Mapping[str, Any], keep: int | None) -> str:
    """What to change in the prior, or in sampling; `keep` is how many codes it should learn, if not all."""
    prior = _section(config, "prior")
    longer = _longer(config, "prior")
    if keep is not None:
        dropout = f"raise prior.dropout (now {prior.get('dropout', 0):g})"
        small = evaluation.judge is not None and evaluation.judge.samples < _SMALL_DATA
        return f"first {dropout if small else longer}, or let it learn only the best codes (prior.code_length={keep})"
    samples, reconstructed = row.samples, row.reconstructed
    if evaluation.guidance > 1 and _falls_short(samples, reconstructed, "coverage", 0.2):
        return f"first sample with less --guidance (now {evaluation.guidance:g}), or {longer}"
    if _falls_short(samples, reconstructed, "label_accuracy", _UNLIKE_LABELS) and evaluation.guidance == 1:
        if prior.get("label_dropout"):
            return f"first sample with --guidance 1.5, or {longer}"
        return f"first {longer}, or train it with prior.label_dropout=0.1 and sample with --guidance 1.5"
    size = next((name for name in _SIZES if name in prior), None)
    return f"first {longer}" + (f", or make it larger (prior.{size}, now {prior[size]})" if size is not None else "")


def _autoencoder_advice(config: Mapping[str, Any]) -> str:
    autoencoder, network = _section(config, "autoencoder"), _section(config, "network")
    more = "give it more codes"
    learned = _section(config, "prior").get("code_length")
    if learned is not None:
        more = f"let the prior learn more of its codes (prior.code_length, now {learned})"
    elif autoencoder.get("code_length") is not None:
        more += f" (autoencoder.code_length, now {autoencoder['code_length']})"
    elif autoencoder.get("axis") == "channel" and "channels" in network:
        more += f" (network.channels, now {network['channels']})"
    if autoencoder.get("kind", "ordered") != "ordered":
        return more
    return f"{_longer(config, 'autoencoder')}, or {more}"


def _longer(config: Mapping[str, Any], *stages: str) -> str:
    """Advice to double the steps of some stages."""
    training = _section(config, "training")
    named = []
    for stage in stages:
        steps = _section(training, stage).get("steps")
        named.append(f"training.{stage}.steps={2 * steps}, now {steps}" if steps else f"training.{stage}.steps")
    return f"train {'both' if len(stages) > 1 else f'the {stages[0]}'} longer ({'; '.join(named)})"


# What it goes by


def _ignored_input(evaluation: Evaluation) -> str | None:
    """Evidence that all codes together say nothing of a sample; None if there is none."""
    others = evaluation.shuffled.get(LOSS, {})
    own = evaluation.gains.get(evaluation.code_length)
    if own is None:
        return None
    return ignored_input(own, evaluation.mean_sample.get(LOSS), others.get(evaluation.code_length))


def _point(row: Row, extractor: str | None) -> _Point | None:
    """The distances of a row; None if there are none, or they are not finite."""
    if extractor is None or extractor not in row.reconstructed.frechet:
        return None
    samples = row.samples.frechet.get(extractor) if row.samples is not None else None
    point = _Point(row, samples, row.reconstructed.frechet[extractor])
    return point if math.isfinite(point.judged) and math.isfinite(point.reconstructed) else None


def _best_point(points: Sequence[_Point]) -> _Point:
    return min(points, key=lambda point: point.judged)


def _rises(points: Sequence[_Point]) -> bool:
    """Whether the last codes make samples worse."""
    return points[-1].judged > _WORSE * _best_point(points).judged


def _floor(evaluation: Evaluation) -> float | None:
    return None if evaluation.floor is None else next(iter(evaluation.floor.frechet.values()), None)


def _falls_short(samples: Quality | None, reconstructed: Quality, share: str, by: float) -> bool:
    """Whether `share` is lower for new samples than for reconstructions, by more than `by`."""
    own, other = getattr(samples, share, None), getattr(reconstructed, share)
    return own is not None and other is not None and own < other - by


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


# Words


def _amount(point: _Point, evaluation: Evaluation) -> str:
    if point.row.codes == evaluation.code_length:
        return f"all {evaluation.code_length} codes"
    return f"{point.row.codes} of {evaluation.code_length} codes"


def _hedge(evaluation: Evaluation, extractor: str) -> str:
    """The beginning of the first sentence if the numbers say little."""
    weak = _is_weak(evaluation) and extractor == CLASSIFIER
    reasons = ["a weak judge"] * weak + ["few samples"] * of_few(evaluation)
    return f"as far as {' and '.join(reasons)} can tell, " if reasons else ""


def _is_weak(evaluation: Evaluation) -> bool:
    return evaluation.judge is not None and bool(evaluation.judge.weakness)


def of_few(evaluation: Evaluation) -> bool:
    """Whether there were so few samples that distances say little."""
    return len(evaluation.cautions) > _is_weak(evaluation)  # all other cautions are about few samples


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
