"""Adaptive budgets: each sample ends by itself, when its next codes are not expected to be worth drawing.

Two things are known before a code is drawn. The run's validation says how much the reconstruction loss falls on average
with a code at that position. The entropy of the prior's next code says how uncertain this code is in this sample. A
code that the prior can predict tells the decoder little that the first codes have not told already. So the expected
gain of the next code is the average gain, times the sample's entropy, divided by the average entropy at that position.
If a code brings little by itself but is needed for better ones, it counts what they bring together.

n is the most codes that a sample can get.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anytime_core.errors import RunError
from anytime_core.priors.heads import Head
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import Stepper
from anytime_core.record import RunRecord
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


class AdaptiveDrawing:
    """Chooses the codes of a batch whose samples end one by one; see `Choose`.

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
        self.stepper, self.head, self.noise, self.shaping, self.threshold = stepper, head, noise, shaping, threshold
        self.gain, self.entropy = gains.gain.to(device), gains.entropy.to(device)
        self.codes = torch.zeros(batch, length, dtype=torch.int64, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.ended = False
        self._rows = torch.arange(batch, device=device)
        self._going = torch.ones(batch, dtype=torch.bool, device=device)  # of rows
        self._openness = torch.ones(batch, device=device)  # of rows: running mean of entropy over its average

    def __call__(self, position: int, parameters: Tensor) -> Tensor:
        """The codes of the samples that have not ended."""
        if position:
            relative = self.head.entropy(parameters) / self.entropy[position]
            self._openness = (1 - _SMOOTHING) * self._openness + _SMOOTHING * relative
            self._going &= self.gain[position] * self._openness >= self.threshold
        drawn = self.head.draw(parameters, self.noise.at(position)[self._rows], self.shaping)
        drawn = torch.where(self._going, drawn, 0)
        self.codes[self._rows, position] = drawn
        self.lengths[self._rows] += self._going
        ended = 1 - self._going.float().mean().item()
        self.ended = ended == 1
        if _COMPACTED_FROM <= ended < 1:
            going = self._going
            self.stepper.keep(going.nonzero().squeeze(1))
            self._rows, self._openness, drawn = self._rows[going], self._openness[going], drawn[going]
            self._going = going[going]
        return drawn
