"""The interface of all priors.

n is a prefix length, P the number of parameters of one code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from anytime_core.errors import PluginError
from anytime_core.priors.heads import Categorical, Head
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.section import PriorSection
from anytime_core.priors.stepping import Engine, EngineMaker, Stepper
from anytime_core.quantizers.base import CodeSpec


class Prior(nn.Module, ABC):
    """A model of p(codes), or of p(codes | label) if `spec.classes` > 0.

    A prior of a new kind derives from `CausalPrior` or `AnyOrderPrior`.

    Args:
        config: its section, which has checked that it can model `spec`.
        spec: what the codes are: the first N codes of the autoencoder, and the number of labels.
        code_vectors: the quantizer's table, [K, D] or one per position [N, K, D], for priors that use which codes look
            alike.

    Attributes:
        kind: its name in configs.
        api_version: the version of this interface that it was written for.
        Config: its section.
        exact: whether `log_prob` is exact, not a lower bound.
    """

    kind: ClassVar[str]
    exact: ClassVar[bool] = True
    api_version: ClassVar[int] = 1
    Config: ClassVar[type[PriorSection]]

    def __init__(self, config: PriorSection, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__()
        self.config: PriorSection = config
        self.spec = spec

    @property
    def code_length(self) -> int:
        """N, the number of leading codes that it models."""
        return self.spec.length

    @property
    def codebook_size(self) -> int:
        """K. Raises ValueError if codes are continuous."""
        if self.spec.size is None:
            raise ValueError("continuous codes have no codebook")
        return self.spec.size

    @property
    def classes(self) -> int:
        """The number of labels, 0 for an unconditional model."""
        return self.spec.classes

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.parameters()).device

    @property
    def null_label(self) -> int | None:
        """The label that stands for any label, which guidance needs; None if the prior was not trained with it."""
        return None

    @property
    def multiply_adds(self) -> float:
        """About how many multiply-adds one code of one sequence costs."""
        return float(sum(weights.numel() for weights in self.parameters()))

    @property
    def kept_numbers(self) -> int:
        """About how many numbers are kept for a sequence while it is drawn, such as its keys and values."""
        return self.code_length

    @classmethod
    @abstractmethod
    def engines(cls) -> Mapping[str, Any]:
        """The ways to draw from it, by name; the reference `plain` is first."""

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float) -> str:
        """The name of engine `auto`: the last engine that has the precision, unless a prior knows better.

        Args:
            precision: the precision that is asked for.
            batch: sequences per batch.
            multiply_adds: multiply-adds of the whole job.
        """
        names = [name for name, maker in self.engines().items() if precision in maker.precisions]
        return names[-1] if names else "plain"  # which then says that it does not have the precision

    def draws(self, batch: int) -> Mapping[str, Tensor]:
        """What a training step of `batch` sequences draws at random on the CPU: by default nothing.

        If there is anything, `forward` gets it on the device as a third argument.
        """
        return {}

    @abstractmethod
    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """The training loss of each sequence in nats per code, [B], for `codes` [B, N] and `labels` [B]."""

    @abstractmethod
    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """The log probability of each code in nats, [B, N]; for an order-agnostic prior an estimate of a lower bound.

        Args:
            codes: [B, N].
            labels: [B].
            generator: the generator of the estimate, on the CPU.
        """

    def with_null_labels(self, labels: Tensor | None) -> Tensor:
        """Labels [B] -> [2 B]: the labels of the sequences, then the null label for each sequence."""
        assert labels is not None
        assert self.null_label is not None  # as the sampler has seen to
        return torch.cat([labels, torch.full_like(labels, self.null_label)])


class CausalPrior(Prior):
    """A prior of each code given the codes before it.

    A new one needs a `Config`, a network, and `conditionals`. It can then be trained, and sampled with every budget by
    engine `plain`. It gets faster by offering further `engines`.

    Attributes:
        distribution: the distribution that the parameters of a code describe: by default, they are logits of its
            values.
    """

    distribution: Head

    def __init__(self, config: PriorSection, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec, code_vectors)
        if spec.size is not None:
            self.distribution = Categorical(spec.size)

    @abstractmethod
    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """The distribution of every code given the codes before it.

        Args:
            codes: [B, n], the first n codes, 0 <= n < N.
            labels: [B], None for an unconditional prior.

        Returns:
            [B, n + 1, P]: the parameters of the codes at positions 0..n.
        """

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """The negative log-likelihood of each sequence in nats per code, [B]."""
        return -self.log_prob(codes, labels).mean(1)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """The log probability of each code given the codes before it, in nats, [B, N]; exact."""
        return self.distribution.log_prob(self.checked_conditionals(codes[:, :-1], labels), codes)

    def checked_conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """`conditionals`. Raises PluginError, which names the prior and its distribution, if the shape is wrong."""
        parameters = self.conditionals(codes, labels)
        wanted = (len(codes), codes.shape[1] + 1, self.distribution.size)
        found = list(parameters.shape) if isinstance(parameters, Tensor) else f"a {type(parameters).__name__}"
        if found != list(wanted):
            raise PluginError(
                f"{PRIORS.origin(self.kind)} does not keep the contract of priors: conditionals of codes "
                f"{list(codes.shape)} are {found}, where they should be a tensor {list(wanted)}"
            )
        return parameters

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """The ways to draw code after code, by name: `plain`, and those that a prior adds."""
        return {PlainEngine.name: PlainEngine}


class PlainEngine(Engine):
    """The reference for all other engines: the whole prefix goes through the prior for every code."""

    name = "plain"

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` codes."""
        return _PlainStepper(self.prior, labels, batch)


class _PlainStepper:
    def __init__(self, prior: CausalPrior, labels: Tensor | None, batch: int) -> None:
        self.prior, self.labels = prior, labels
        self.codes = torch.empty(batch, 0, dtype=torch.int64, device=prior.device)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        if previous is not None:
            self.codes = torch.cat([self.codes, previous.unsqueeze(1)], 1)
        return self.prior.checked_conditionals(self.codes, self.labels)[:, -1]

    def keep(self, rows: Tensor) -> None:
        self.codes = self.codes[rows]
        self.labels = None if self.labels is None else self.labels[rows]
