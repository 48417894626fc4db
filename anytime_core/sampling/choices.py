"""How each code of a batch is chosen, given what the prior says of it.

n is the number of codes to draw, P the number of parameters of one code.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from anytime_core.priors.heads import Categorical, Head
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
        if isinstance(self.head, Categorical) and type(self.head).draw is Categorical.draw:
            return self.head.draw_by(parameters, partial(self.noise.largest_sum, position), self.shaping)
        return self.head.draw(parameters, self.noise.at(position), self.shaping)


@dataclass(frozen=True)
class Completing:
    """Takes the codes that are known, and draws the others; a `Choice` if `drawing` is one.

    Attributes:
        drawing: draws a code.
        given: [N, B] int64, the codes; those that are not known do not matter.
        known: [B] int64, how many of the first codes of each row are known.
    """

    drawing: Drawing
    given: Tensor
    known: Tensor

    @property
    def noise(self) -> Noise:
        """The noise of the batch."""
        return self.drawing.noise

    @property
    def key(self) -> Hashable:
        """See `Choice`."""
        return "completing", self.given.shape, self.drawing.key

    @property
    def tensors(self) -> Sequence[Tensor]:
        """See `Choice`."""
        return *self.drawing.tensors, self.given, self.known

    def __call__(self, position: Position, parameters: Tensor) -> Tensor:
        """The codes [B] at `position`, from parameters [B, P]."""
        given = self.given[position].view(-1)
        return torch.where(self.known > position, given, self.drawing(position, parameters))
