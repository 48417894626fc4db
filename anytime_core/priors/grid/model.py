"""What priors of values on a grid have in common but for the order in which values follow each other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.grid.network import GridNetwork
from anytime_core.priors.grid.section import GridSection
from anytime_core.priors.grid.stepping import incremental_of
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.stepping import Engine, EngineMaker, Stepper
from anytime_core.quantizers.base import CodeSpec


class GridPrior(CausalPrior):
    """A prior around a network over the values of a grid, or of a part of it, that a modality offers.

    Args:
        config: its section.
        spec, code_vectors: see `Prior`; code vectors are used where values do not lie on a line.
        condition: Q, the channels of what the network is told of each cell; None: as many numbers as stand for a
            label, or 0 if there are no labels.

    Attributes:
        network: the network with its inputs and distributions.
        label: the embedding of labels, None if there are none.
    """

    config: GridSection

    def __init__(
        self, config: GridSection, spec: CodeSpec, code_vectors: Tensor | None = None, *, condition: int | None = None
    ) -> None:
        super().__init__(config, spec, code_vectors)
        told = config.condition if spec.classes else 0
        self.label = LabelEmbedding(spec.classes, told, config.label_dropout) if told else None
        self.network = GridNetwork(
            config,
            spec,
            config.value_grid(spec),
            condition=told if condition is None else condition,
            code_vectors=code_vectors,
        )

    @property
    def null_label(self) -> int | None:
        """See `Prior`."""
        return None if self.label is None else self.label.null_label

    def label_of(self, labels: Tensor | None, batch: int) -> Tensor | None:
        """The numbers that stand for labels [B], [B, Q]; None if there are no classes."""
        return None if self.label is None else self.label(labels, batch)

    def everywhere(self, label: Tensor | None) -> Tensor | None:
        """The numbers of a label [B, Q] at each cell of the network's grid, [B, Q, *S]."""
        if label is None:
            return None
        shape = self.network.grid.shape
        return label.view(*label.shape, *(1 for _ in shape)).expand(-1, -1, *shape)

    @abstractmethod
    def stepper(self, incremental: Any, labels: Tensor | None, batch: int) -> Stepper:
        """A stepper of a batch.

        Args:
            incremental: what computes features of one value after another, see `incremental_of`; None: nothing does.
            labels: [B], None for an unconditional prior.
            batch: B.
        """

    @torch.no_grad()
    def network_keeps(self) -> int:
        """How many numbers the network keeps for a sequence while it goes from value to value."""
        incremental, grid = incremental_of(self.network), self.network.grid
        if incremental is None:
            return 0
        condition = torch.zeros(1, grid.condition, *grid.shape, device=self.device) if grid.condition else None
        return sum(part.numel() for part in incremental.state(1, condition))

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """See `CausalPrior`."""
        return {**super().engines(), EagerEngine.name: EagerEngine}


class EagerEngine(Engine):
    """See `Engine`. It has torch's own operators, on any device, and makes a distribution of the next value only.

    A network that cannot go from value to value is given all rows so far for each value.
    """

    name = "eager"

    def __init__(self, prior: GridPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.incremental = incremental_of(prior.network)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` values."""
        stepper: Stepper = self.prior.stepper(self.incremental, labels, batch)
        return stepper
