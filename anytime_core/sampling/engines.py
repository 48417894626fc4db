"""Sampling engines: different ways to run a prior, the same codes from the same noise in float32.

Letters: B batch, n codes to draw, K codebook size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anytime_core.priors import AutoregressivePrior
from anytime_core.sampling.draw import Filter, draw_codes

OnCode = Callable[[int], bool]
"""Called after each code with the number of codes drawn; true stops the engine there."""

Engine = Callable[[AutoregressivePrior, Tensor | None, Tensor, Filter, OnCode], Tensor]
"""(prior, labels [B] or None, noise [B, n, K], filter, callback) -> codes [B, n], fewer where it was stopped."""


@torch.inference_mode()
def plain(
    prior: AutoregressivePrior, labels: Tensor | None, noise: Tensor, filtering: Filter, on_code: OnCode
) -> Tensor:
    """No cache: the whole prefix goes through the prior for every code. The reference for all other engines."""
    codes = torch.empty(noise.shape[:2], dtype=torch.int64, device=noise.device)
    for position in range(noise.shape[1]):
        logits = prior.logits(codes[:, :position], labels)[:, -1]
        codes[:, position] = draw_codes(logits, noise[:, position], filtering)
        if on_code(position + 1):
            return codes[:, : position + 1]
    return codes


@torch.inference_mode()
def eager(
    prior: AutoregressivePrior, labels: Tensor | None, noise: Tensor, filtering: Filter, on_code: OnCode
) -> Tensor:
    """One position per step, with static key-value buffers."""
    batch, length = noise.shape[:2]
    codes = torch.empty(batch, length, dtype=torch.int64, device=noise.device)
    cache = prior.open_cache(labels, batch, length)
    previous = None
    for position in range(length):
        previous = draw_codes(prior.next_logits(previous, cache), noise[:, position], filtering)
        codes[:, position] = previous
        if on_code(position + 1):
            return codes[:, : position + 1]
    return codes


ENGINES: dict[str, Engine] = {"plain": plain, "eager": eager}
"""Engines by name; `auto` is `eager`."""
