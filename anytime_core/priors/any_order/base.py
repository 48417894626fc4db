"""Priors of any codes given any others, which draw any number of codes by one call of the network.

What is known of a code is a token: nothing, its first digits, or all of it, see `anytime_core.priors.any_order.digits`.

Letters: B batch, N code length, n a prefix length, S stages (digits of a code), R values of a digit, r rows: positions
that go through the network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anytime_core.priors.any_order.digits import Digits
from anytime_core.priors.base import Prior

if TYPE_CHECKING:
    from anytime_core.priors.any_order.calls import CallEngineMaker


@dataclass(frozen=True)
class BoundTerms:
    """One random step of the likelihood bound of each sequence.

    Attributes:
        nats: [B, N], cross-entropy of the digits that are unknown at that step, 0 elsewhere.
        unknown: [B, N], where they are.
        stage: [B], of the digits, from 0.
        known: [B], how many positions' digits are known, of n.
        lengths: [B], n: positions after it are left out.
    """

    nats: Tensor
    unknown: Tensor
    stage: Tensor
    known: Tensor
    lengths: Tensor

    @property
    def means(self) -> Tensor:
        """[B], mean over the unknown digits: L_t of the paper."""
        return self.nats.sum(1) / self.unknown.sum(1)


class AnyOrderPrior(Prior):
    """A prior of any codes given any others.

    Positions of which nothing is known ask about themselves and are seen by no other. So those that are not wanted are
    left out at no cost, and what remains is the same distribution.

    Attributes:
        digits: of its codes; each digit is a stage.
        token_of: [S + 1, K], the token that says the first digits of each code.
    """

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
            lengths: [B] prefixes that the order runs over; None: all N codes.
            generator: on the CPU.
            starts: [S, n] of a plan, how many codes are known when step t is drawn; None: t, one after another.
        """

    @abstractmethod
    def logits(self, tokens: Tensor, stage: int, labels: Tensor | None) -> Tensor:
        """Logits [B, N, R] of the digit `stage` at all positions, of which only those without it have a meaning.

        Args:
            tokens: [B, N], what is known of each code; 0 for nothing.
            stage: from 0.
            labels: [B].
        """

    @abstractmethod
    def logits_at(
        self, tokens: Tensor, positions: Tensor, seen: int, asked: slice, stage: int, labels: Tensor | None
    ) -> Tensor:
        """The same logits, when only some rows go through the network: [B, number asked, R].

        Args:
            tokens: [B, r], what is known of these rows.
            positions: [B, r], where they stand.
            seen: how many leading rows something is known of.
            asked: rows that logits are wanted of.
            stage: from 0.
            labels: [B].
        """

    @abstractmethod
    def losses(self, length: int | None = None) -> Tensor:
        """[S, n] nats of one more digit if 0, 1, ..., n - 1 of the first `length` codes (None: all) have it."""

    @classmethod
    def engines(cls) -> Mapping[str, CallEngineMaker]:
        """Ways to make its network calls, by name."""
        from anytime_core.priors.any_order.calls import CALL_ENGINES

        return CALL_ENGINES

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float, *, stepped: bool) -> str:
        """See `Prior`."""
        return "eager"
