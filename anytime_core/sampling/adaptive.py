"""Adaptive budgets: each sample ends by itself, when its next codes are not expected to be worth drawing.

Two things are known before a code is drawn. The run's validation says how much the reconstruction loss falls on average
with a code at that position. The entropy of the prior's next code says how uncertain this code is in this sample. A
code that the prior can predict tells the decoder little that the first codes have not told already. So the expected
gain of the next code is the average gain, times the sample's entropy, divided by the average entropy at that position.
If a code brings little by itself but is needed for better ones, it counts what they bring together.

n is the most codes that a sample can get.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anytime_core.errors import RunError
from anytime_core.priors.heads import Head
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import Position, Stepper
from anytime_core.record import RunRecord
from anytime_core.sampling.choices import Drawing
from anytime_core.sampling.noise import Noise

_SMOOTHING = 0.5
"""The weight of the latest code's entropy in the running mean of a sample."""
_COMPACTED_FROM = 0.25
"""If this share of the batch has ended, the rest goes on without it."""


@dataclass(frozen=True)
class Gains:
    """What validation says about each code.

    Attributes:
        gain: [N], the fall of the reconstruction loss per code from code i on, over the number of codes that makes it
            largest, in units of its mean fall over codes 2..N.
        entropy: [N], the mean nats of code i given the codes before it.
    """

    gain: Tensor
    entropy: Tensor


def measured_gains(record: RunRecord, code_length: int) -> Gains:
    """The gains of the first `code_length` codes, from the validation of the run's stages.

    Between the validated lengths, the loss is interpolated linearly.

    Raises:
        RunError: the run is too old to have these measurements.
    """
    autoencoder, prior = record.stages["autoencoder"].validation, record.stages["prior"].validation
    lengths, losses, bits = autoencoder.codes, autoencoder.reconstruction.get("loss"), prior.bits_per_position
    if not lengths or not losses or len(bits) < code_length:
        raise RunError(
            "an adaptive budget needs the validation of the run's stages, which this run lacks: train it again"
        )
    loss = np.interp(np.arange(1, code_length + 1), lengths, losses)
    codes = np.arange(1, code_length + 1)
    fall = np.full(code_length, np.inf)  # before the first validated length, where codes matter most
    for code in range(lengths[0], code_length):
        fall[code] = max(0, np.max((loss[code - 1] - loss[code:]) / codes[: code_length - code]))
    average = max((loss[0] - loss[-1]) / max(code_length - 1, 1), np.finfo(float).tiny)
    entropy = np.maximum(np.asarray(bits[:code_length]) * np.log(2), 1e-3)
    return Gains(torch.tensor(fall / average, dtype=torch.float32), torch.tensor(entropy, dtype=torch.float32))


class Ending:
    """Which rows of a batch have not ended.

    Args:
        gains: the gains of the run.
        threshold: the gain at which samples end, in gains of an average code.
        batch: B.
        device: of the codes.

    Attributes:
        going: [B] bool, the rows that have not ended.
        tensors: all that it knows.
    """

    def __init__(self, gains: Gains, threshold: float, batch: int, device: torch.device) -> None:
        self.gain, self.entropy = gains.gain.clone().to(device), gains.entropy.to(device)
        self.gain[0] = math.inf  # the first code is always drawn
        self.weight = torch.full_like(self.gain, _SMOOTHING)
        self.weight[0] = 0.0  # as it tells nothing of the sample yet
        self.threshold = torch.tensor(threshold, device=device)
        self.going = torch.ones(batch, dtype=torch.bool, device=device)
        self._openness = torch.ones(batch, device=device)  # running mean of the entropy over its average

    @property
    def tensors(self) -> Sequence[Tensor]:
        """See `Choice`."""
        return self.gain, self.entropy, self.threshold, self.going, self._openness

    def look(self, position: Position, entropy: Tensor) -> None:
        """End rows whose next code, with this entropy [B] in nats, is not worth drawing."""
        weight = self.weight[position]
        self._openness.mul_(1 - weight).add_(weight * (entropy / self.entropy[position]))
        self.going &= self.gain[position] * self._openness >= self.threshold

    def keep(self, rows: Tensor) -> None:
        """Go on with only the rows `rows`."""
        self.going, self._openness = self.going[rows], self._openness[rows]


@dataclass(frozen=True)
class EndingDrawing:
    """Draws the codes of rows that have not ended, and zeros; a `Choice` if `drawing` is one.

    Attributes:
        drawing: draws a code.
        ending: which rows have ended.
        lengths: [B] int64, the number of codes of each row.
    """

    drawing: Drawing
    ending: Ending
    lengths: Tensor

    @property
    def ended(self) -> bool:
        """Whether all rows have ended; this waits for the device."""
        return not self.ending.going.any().item()

    @property
    def key(self) -> Hashable:
        """See `Choice`."""
        return "adaptive", len(self.ending.gain), self.drawing.key

    @property
    def tensors(self) -> Sequence[Tensor]:
        """See `Choice`."""
        return *self.drawing.tensors, *self.ending.tensors, self.lengths

    def __call__(self, position: Position, parameters: Tensor) -> Tensor:
        """The codes [B] at `position`, from parameters [B, P]."""
        self.ending.look(position, self.drawing.head.entropy(parameters))
        self.lengths.add_(self.ending.going)
        return self.drawing(position, parameters) * self.ending.going


class AdaptiveDrawing:
    """Chooses the codes of a batch whose samples end one by one; see `Choose`. It leaves out rows that have ended.

    Args:
        stepper: the stepper of the batch, which goes on without the samples that have ended.
        head: the prior's head.
        noise: the noise of the batch.
        shaping: changes of the distribution.
        gains: the gains of the run.
        threshold: the gain at which samples end, in gains of an average code.

    Attributes:
        codes: [B, n], zero after a sample's end.
        lengths: [B], the number of codes of each sample.
        ended: whether all samples have ended.
    """

    def __init__(
        self, stepper: Stepper, head: Head, noise: Noise, shaping: Shaping, gains: Gains, threshold: float
    ) -> None:
        batch, length = noise.shape[:2]
        device = noise.device
        self.stepper, self.head, self.noise, self.shaping = stepper, head, noise, shaping
        self.codes = torch.zeros(batch, length, dtype=torch.int64, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.ended = False
        self._rows = torch.arange(batch, device=device)
        self._ending = Ending(gains, threshold, batch, device)

    def __call__(self, position: int, parameters: Tensor) -> Tensor:
        """The codes of the samples that have not ended."""
        self._ending.look(position, self.head.entropy(parameters))
        going = self._ending.going
        drawn = self.head.draw(parameters, self.noise.at(position)[self._rows], self.shaping)
        drawn = torch.where(going, drawn, 0)
        self.codes[self._rows, position] = drawn
        self.lengths[self._rows] += going
        ended = 1 - going.float().mean().item()
        self.ended = ended == 1
        if _COMPACTED_FROM <= ended < 1:
            rows = going.nonzero().squeeze(1)
            self.stepper.keep(rows)
            self._ending.keep(rows)
            self._rows, drawn = self._rows[rows], drawn[rows]
        return drawn
