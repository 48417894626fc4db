"""What every decoder does. Letters: B batch, K codebook size."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Decoder(Protocol):
    """One batch of code sequences that is being drawn, first code to last.

    A decoder belongs to the batch that it was opened for; its weights are shared between batches.
    """

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`, which counts up from 0.

        Args:
            position: how many codes have been drawn.
            previous: the code at `position - 1` of each sequence, [B]; None at position 0.

        Returns:
            Possibly a buffer, which the next step overwrites.
        """
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with the sequences `rows` [R] of the batch only, which are in ascending order."""
        ...
