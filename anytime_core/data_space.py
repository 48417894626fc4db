"""Codes that are the values of a sample themselves, so that what a prior needs for them is what the data need.

Likelihoods then compare with those of other models of the same data: nats a sample where values are binary, else bits a
dimension (Theis et al., "A note on the evaluation of generative models", ICLR 2016).

V is the number of values of a sample, P how many codes make one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec

NATS, BITS = "nats per sample", "bits per dimension"
"""The units, as columns and messages name them."""


@dataclass(frozen=True)
class DataSpace:
    """How codes make the values of a sample.

    Attributes:
        values: V.
        levels: the number of values that each may be.
        planes: P: 1, or more if codes are digits of values, such as bits.
    """

    values: int
    levels: int
    planes: int = 1

    @property
    def unit(self) -> str:
        """`NATS` if values are binary, else `BITS`."""
        return NATS if self.levels == 2 else BITS

    @property
    def field(self) -> str:
        """The name of the field that results have in `unit`."""
        return self.unit.replace(" ", "_")

    def of_bits(self, bits: float) -> float:
        """In `unit`, what needs so many bits for a sample; bits of only some codes count for the whole sample too."""
        return bits * math.log(2) if self.levels == 2 else bits / self.values


def data_space(kind: str, sample_shape: Sequence[int], spec: CodeSpec) -> DataSpace | None:
    """How the codes of a run make the values of its samples; None if they are those of an encoder.

    Args:
        kind: of the autoencoder.
        sample_shape: of the modality.
        spec: all codes of the autoencoder.
    """
    values = math.prod(sample_shape)
    if kind != "identity" or spec.size is None or spec.length % values:
        return None
    planes = spec.length // values
    return DataSpace(values, spec.size**planes, planes)
