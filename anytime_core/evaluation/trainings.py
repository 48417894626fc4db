"""What is known of how compared runs were trained: which of it is the same, and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anytime_core.config_differences import flattened
from anytime_core.display import listed
from anytime_core.priors.section import PriorSection
from anytime_core.record import RunRecord, Stage

_OF_PRIORS = ("seed", "prior.", "training.prior.", "training.precision")
"""Keys, or how they start, that matter to runs with the same autoencoder and codes."""
_TOLD_APART = ("training.autoencoder.steps", "training.prior.steps")
_OF_MACHINES = (
    "data.root",
    "data.cache",
    "data.download",
    "training.device",
    "training.workers",
    "training.deterministic",
    "training.capture",
    "training.checkpoint_minutes",
)


def trainings_beside(own: RunRecord, others: Sequence[tuple[str, RunRecord, bool]]) -> Iterator[str]:
    """A sentence for all runs of which the same is to be said.

    Args:
        own: the run that the others are compared with.
        others: name, record, and whether the autoencoder is the same.
    """
    by_words: dict[str, list[str]] = {}
    for name, other, shared in others:
        by_words.setdefault(_in_words(own, other, shared=shared), []).append(name)
    for words, names in by_words.items():
        yield f"Training of {listed(names)} beside this run's: {words}."


def _in_words(own: RunRecord, other: RunRecord, *, shared: bool) -> str:
    parts = ["the same autoencoder"] if shared else [_steps("autoencoder", own, other)]
    both_priors = "prior" in own.stages and "prior" in other.stages
    if both_priors:
        parts.append(_steps("prior", own, other))
    differing = _differing(own, other, shared=shared, both_priors=both_priors)
    parts.append(f"other values of {listed(differing)}" if differing else "all else alike")
    return "; ".join(parts)


def _steps(stage: Stage, own: RunRecord, other: RunRecord) -> str:
    ours, theirs = own.stages[stage].steps, other.stages[stage].steps
    if ours == theirs:
        return f"as many steps of the {stage} ({ours:,})"
    return f"{theirs:,} steps of the {stage}, here {ours:,}"


def _differing(own: RunRecord, other: RunRecord, *, shared: bool, both_priors: bool) -> list[str]:
    """Dotted keys of other values, of those that both runs have and that may change what is learned.

    Of two kinds of priors only what all kinds have is compared: the sizes of their networks mean other things.
    """
    ours, theirs = flattened(own.config), flattened(other.config)
    kinds_differ = ours.get("prior.kind") != theirs.get("prior.kind")
    of_all_kinds = {f"prior.{field}" for field in ("kind", *PriorSection.model_fields)}

    def counts(key: str) -> bool:
        if key in _TOLD_APART or key in _OF_MACHINES or (shared and not key.startswith(_OF_PRIORS)):
            return False
        if key.startswith(("prior.", "training.prior.")) and not both_priors:
            return False
        return not (kinds_differ and key.startswith("prior.") and key not in of_all_kinds)

    return [key for key, value in ours.items() if key in theirs and theirs[key] != value and counts(key)]
