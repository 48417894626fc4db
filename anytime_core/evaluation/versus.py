"""A run compared with another one by the same judge, in a sentence."""

from __future__ import annotations

import math

from anytime_core.evaluation.result import Evaluation
from anytime_core.evaluation.verdict import of_few

_ALIKE = 1.05
"""Distances whose ratio is smaller count as equal."""


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
    said = f"{hedge} {name}, whose steps and config may be others, {what} are"
    if len(nearer) == len(common) or len(farther) == len(common):
        return f"{said} {'nearer to' if nearer else 'farther from'} the data at every budget: {example} ({extractor})."
    if not nearer and not farther:
        return f"{said} as near to the data at every budget: {example} ({extractor})."
    parts = [
        f"{word} with {', '.join(map(str, some))}" for word, some in (("nearer", nearer), ("farther", farther)) if some
    ]
    return f"{said} {' and '.join(parts)} of {own.code_length} codes, else as near: {example} ({extractor})."


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
