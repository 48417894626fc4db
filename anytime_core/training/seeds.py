"""The sources of a training's random numbers."""

from __future__ import annotations

import numpy as np
import torch

from anytime_core.distributed import rank


def seed_process(seed: int) -> None:
    """Seed torch's global random numbers, differently in each process of a training."""
    torch.manual_seed((seed + 1_000_003 * rank()) % 2**63)


def step_generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A generator that follows from a seed, a purpose and numbers such as the step, so its state need not be kept."""
    entropy = [seed, int.from_bytes(purpose.encode()), *numbers]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)
