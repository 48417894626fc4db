"""Priors of any codes given any others, which draw any number of codes by one call of the network.

A token says what is known of a code: nothing, its first digits, or all of it, see
`anytime_core.priors.any_order.digits`.

n is a prefix length, S the number of stages (digits of a code), R the number of values of a digit, r the number of
rows: positions that go through the network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anytime_core.priors.any_order.digits import Digits
from anytime_core.priors.base import Prior

if TYPE_CHECKING:
    from anytime_core.priors.any_order.calls import CallEngineMaker

_BOUND_BY_STARTS = 1e11
"""About how many multiply-adds a large GPU does in the time in which a hundred kernels are started, those of a call."""
_CAPTURED_FROM = 3
"""Batches from which capturing a call, which takes as long as two calls, is worth it."""


@dataclass(frozen=True)
class BoundTerms:
    """One random step of the likelihood bound of each sequence.

    Attributes:
        nats: [B, N], the cross-entropy of the digits that are unknown at that step, 0 elsewhere.
        unknown: [B, N] bool, true where a digit is unknown.
        stage: [B], the stage of the digits, from 0.
        known: [B], how many of the n digits are known.
        lengths: [B], n; positions after it are left out.
    """

    nats: Tensor
    unknown: Tensor
    stage: Tensor
    known: Tensor
    lengths: Tensor

    @property
    def means(self) -> Tensor:
        """The mean over the unknown digits, [B]: L_t of the paper."""
        return self.nats.sum(1) / self.unknown.sum(1)


class AnyOrderPrior(Prior):
    """A prior of any codes given any others.

    No position sees another one of which nothing is known. So positions that are not wanted can be left out, and the
    distribution of the others stays the same.

    Attributes:
        digits: the digits of its codes; each digit is a stage.
        token_of: [S + 1, K], the token that says the first 0, 1, ..., S digits of each code.
    """

    exact: ClassVar[bool] = False
    digits: Digits
    token_of: Tensor

    @abstractmethod
    def bound_terms(
        self,
        codes: Tensor,
        labels: Tensor | None,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
        starts: Tensor | None = None,
    ) -> BoundTerms:
        """One step of the bound for each sequence [B, N]: stage, order and step are drawn uniformly.

        Args:
            codes: [B, N].
            labels: [B].
            lengths: [B], the prefixes that the order runs over; None: all N codes.
            generator: the generator, on the CPU.
            starts: [S, n], how many codes are known at step t by a plan; None: t, one after another.
        """

    @abstractmethod
    def logits(self, tokens: Tensor, stage: int, labels: Tensor | None) -> Tensor:
        """Logits [B, N, R] of the digit `stage` at all positions; they have a meaning where that digit is unknown.

        Args:
            tokens: [B, N], what is known of each code; 0: nothing.
            stage: the stage, from 0.
            labels: [B].
        """

    @abstractmethod
    def logits_at(
        self, tokens: Tensor, positions: Tensor, seen: int, asked: slice, stage: int, labels: Tensor | None
    ) -> Tensor:
        """The same logits if only some rows go through the network: [B, number of rows asked, R].

        Args:
            tokens: [B, r], what is known of these rows.
            positions: [B, r], the positions of these rows.
            seen: of how many leading rows something is known.
            asked: the rows whose logits are wanted.
            stage: the stage, from 0.
            labels: [B].
        """

    @abstractmethod
    def losses(self, length: int | None = None) -> Tensor:
        """Nats of one more digit if 0, 1, ..., n - 1 of the first n = `length` codes (None: all) have it, [S, n]."""

    @classmethod
    def engines(cls) -> Mapping[str, CallEngineMaker]:
        """The ways to make its network calls, by name."""
        from anytime_core.priors.any_order.calls import CALL_ENGINES

        return CALL_ENGINES

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float) -> str:
        """See `Prior`. Graphs pay for several batches of calls that are so small that starting kernels bounds them."""
        if self.device.type != "cuda":
            return "eager"
        work = self.multiply_adds * batch * self.code_length
        return "graph" if work <= _BOUND_BY_STARTS and multiply_adds >= _CAPTURED_FROM * work else "eager"
