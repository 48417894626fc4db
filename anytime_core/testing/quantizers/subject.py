"""What is checked, and what some quantizers can do and others need not.

Letters: P positions, each of which has one code, or more than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anytime_core.quantizers.base import Quantized, Quantizer
from anytime_core.quantizers.config import QuantizerSection
from anytime_core.testing.checks import Capability, Checks

BATCH, LENGTH, DIM = 8, 5, 4
CLOSE = 1e-5


@dataclass
class Subject:
    """The quantizer that is checked.

    Attributes:
        quantizer: the class.
        section: the class of its config section.
        config: values of the section.
    """

    quantizer: Any
    section: type[QuantizerSection]
    config: Mapping[str, Any]

    def make(self, length: int = LENGTH, dim: int = DIM) -> Quantizer:
        """A new one, for `length` positions and D = `dim`."""
        values = self.section.model_validate(self.config).model_dump(exclude={"kind"})
        made: Quantizer = self.quantizer(length, dim, **values)
        return made

    @property
    def continuous(self) -> bool:
        """Whether codes are continuous."""
        return self.make().size is None

    @property
    def independent(self) -> bool:
        """Whether the vector of a position depends on its own code alone."""
        quantizer = self.make().eval()
        codes = random_codes(quantizer)
        others = codes.clone()
        others[:, :-1] = random_codes(quantizer)[:, :-1]
        return torch.equal(quantizer.lookup(codes)[:, -1], quantizer.lookup(others)[:, -1])


def vectors(length: int = LENGTH, dim: int = DIM) -> Tensor:
    """Vectors to quantise, [B, P, D]."""
    return torch.randn(BATCH, length, dim)


def number_of_codes(quantizer: Quantizer, length: int = LENGTH) -> int:
    """N, for `length` positions."""
    return quantizer.stages * length


def random_codes(quantizer: Quantizer) -> Tensor:
    """Any codes, [B, N]."""
    assert quantizer.size is not None  # as the check's needs have it
    return torch.randint(quantizer.size, (BATCH, number_of_codes(quantizer)))


def quantised(quantizer: Quantizer, z: Tensor) -> Quantized:
    """`z` [B, P, D] quantised, with all codes kept."""
    return quantizer(z, torch.ones(len(z), number_of_codes(quantizer, z.shape[1]), dtype=torch.bool))


def seen(quantizer: Quantizer, vectors: Tensor) -> Tensor:
    """What the decoder sees of the vectors [B, N, D] of all codes, [B, P, D]."""
    return quantizer.assembled(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))[0]


def trained(subject: Subject) -> Quantizer:
    """A quantizer that has seen two training batches."""
    quantizer = subject.make()
    for _ in range(2):
        quantised(quantizer, vectors())
    return quantizer


check: Checks[Subject] = Checks(
    {
        "discrete": Capability(lambda subject: not subject.continuous, "its codes are continuous"),
        "continuous": Capability(lambda subject: subject.continuous, "its codes are discrete"),
        "independent": Capability(
            lambda subject: subject.independent, "the vector of a position depends on the codes before it"
        ),
    }
)
"""Declares a check of quantizers."""
