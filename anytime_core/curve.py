"""How well an autoencoder reconstructs held-out samples from each number of leading codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.budget import codes_of_share

_WORTH = 0.97
"""A model must get below this share of the loss without a model: of the mean sample, or from another sample's codes."""


@dataclass(frozen=True)
class ReconstructionCurve:
    """Quality against the number of leading codes, over one set of samples.

    Attributes:
        lengths: numbers of codes, ascending.
        values: measure -> its mean over the samples at each length.
        shuffled: `loss` -> the same if each sample is compared with the reconstruction of another one; empty if there
            is no other.
        mean_sample: `loss` -> its mean if every sample is reconstructed as the mean sample; empty if that is not known.
        codebook_use: share of the codebook's entries that occur at all, over all codebooks if each position has its
            own; None for continuous codes.
        samples: number of samples.
    """

    lengths: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    codebook_use: float | None
    samples: int
    shuffled: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    mean_sample: Mapping[str, float] = field(default_factory=dict)

    def mean(self, measure: str) -> float:
        """The mean of `measure` over the lengths."""
        return math.fsum(self.values[measure]) / len(self.lengths)


def preview_lengths(code_length: int, number: int = 5) -> tuple[int, ...]:
    """Evenly spaced lengths up to the whole code, without repeats."""
    return tuple(sorted({codes_of_share(i / number, code_length) for i in range(1, number + 1)}))


def validated_lengths(code_length: int) -> tuple[int, ...]:
    """The lengths of a curve over all budgets: eighths of N, and powers of two, as the first codes matter most."""
    powers = (2**exponent for exponent in range(code_length.bit_length()))
    return tuple(sorted({*preview_lengths(code_length, 8), *powers}))


Measures = Mapping[str, Callable[[Tensor, Tensor], Tensor]]
"""Name -> (x_hat, x) -> [B]."""


@torch.no_grad()
def reconstruction_curve(
    autoencoder: OrderedAutoencoder,
    measures: Measures,
    batches: Iterable[Mapping[str, Tensor]],
    lengths: Sequence[int],
    mean_sample: Tensor | None = None,
) -> ReconstructionCurve:
    """Encode each sample once, decode it at every one of `lengths`, and average `measures`.

    The autoencoder is evaluated in evaluation mode, in its own precision, and left in the mode it was in.

    Args:
        autoencoder: what is measured.
        measures: what is averaged.
        batches: of the samples.
        lengths: numbers of codes, ascending.
        mean_sample: [*sample_shape], the mean of the training data, to compare with.
    """
    device = autoencoder.device
    compared = {name: measure for name, measure in measures.items() if name == "loss"}  # other measures may be slow
    totals, shuffled, of_mean = _Totals(measures, lengths), _Totals(compared, lengths), _Totals(compared, (0,))
    positions = torch.arange(autoencoder.code_length, device=device)
    used = torch.zeros(autoencoder.code_length, autoencoder.codebook_size or 0, dtype=torch.bool, device=device)
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
                totals.add(position, x_hat, x)
                if len(x) > 1:  # half a batch away, as neighbours may be of one class
                    shuffled.add(position, x_hat.roll(len(x) // 2, 0), x)
            if mean_sample is not None:
                of_mean.add(0, mean_sample.to(device).expand_as(x), x)
    finally:
        autoencoder.train(training)
    if autoencoder.quantizer.shared:
        used = used.any(0)
    return ReconstructionCurve(
        lengths=tuple(lengths),
        values=totals.means() or {name: (0.0,) * len(lengths) for name in measures},
        codebook_use=used.float().mean().item() if used.numel() else None,
        samples=totals.samples[0],
        shuffled=shuffled.means(),
        mean_sample={name: value for name, (value,) in of_mean.means().items()},
    )


class _Totals:
    """Sums of measures at each length, and the number of samples in them."""

    def __init__(self, measures: Measures, lengths: Sequence[int]) -> None:
        self.measures = measures
        self.sums = {name: torch.zeros(len(lengths), dtype=torch.float64) for name in measures}
        self.samples = [0] * len(lengths)

    def add(self, position: int, x_hat: Tensor, x: Tensor) -> None:
        for name, measure in self.measures.items():
            self.sums[name][position] += measure(x_hat, x).double().sum().cpu()
        self.samples[position] += len(x)

    def means(self) -> dict[str, tuple[float, ...]]:
        """Measure -> its mean at each length; empty without samples."""
        if not self.samples[0]:
            return {}
        return {name: tuple((sums / self.samples[0]).tolist()) for name, sums in self.sums.items()}


@torch.no_grad()
def average_sample(batches: Iterable[Mapping[str, Tensor]]) -> Tensor:
    """The mean of the samples of `batches`, [*sample_shape]."""
    total, samples = torch.zeros((), dtype=torch.float64), 0
    for batch in batches:
        total = total + batch["x"].double().sum(0)
        samples += len(batch["x"])
    return (total / samples).float()


def ignored_input(own: float, mean_sample: float | None, of_others: float | None) -> str | None:
    """What shows that a model ignores its input, None if nothing does.

    Args:
        own: loss of reconstructions from all codes.
        mean_sample: loss of reconstructing every sample as the mean sample; None if it is not known.
        of_others: loss of reconstructing samples from the codes of other samples; None if it is not known.
    """
    if mean_sample is not None and mean_sample <= 0:  # all samples are alike, or losses have no zero to compare with
        return None
    if mean_sample is not None and own > _WORTH * mean_sample:
        return f"the loss of all codes is {own:.4g}, and that of predicting the mean sample {mean_sample:.4g}"
    if of_others is not None and own > _WORTH * of_others:
        return f"the loss of all codes is {own:.4g}, and {of_others:.4g} from the codes of another sample"
    return None
