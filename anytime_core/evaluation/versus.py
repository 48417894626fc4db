"""A run compared with others by the same judge, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from anytime_core.display import listed
from anytime_core.evaluation.result import BitsBeside, Evaluation
from anytime_core.evaluation.values import number
from anytime_core.evaluation.verdict import of_few

_ALIKE = 1.05
"""Distances whose ratio is smaller count as equal."""
_CERTAIN = 2.0
"""Differences of fewer standard errors count as none."""


def versus(own: Evaluation, other: Evaluation, name: str) -> str:
    """At which budgets a run is nearer to validation data than another; empty if the two cannot be compared.

    Fréchet distances of the first extractor are compared; of reconstructions if one of the two has no prior.

    Args:
        own: the evaluation that the sentence is about.
        other: the other one, at some of the same numbers of codes.
        name: of the other run.
    """
    extractor = next(iter(own.extractors), None)
    of_samples = all(row.samples is not None for row in (*own.rows, *other.rows))
    ours, theirs = (_distances(one, extractor, of_samples=of_samples) for one in (own, other))
    common = [codes for codes in ours if codes in theirs]
    if not common:
        return ""
    nearer = [codes for codes in common if _ALIKE * ours[codes] < theirs[codes]]
    farther = [codes for codes in common if ours[codes] > _ALIKE * theirs[codes]]
    most = max((nearer or farther or common), key=lambda codes: abs(math.log(_ratio(ours[codes], theirs[codes]))))
    example = f"with {most} codes {ours[most]:.3g} against {theirs[most]:.3g}"
    what = "samples" if of_samples else "reconstructions"
    hedge = "As far as few samples can tell, beside" if of_few(own) or of_few(other) else "Beside"
    said = f"{hedge} {name}, {what} are"
    if len(nearer) == len(common) or len(farther) == len(common):
        return f"{said} {'nearer to' if nearer else 'farther from'} the data at every budget: {example} ({extractor})."
    if not nearer and not farther:
        return f"{said} as near to the data at every budget: {example} ({extractor})."
    parts = [
        f"{word} with {', '.join(map(str, some))}" for word, some in (("nearer", nearer), ("farther", farther)) if some
    ]
    return f"{said} {' and '.join(parts)} of {own.code_length} codes, else as near: {example} ({extractor})."


def same_codes(one: Evaluation, other: Evaluation) -> bool:
    """Whether two runs share their autoencoder, so that their priors model the same codes.

    Autoencoders of values are all alike, so there the data have to be the same, too.
    """
    ours, theirs = one.data_space, other.data_space
    alike = ours is None or theirs is None or ours.floors.data == theirs.floors.data
    return one.autoencoder is not None and one.autoencoder == other.autoencoder and alike


def same_values(one: Evaluation, other: Evaluation) -> bool:
    """Whether the codes of two runs are values of the same data, whatever their order is."""
    ours, theirs = one.data_space, other.data_space
    if ours is None or theirs is None:
        return False
    return (ours.values, ours.levels, ours.floors.data) == (theirs.values, theirs.levels, theirs.floors.data)


def bits_beside(own: Evaluation, others: Sequence[tuple[str, Evaluation]]) -> Iterator[str]:
    """How many bits a run's prior needs beside the others', a sentence for each prior of the same codes.

    Args:
        own: the evaluation that the sentences are about.
        others: the other ones by their names; of several for one run, the first counts.
    """
    with_bits = [(name, other) for name, other in others if own.bits_per_position and other.bits_per_position]
    each_once = list({other.run: (name, other) for name, other in reversed(with_bits)}.values())[::-1]
    of_values = [(name, other) for name, other in each_once if same_values(own, other) and not same_codes(own, other)]
    yield from (_values_in_words(own, other, name) for name, other in of_values)
    each_once = [pair for pair in each_once if pair not in of_values]
    for name, other in each_once:
        if other.run in own.bits_beside:
            yield _bits_in_words(own.bits_beside[other.run], own, other, name)
        elif same_codes(own, other):
            fewest = min(len(own.bits_per_position), len(other.bits_per_position))
            yield (
                f"Bits per code do not compare with those of {name}, as the first {fewest} codes, which both priors "
                f"model, were not evaluated: add {fewest}codes to the budgets."
            )
    values = [(name, other) for name, other in each_once if own.data_space and other.data_space]
    if others_data := [name for name, other in values if not same_values(own, other)]:
        yield f"What priors need does not compare with {listed(others_data)}, whose validation data has other values."
    each_once = [pair for pair in each_once if pair not in values]
    if foreign := [name for name, other in each_once if not same_codes(own, other)]:
        yield f"Bits per code do not compare with those of {listed(foreign)}, whose autoencoder writes other codes."


def _bits_in_words(beside: BitsBeside, own: Evaluation, other: Evaluation, name: str) -> str:
    bounds = ((beside.bits, beside.bound), (beside.other_bits, beside.other_bound))
    ours, theirs = (f"{'at most ' if bound else ''}{bits:.3f}" for bits, bound in bounds)
    shorter = len(own.bits_per_position) != len(other.bits_per_position)
    which = f" for the first {beside.codes} codes, which both priors model," if shorter else ""
    said = f"The prior needs {ours} bits per code{which} against {theirs} of {name}, whose codes are the same"
    apart, error = abs(beside.bits - beside.other_bits), beside.standard_error
    if error is None:
        return f"{said}: a difference of {apart:.3f}, whose standard error is not known."
    difference = f"{apart:.3f}, with a standard error of {'' if beside.paired else 'at most '}{error:.3f}"
    if apart < _CERTAIN * error:
        return f"{said}: too near to tell them apart (a difference of {difference})."
    as_bounded = "by these bounds, " if beside.bound or beside.other_bound else ""
    return f"{said}: {as_bounded}{'fewer' if beside.bits < beside.other_bits else 'more'} by {difference}."


def _values_in_words(own: Evaluation, other: Evaluation, name: str) -> str:
    """What two priors need for the same values, whose codes differ, such as in their order."""
    ours, theirs = own.data_space, other.data_space
    assert ours is not None
    assert theirs is not None
    if ours.needed is None or theirs.needed is None:
        return ""
    needed = [
        f"{'at most ' if one.bounded else ''}{number(one_needed, ours.unit)}"
        for one, one_needed in ((own, ours.needed), (other, theirs.needed))
    ]
    said = f"The prior needs {needed[0]} {ours.unit} against {needed[1]} of {name}, which models the same values"
    apart = abs(ours.needed - theirs.needed)
    if ours.standard_error is None or theirs.standard_error is None:
        return f"{said}: a difference of {number(apart, ours.unit)}, whose standard error is not known."
    error = math.hypot(ours.standard_error, theirs.standard_error)
    difference = f"{number(apart, ours.unit)}, with a standard error of at most {number(error, ours.unit)}"
    if apart < _CERTAIN * error:
        return f"{said}: too near to tell them apart (a difference of {difference})."
    as_bounded = "by these bounds, " if own.bounded or other.bounded else ""
    return f"{said}: {as_bounded}{'fewer' if ours.needed < theirs.needed else 'more'} by {difference}."


def _distances(evaluation: Evaluation, extractor: str | None, *, of_samples: bool) -> dict[int, float]:
    """Number of codes -> Fréchet distance, if it is finite."""
    found: dict[int, float] = {}
    for row in evaluation.rows:
        quality = row.samples if of_samples else row.reconstructed
        distance = quality.frechet.get(extractor or "", math.nan) if quality is not None else math.nan
        if math.isfinite(distance):
            found[row.codes] = distance
    return found


def _ratio(one: float, other: float) -> float:
    return max(one, 1e-9) / max(other, 1e-9)
