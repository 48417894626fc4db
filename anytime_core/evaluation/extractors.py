"""The feature extractors by which an evaluation compares sets of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anytime_core.data.locations import user_path
from anytime_core.errors import UsageError, nearest
from anytime_core.modality import Extractor, HasExtractors, Modality, OfferedExtractor, WeightsSource

CLASSIFIER = "classifier"
"""Core's own extractor, for data with labels."""


@dataclass(frozen=True)
class ExtractorRequest:
    """An extractor as a user asks for it.

    Attributes:
        name: `classifier`, or one that the modality offers.
        weights: a file of weights; None for its own.
    """

    name: str
    weights: Path | None = None

    @classmethod
    def parse(cls, text: str) -> ExtractorRequest:
        """Read `NAME` or `NAME=FILE`. Raises UsageError for anything else."""
        name, equals, file = text.partition("=")
        if not name or (equals and not file):
            raise UsageError(f"extractor '{text}' is not understood: use a name, or name=FILE for weights of your own")
        return cls(name, user_path(file) if file else None)


def requested(modality: Modality, requests: Sequence[ExtractorRequest], *, labelled: bool) -> list[ExtractorRequest]:
    """The extractors that are asked for, or by default all that need nothing else: the classifier, then the modality's.

    Raises:
        UsageError: there is no such extractor, the classifier has no labels, or weights would not be used.
    """
    offered = _offered(modality)
    if not requests:
        names = [*([CLASSIFIER] if labelled else []), *(name for name, one in offered.items() if one.default)]
        return [ExtractorRequest(name) for name in names]
    known = [CLASSIFIER, *offered]
    for request in requests:
        if request.name not in known:
            raise UsageError(
                f"no extractor '{request.name}'{nearest(request.name, known)}: modality '{modality.name}' has "
                f"{', '.join(known)}"
            )
        if request.name == CLASSIFIER and not labelled:
            raise UsageError(f"extractor '{CLASSIFIER}' needs data with labels: use {', '.join(offered) or 'none'}")
        takes_weights = request.name in offered and offered[request.name].takes_weights
        if request.weights is not None and not takes_weights:
            raise UsageError(f"extractor '{request.name}' takes no weights from a file: leave out ={request.weights}")
    return list(dict.fromkeys(requests))


def load_extractor(modality: Modality, request: ExtractorRequest, *, download: bool) -> Extractor:
    """One of the modality's extractors. Raises UsageError if a package or weights are missing."""
    return _offered(modality)[request.name].load(WeightsSource(request.weights, download))


def _offered(modality: Modality) -> Mapping[str, OfferedExtractor]:
    return modality.extractors() if isinstance(modality, HasExtractors) else {}
