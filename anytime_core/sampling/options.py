"""How codes are drawn, for any budget: all options of sampling in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from anytime_core.display import shown
from anytime_core.errors import UsageError, nearest
from anytime_core.priors.shaping import Shaping
from anytime_core.quantities import real_number, whole_number

PRECISIONS = ("float32", "bfloat16", "int8")
PLANS = ("optimal", "linear", "certain")


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How codes are drawn, for any budget.

    Attributes:
        seed: sample i of a seed is the same in every call.
        label: name of a class, or its number, in text `index:3`; None: each class in turn.
        labels: pairs of a class, as in `label`, and a number of samples, one class after the other; empty: see `label`.
        temperature: divides the logits; 0 always takes the most likely code.
        top_k: draw from the k most likely codes only.
        top_p: draw from the smallest set of most likely codes whose probability reaches p.
        guidance: how much the label counts, see `Head.guided`; 1 leaves the prior unchanged, 0 ignores the label, and
            above 1 samples get more typical of their label and less varied.
        engine: `auto`, or one of the prior's engines.
        precision: `float32`, in which every engine draws the same codes; `bfloat16`; `int8`; or `auto`, the fastest
            here that does not round weights to integers.
        batch_size: samples per batch; None: found by measurement.
        calls: network calls of an order-agnostic prior; None: one for each code. With a deadline, the most calls.
        plan: how such a prior shares the codes among the calls: `optimal`, by the losses seen in training; `linear`,
            the same number in each; or `certain`, the same numbers as `optimal`, but first the codes that the prior is
            most certain of.

    Raises:
        UsageError: a value is out of range, or two values exclude each other.
    """

    seed: int = 0
    label: int | str | None = None
    labels: tuple[tuple[int | str, int], ...] = ()
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0
    engine: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    calls: int | None = None
    plan: str = "optimal"

    def __post_init__(self) -> None:
        self._settle("seed", whole_number("seed", self.seed, "in 0..2^63-1", 0, 2**63 - 1))
        for name in ("temperature", "guidance"):
            self._settle(name, real_number(name, getattr(self, name), "0 or a positive number", _is_weight))
        for name, what in (("top_k", "top-k"), ("batch_size", "batch size"), ("calls", "calls")):
            if getattr(self, name) is not None:
                self._settle(name, whole_number(what, getattr(self, name), "of at least 1", 1))
        if self.top_p is not None:
            self._settle("top_p", real_number("top-p", self.top_p, "in (0, 1]", lambda share: 0 < share <= 1))
        if self.labels and self.label is not None:
            raise UsageError(f"label '{self.label}' and counts of labels say two things: leave one of them out")
        for label, count in self.labels:
            if label is None:
                raise UsageError("a count of samples needs a class: name it, or leave labels out for all classes")
            _ = whole_number(f"label '{shown(str(label))}': count", count, "of at least 1", 1)
        if self.precision != "auto" and self.precision not in PRECISIONS:
            raise UsageError(f"no precision '{self.precision}': use auto, {', '.join(PRECISIONS)}")
        if self.label is not None and not isinstance(self.label, str):
            self._settle("label", whole_number("label", self.label, "of at least 0, or the name of a class", 0))
        if self.plan not in PLANS:
            raise UsageError(f"no plan '{self.plan}'{nearest(self.plan, PLANS)}: use {', '.join(PLANS)}")

    def _settle(self, name: str, value: float) -> None:
        """Replace a number of another type, such as NumPy's, by a plain one."""
        object.__setattr__(self, name, value)

    @property
    def shaping(self) -> Shaping:
        """Changes of the distribution of each code."""
        return Shaping(self.temperature, self.top_k, self.top_p)

    @property
    def guided(self) -> bool:
        """Whether guidance changes anything."""
        return self.guidance != 1

    def rows(self, batch: int) -> int:
        """How many sequences go through the network for a batch: with guidance, two for each sample."""
        return 2 * batch if self.guided else batch


def _is_weight(value: float) -> bool:
    return 0 <= value < math.inf
