"""Adaptive budgets: each sample ends by itself, where its next codes are not expected to be worth drawing.

Two things are known before a code is drawn. The run's validation says how much the reconstruction loss falls with a
code at that position on average; and the entropy of the prior's next code says how much of it this sample leaves open.
A code that the prior can predict tells the decoder little that the first codes have not told already, so the expected
gain of the next code is the average gain times the sample's entropy over the average entropy at that position. Where a
code brings little by itself but opens the way to better ones, it counts what they bring together.

Letters: B batch, n codes at most, N code length, K codebook size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anytime_core.errors import RunError
from anytime_core.record import RunRecord
from anytime_core.sampling.draw import Filter, draw_codes
from anytime_core.sampling.engines import SteppedEngine
from anytime_core.sampling.engines.base import torch_threads
from anytime_core.sampling.noise import Noise

_SMOOTHING = 0.5
"""Weight of the latest code's entropy in the running mean of a sample."""
_COMPACTED_FROM = 0.25
"""Share of the batch that must have ended before the rest goes on without it."""


@dataclass(frozen=True)
class Gains:
    """What validation says of each code.

    Attributes:
        gain: [N], how much the reconstruction loss falls a code from code i on, over as many codes as make it the most,
            in units of its mean fall over codes 2..N.
        entropy: [N], mean nats of code i given those before it.
    """

    gain: Tensor
    entropy: Tensor


def measured_gains(record: RunRecord, code_length: int) -> Gains:
    """The gains of the first `code_length` codes, from what the run's stages have measured.

    Between the numbers of codes that were validated the loss is taken to fall evenly.

    Raises:
        RunError: the run has no such measurements, being older than they are.
    """
    autoencoder, prior = record.stages["autoencoder"].validation, record.stages["prior"].validation
    lengths, losses, bits = autoencoder.codes, autoencoder.reconstruction.get("loss"), prior.bits_per_position
    if not lengths or not losses or len(bits) < code_length:
        raise RunError(
            "an adaptive budget needs the validation of the run's stages, which this run lacks: train it again"
        )
    loss = np.interp(np.arange(1, code_length + 1), lengths, losses)
    codes = np.arange(1, code_length + 1)
    fall = np.full(code_length, np.inf)  # before the first number of codes validated, where codes matter most
    for code in range(lengths[0], code_length):
        fall[code] = max(0, np.max((loss[code - 1] - loss[code:]) / codes[: code_length - code]))
    average = max((loss[0] - loss[-1]) / max(code_length - 1, 1), np.finfo(float).tiny)
    entropy = np.maximum(np.asarray(bits[:code_length]) * np.log(2), 1e-3)
    return Gains(torch.tensor(fall / average, dtype=torch.float32), torch.tensor(entropy, dtype=torch.float32))


@torch.inference_mode()
def draw_adaptively(
    engine: SteppedEngine,
    labels: Tensor | None,
    noise: Noise,
    filtering: Filter,
    gains: Gains,
    threshold: float,
    on_code: Callable[[int], bool],
) -> tuple[Tensor, Tensor]:
    """Draw a batch, each sample until its next code is expected to gain less than `threshold` average codes.

    Args:
        engine: that gives logits code by code.
        labels, noise, filtering: see `Engine.draw`.
        gains: of the run.
        threshold: in gains of an average code.
        on_code: called after each code with the number of codes drawn; true ends all samples there.

    Returns:
        Codes [B, n], zero after a sample's end, and the number of codes of each sample, [B].
    """
    batch, length = noise.shape[:2]
    gain, entropy = gains.gain.to(noise.device), gains.entropy.to(noise.device)
    codes = torch.zeros(batch, length, dtype=torch.int64, device=noise.device)
    lengths = torch.zeros(batch, dtype=torch.int64, device=noise.device)
    rows = torch.arange(batch, device=noise.device)
    going = torch.ones(batch, dtype=torch.bool, device=noise.device)  # of rows
    openness = torch.ones(batch, device=noise.device)  # of rows: running mean of entropy over its average
    decoder = engine.open_guided(labels, batch, length, filtering)
    for position in range(length):
        with torch_threads(engine.threads(filtering.rows(len(rows)))):
            logits = decoder.step(position, codes[rows, position - 1] if position else None).float()
        if position:
            log_probability = logits.log_softmax(-1)
            relative = -(log_probability.exp() * log_probability).sum(-1) / entropy[position]
            openness = (1 - _SMOOTHING) * openness + _SMOOTHING * relative
            going &= gain[position] * openness >= threshold
        drawn = draw_codes(logits, noise.at(position)[rows], filtering)
        codes[rows, position] = torch.where(going, drawn, 0)
        lengths[rows] += going
        ended = 1 - going.float().mean().item()
        if ended == 1 or on_code(position + 1):
            break
        if ended >= _COMPACTED_FROM:
            decoder.keep(going.nonzero().squeeze(1))
            rows, openness, going = rows[going], openness[going], going[going]
    return codes[:, : int(lengths.max())], lengths
