"""How each code of a batch is chosen, given what the prior says of it.

n is the number of codes to draw, P the number of parameters of one code.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from anytime_core.priors.heads import Head
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import Position
from anytime_core.sampling.noise import Noise, StaticNoise


class Choice(Protocol):
    """Chooses the codes of a batch in captured work, on static tensors."""

    @property
    def key(self) -> Hashable:
        """Choices of the same key differ in what is in their tensors, and in nothing else."""
        ...

    @property
    def tensors(self) -> Sequence[Tensor]:
        """All that belongs to the batch. Calls may change what is in them."""
        ...

    def __call__(self, position: Tensor, parameters: Tensor) -> Tensor:
        """The codes [B] at `position`, int64 [1] on the device, from parameters [B, P]."""
        ...


@dataclass(frozen=True)
class Drawing:
    """Draws each code from the prior's distribution; a `Choice` if its noise is static.

    Attributes:
        head: the prior's head.
        noise: the noise of the batch.
        shaping: changes of the distribution.
    """

    head: Head
    noise: Noise
    shaping: Shaping

    @property
    def key(self) -> Hashable:
        """See `Choice`."""
        return self.shaping, self._static.key

    @property
    def tensors(self) -> Sequence[Tensor]:
        """See `Choice`."""
        return self._static.tensors

    @property
    def _static(self) -> StaticNoise:
        assert isinstance(self.noise, StaticNoise)
        return self.noise

    def __call__(self, position: Position, parameters: Tensor) -> Tensor:
        """The codes [B] at `position`, from parameters [B, P]."""
        return self.head.draw(parameters, self.noise.at(position), self.shaping)
