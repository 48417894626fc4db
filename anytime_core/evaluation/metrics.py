"""The reconstruction measures of a modality, over batches of samples that are not kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anytime_core.errors import PluginError
from anytime_core.modality import Modality

LOSS = "loss"
"""The name of the loss that is trained on, beside the modality's metrics."""


class Metrics:
    """The loss and the metrics of a modality.

    Attributes:
        measures: name -> (x_hat, x) -> [B], the loss first.
    """

    def __init__(self, modality: Modality) -> None:
        self.name = modality.name
        self.measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
            LOSS: modality.reconstruction_loss,
            **modality.metrics(),
        }

    def __call__(self, x_hat: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Each measure [B] of reconstructions and samples [B, *sample_shape].

        Raises:
            PluginError: a value is not finite.
        """
        measured = {name: measure(x_hat, x) for name, measure in self.measures.items()}
        for name, values in measured.items():
            if not values.isfinite().all():
                raise PluginError(f"modality '{self.name}': its metric '{name}' is not finite for every sample")
        return measured

    @torch.inference_mode()
    def perfect(self, x: Tensor) -> dict[str, float]:
        """Mean of each measure if samples [B, *sample_shape] are reconstructed without any change."""
        return {name: values.double().mean().item() for name, values in self(x, x).items()}


@dataclass
class Totals:
    """Sums over samples, for each measure."""

    samples: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, measured: Mapping[str, Tensor]) -> None:
        """Add the values of a batch, measure -> [B]."""
        self.samples += len(next(iter(measured.values())))
        for name, values in measured.items():
            values = values.double()
            self.sums[name] = self.sums.get(name, 0.0) + values.sum().item()
            self.squares[name] = self.squares.get(name, 0.0) + values.square().sum().item()

    @property
    def means(self) -> dict[str, float]:
        """By measure."""
        return {name: total / self.samples for name, total in self.sums.items()}

    @property
    def spreads(self) -> dict[str, float]:
        """The standard deviation of each measure."""
        return {name: max(0.0, self.squares[name] / self.samples - mean**2) ** 0.5 for name, mean in self.means.items()}
