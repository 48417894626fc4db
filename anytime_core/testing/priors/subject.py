"""The prior that is checked, and what only some priors offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from anytime_core.errors import ConfigError
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.base import CausalPrior, Prior
from anytime_core.priors.grid.orders import subscale_order
from anytime_core.priors.section import PriorSection
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing.checks import Capability, Checks

BATCH, CLASSES = 8, 3
CLOSE = 1e-4
"""How much the parameters of different computations of the same distribution may differ."""

Vectors = Literal["none", "shared", "per position", "all the same"]

_LENGTH, _SIZE, _DIM = 6, 6, 3
_LEVELS = tuple(torch.linspace(-1, 1, _SIZE).tolist())
_KNOWN_SPECS = (
    CodeSpec(length=_LENGTH, size=_SIZE, dim=_DIM, grid=(_LENGTH,), radices=(2, 3)),
    CodeSpec(length=_LENGTH, size=_SIZE, dim=_DIM, grid=(2, 3), radices=(2, 3)),
    CodeSpec(length=_LENGTH, size=_SIZE, dim=1, grid=(1, 2, 3), levels=_LEVELS),
    CodeSpec(length=8, size=_SIZE, dim=1, grid=(1, 4, 2), levels=_LEVELS, order=subscale_order(1, (4, 2), 2)),
)
"""Channels, positions of a map, pixels in raster order, pixels in subscale order."""
_TRAINING_STEPS, _TRAINING_BATCH, _LEARNING_RATE = 40, 24, 3e-3


@dataclass
class Subject:
    """The prior that is checked, and what its checks share, made when first needed.

    Attributes:
        prior: the class that the entry point names.
        config: values of its section.
        given_spec: codes that it can model; None: the first of `_KNOWN_SPECS` that it accepts.
    """

    prior: Any
    config: Mapping[str, Any]
    given_spec: CodeSpec | None = None
    _trained: dict[CodeSpec, Prior] = field(default_factory=dict)

    @cached_property
    def section(self) -> PriorSection:
        """Its config section."""
        section: PriorSection = self.prior.Config.model_validate({"kind": self.prior.kind, **self.config})
        return section

    @cached_property
    def spec(self) -> CodeSpec:
        """The codes of the checks, without labels. Raises AssertionError if it refuses all known codes."""
        refusals = []
        for spec in _KNOWN_SPECS if self.given_spec is None else (self.given_spec,):
            try:
                self.section.check(spec)
            except ConfigError as error:
                refusals.append(str(error))
            else:
                return spec
        raise AssertionError(
            f"its section refuses all codes that the contract knows ({refusals[-1]}): give codes that it models as spec"
        )

    def make(self, spec: CodeSpec | None = None, vectors: Vectors = "shared") -> Prior:
        """A freshly initialised prior of `spec` (None: the codes of the checks), in evaluation mode."""
        spec = spec or self.spec
        shape = (_size(spec), spec.dim) if vectors == "shared" else (spec.length, _size(spec), spec.dim)
        tables = {
            "none": lambda: None,
            "shared": lambda: torch.randn(shape),
            "per position": lambda: torch.randn(shape),
            "all the same": lambda: torch.ones(shape),
        }
        made: Prior = self.prior(self.section, spec, tables[vectors]())
        return made.eval()

    def trained(self, spec: CodeSpec | None = None) -> Prior:
        """One in evaluation mode that has learned `spec` for some steps, so that codes and labels matter to it.

        Without labels its positions share a table of code vectors, with labels each has its own.
        """
        spec = spec or self.spec
        if spec not in self._trained:
            self._trained[spec] = _train(self.make(spec, "per position" if spec.classes else "shared"))
        return self._trained[spec]

    @property
    def conditional(self) -> bool:
        """Whether it takes labels."""
        return self.section.class_conditional is not False

    @property
    def guided(self) -> bool:
        """Whether it has a null label."""
        return self.conditional and self.make(self.spec.narrowed(classes=CLASSES)).null_label is not None


@torch.enable_grad()
def _train(prior: Prior) -> Prior:
    optimizer = torch.optim.AdamW(prior.train().parameters(), lr=_LEARNING_RATE)
    for _ in range(_TRAINING_STEPS):
        labels = some_labels(prior.spec, _TRAINING_BATCH)
        loss = prior(counting(prior.spec, labels, _TRAINING_BATCH), labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prior.eval()


def _size(spec: CodeSpec) -> int:
    assert spec.size is not None  # the check needs discrete codes
    return spec.size


def resized(spec: CodeSpec, length: int, size: int) -> CodeSpec:
    """The same codes, but `length` of them with `size` values."""
    levels = None if spec.levels is None else tuple(torch.linspace(-1, 1, size).tolist())
    radices = None if spec.radices is None else (size,)
    return CodeSpec.model_validate(
        spec.model_dump() | {"length": length, "size": size, "levels": levels, "radices": radices}
    )


def some_labels(spec: CodeSpec, batch: int = BATCH) -> Tensor | None:
    """Labels [B] of all classes in turn; None if there are none."""
    return torch.arange(batch) % spec.classes if spec.classes else None


def some_codes(spec: CodeSpec, batch: int = BATCH) -> Tensor:
    """Random codes, [B, N]."""
    return torch.randint(_size(spec), (batch, spec.length))


def counting(spec: CodeSpec, labels: Tensor | None, batch: int = BATCH) -> Tensor:
    """Codes [B, N] that mostly count up, from 0 or from twice the label: something to be learned."""
    previous = (torch.zeros(batch, dtype=torch.int64) if labels is None else 2 * labels) - 1
    codes = []
    for _ in range(spec.length):
        any_code, jumps = torch.randint(_size(spec), (batch,)), torch.rand(batch) < 0.1
        previous = torch.where(jumps, any_code, (previous + 1) % _size(spec))
        codes.append(previous)
    return torch.stack(codes, 1)


check: Checks[Subject] = Checks(
    {
        "discrete": Capability(lambda subject: subject.spec.size is not None, "its codes are continuous"),
        "causal": Capability(
            lambda subject: issubclass(subject.prior, CausalPrior), "it does not draw its codes first to last"
        ),
        "any-order": Capability(
            lambda subject: issubclass(subject.prior, AnyOrderPrior), "it does not draw its codes in any order"
        ),
        "conditional": Capability(lambda subject: subject.conditional, "it takes no labels"),
        "guided": Capability(
            lambda subject: subject.guided, "it has no null label with this config, so that it cannot be guided"
        ),
        "exact": Capability(
            lambda subject: "exact" in subject.prior.engines(), "it has no engine that gives the same bits everywhere"
        ),
        "cuda": Capability(lambda subject: torch.cuda.is_available(), "there is no CUDA device here"),
    }
)
"""Declares a check of priors."""
