"""How well the autoencoder reconstructs held-out samples from each number of leading codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.sampling.budget import codes_of_share


@dataclass(frozen=True)
class ReconstructionCurve:
    """Quality against the number of leading codes, over one set of samples.

    Attributes:
        lengths: numbers of codes, ascending.
        values: measure -> its mean over the samples at each length.
        codebook_use: share of the codebook's entries that occur at all, over all codebooks where each position has
            its own; None for continuous codes.
        samples: number of samples.
    """

    lengths: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    codebook_use: float | None
    samples: int

    def mean(self, measure: str) -> float:
        """Mean of `measure` over the lengths."""
        return math.fsum(self.values[measure]) / len(self.lengths)


def preview_lengths(code_length: int, number: int = 5) -> tuple[int, ...]:
    """Evenly spaced numbers of codes up to all of them, without repeats."""
    return tuple(sorted({codes_of_share(i / number, code_length) for i in range(1, number + 1)}))


def validated_lengths(code_length: int) -> tuple[int, ...]:
    """Numbers of codes for a curve over all budgets: eighths of them, and powers of two, as first codes matter most."""
    powers = (2**exponent for exponent in range(code_length.bit_length()))
    return tuple(sorted({*preview_lengths(code_length, 8), *powers}))


@torch.no_grad()
def reconstruction_curve(
    autoencoder: OrderedAutoencoder,
    measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    batches: Iterable[Mapping[str, Tensor]],
    lengths: Sequence[int],
) -> ReconstructionCurve:
    """Encode each sample once, decode it at every one of `lengths`, and average `measures`, each (x_hat, x) -> [B].

    The autoencoder is evaluated in evaluation mode, in its own precision, and left in the mode it was in.
    """
    device = autoencoder.device
    totals = {name: torch.zeros(len(lengths), dtype=torch.float64) for name in measures}
    positions = torch.arange(autoencoder.code_length, device=device)
    used = torch.zeros(autoencoder.code_length, autoencoder.codebook_size or 0, dtype=torch.bool, device=device)
    samples = 0
    training = autoencoder.training
    autoencoder.eval()
    try:
        for batch in batches:
            x = batch["x"].to(device)
            kept = torch.ones(len(x), autoencoder.code_length, dtype=torch.bool, device=device)
            quantized = autoencoder.quantizer(autoencoder.encode_vectors(x), kept)
            if quantized.codes is not None:
                used[positions, quantized.codes] = True
            for position, length in enumerate(lengths):
                x_hat = autoencoder.decode_vectors(quantized.vectors, torch.full((len(x),), length, device=device))
                for name, measure in measures.items():
                    totals[name][position] += measure(x_hat, x).double().sum().cpu()
            samples += len(x)
    finally:
        autoencoder.train(training)
    if autoencoder.quantizer.shared:
        used = used.any(0)
    return ReconstructionCurve(
        lengths=tuple(lengths),
        values={name: tuple((total / max(samples, 1)).tolist()) for name, total in totals.items()},
        codebook_use=used.float().mean().item() if used.numel() else None,
        samples=samples,
    )
