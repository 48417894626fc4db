"""Codes as numbers of several digits, the most significant first: what is known of a code is its first digits.

S is the number of digits, T the number of tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Digits:
    """The codes 0..K-1 as numbers of S digits, and tokens for everything that can be known of a code.

    Token 0 says that nothing is known. The next tokens say the first digit, then follow the tokens for the first two
    digits, and so on. The last K tokens say the whole code.

    Attributes:
        size: K.
        radices: the number of values of each digit, the most significant first; their product is at least K.
    """

    size: int
    radices: tuple[int, ...]

    def __post_init__(self) -> None:
        if math.prod(self.radices) < self.size:
            raise ValueError(f"digits of {self.radices} cannot number {self.size} codes")

    def __len__(self) -> int:
        return len(self.radices)

    @cached_property
    def beginnings(self) -> tuple[int, ...]:
        """How many different beginnings of 0, 1, ..., S digits the codes have; the last number is K."""
        return tuple(-(-self.size // math.prod(self.radices[known:])) for known in range(len(self) + 1))

    @cached_property
    def first_tokens(self) -> tuple[int, ...]:
        """The first token for beginnings of 0, 1, ..., S digits."""
        return tuple(sum(self.beginnings[:known]) for known in range(len(self) + 1))

    @property
    def tokens(self) -> int:
        """T."""
        return sum(self.beginnings)

    def token_table(self) -> Tensor:
        """The token that says the first 0, 1, ..., S digits of each code, [S + 1, K]."""
        codes = torch.arange(self.size)
        rows = [first + codes // math.prod(self.radices[known:]) for known, first in enumerate(self.first_tokens)]
        return torch.stack(rows)

    def digit_table(self) -> Tensor:
        """Each digit of each code, [S, K]."""
        codes = torch.arange(self.size)
        rows = [codes // math.prod(self.radices[stage + 1 :]) % radix for stage, radix in enumerate(self.radices)]
        return torch.stack(rows)

    def next_tokens(self, tokens: Tensor, stage: int) -> Tensor:
        """The token that says one more digit, if its value is 0; for other values, add the value.

        Args:
            tokens: tokens that say `stage` digits each.
            stage: the number of the digit, from 0.
        """
        return (tokens - self.first_tokens[stage]) * self.radices[stage] + self.first_tokens[stage + 1]

    def impossible(self, tokens: Tensor, stage: int) -> Tensor | None:
        """[*tokens.shape, R] bool, true for values of the next digit that no code has; None if all occur.

        R is the number of values of the digit.
        """
        if self.beginnings[stage] * self.radices[stage] == self.beginnings[stage + 1]:
            return None
        values = torch.arange(self.radices[stage], device=tokens.device)
        return self.next_tokens(tokens, stage).unsqueeze(-1) + values >= sum(self.beginnings[: stage + 2])


def in_base(size: int, base: int) -> Digits:
    """The numbers 0..`size`-1 in base `base`, with as many digits as the largest number needs."""
    digits = 1
    while base**digits < size:
        digits += 1
    return Digits(size, (base,) * digits)
