"""What is checked, and what some quantizers can do and others need not.

Letters: B batch, P positions, N code length, D code dimension, K codebook size.
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

BATCH, POSITIONS, DIM = 8, 5, 4
CLOSE = 1e-5


@dataclass
class Subject:
    """What is checked.

    Attributes:
        quantizer: the class.
        section: what a config may say of it.
        config: of the section.
    """

    quantizer: Any
    section: type[QuantizerSection]
    config: Mapping[str, Any]

    def make(self, positions: int = POSITIONS, dim: int = DIM) -> Quantizer:
        """A new one, of P = `positions` and D = `dim`."""
        values = self.section.model_validate(self.config).model_dump(exclude={"kind"})
        made: Quantizer = self.quantizer(positions, dim, **values)
        return made

    @property
    def continuous(self) -> bool:
        """Whether codes are continuous."""
        return self.make().size is None

    @property
    def independent(self) -> bool:
        """Whether the vector of a code follows from that code alone."""
        quantizer = self.make().eval()
        codes = random_codes(quantizer)
        others = codes.clone()
        others[:, :-1] = random_codes(quantizer)[:, :-1]
        return torch.equal(quantizer.lookup(codes)[:, -1], quantizer.lookup(others)[:, -1])


def vectors(positions: int = POSITIONS, dim: int = DIM) -> Tensor:
    """Vectors to quantise, [B, P, D]."""
    return torch.randn(BATCH, positions, dim)


def random_codes(quantizer: Quantizer) -> Tensor:
    """Any codes, [B, N]."""
    assert quantizer.size is not None  # as the check's needs have it
    return torch.randint(quantizer.size, (BATCH, length_of(quantizer)))


def length_of(quantizer: Quantizer, positions: int = POSITIONS) -> int:
    """N."""
    return quantizer.stages * positions


def quantised(quantizer: Quantizer, z: Tensor) -> Quantized:
    """`z` [B, P, D] quantised, with all codes kept."""
    return quantizer(z, torch.ones(len(z), length_of(quantizer, z.shape[1]), dtype=torch.bool))


def indices(quantizer: Quantizer, z: Tensor) -> Tensor:
    """Codes [B, N] of the forward pass. Raises AssertionError if there are none."""
    codes = quantised(quantizer, z).codes
    assert codes is not None, "the forward pass gives no codes, and size says that there are some"
    return codes


def trained(subject: Subject) -> Quantizer:
    """One that has seen two training batches."""
    quantizer = subject.make()
    for _ in range(2):
        quantised(quantizer, vectors())
    return quantizer


check: Checks[Subject] = Checks(
    {
        "discrete": Capability(lambda subject: not subject.continuous, "its codes are continuous"),
        "continuous": Capability(lambda subject: subject.continuous, "its codes are discrete"),
        "independent": Capability(
            lambda subject: subject.independent, "the vector of a code depends on the codes before it"
        ),
    }
)
"""Declares a check of quantizers."""
