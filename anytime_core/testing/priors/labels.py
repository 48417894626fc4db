"""Checks of what labels do."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anytime_core.priors.base import Prior
from anytime_core.testing.priors.subject import CLASSES, Subject, check, counting, some_labels


@check("discrete", "conditional")
def labels_are_heeded(subject: Subject, folder: Path) -> None:
    """Codes are more likely with the label that they were learned with than with another."""
    prior, labels, codes = _told(subject)
    right, wrong = _nats(prior, codes, labels), _nats(prior, codes, (labels + 1) % CLASSES)
    assert right < wrong, f"codes cost {right:.4g} nats with their label, {wrong:.4g} with another"


@check("discrete", "guided")
def null_label_stands_for_any(subject: Subject, folder: Path) -> None:
    """The null label is not the label of a class, and codes are more likely with it than with a wrong label."""
    assert subject.make().null_label is None, "it has a null label without classes"
    prior, labels, codes = _told(subject)
    null = prior.null_label
    assert null is not None, "it has no null label"
    assert null not in range(CLASSES), f"its null label {null} is the label of a class"
    unknown, wrong = _nats(prior, codes, labels * 0 + null), _nats(prior, codes, (labels + 1) % CLASSES)
    assert unknown < wrong, f"codes cost {unknown:.4g} nats with the null label, {wrong:.4g} with a wrong one"


def _told(subject: Subject) -> tuple[Prior, Tensor, Tensor]:
    """A trained prior of one code, which nothing but the label tells it of, labels [B], and codes of theirs."""
    prior = subject.trained(subject.spec.narrowed(1, CLASSES))
    labels = some_labels(prior.spec, 96)
    assert labels is not None
    return prior, labels, counting(prior.spec, labels, len(labels))


@torch.no_grad()
def _nats(prior: Prior, codes: Tensor, labels: Tensor) -> float:
    """The mean nats per code; an estimate uses the same random numbers each time."""
    return -prior.log_prob(codes, labels, torch.Generator().manual_seed(1)).mean().item()
