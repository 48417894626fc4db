"""How codes are drawn, for any budget: all options of sampling in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from anytime_core.display import shown
from anytime_core.errors import UsageError, nearest
from anytime_core.quantities import real_number, shown_value, whole_number

if TYPE_CHECKING:
    from anytime_core.priors.shaping import Shaping

PRECISIONS = ("float32", "bfloat16", "int8")
PLANS = ("optimal", "linear", "certain")


def _knob(default: Any, help: str, *, short: str | None = None, min: int | None = None) -> Any:
    """A field that commands have as an option.

    Args:
        default: of the field.
        help: what commands say of it.
        short: its name in the names of output folders; None if it does not change which samples are drawn.
        min: the least value.
    """
    return field(default=default, metadata={"help": help, "short": short, "min": min})


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

    calls: int | None = _knob(
        None,
        "Network calls, of an order-agnostic prior (prior.kind=ardm): the fewer, the faster and coarser. Default: one "
        "for each code.",
        short="calls",
    )
    plan: str = _knob(
        "optimal",
        "How codes are shared among network calls: optimal, linear, or certain (those first that the prior is most "
        "certain of).",
        short="plan",
    )
    label: int | str | None = None
    labels: tuple[tuple[int | str, int], ...] = ()
    temperature: float = _knob(1.0, "Below 1: more likely codes; 0: the most likely ones.", short="t")
    top_k: int | None = _knob(None, "Draw from the k most likely codes only.", short="k")
    top_p: float | None = _knob(None, "Draw from the most likely codes that reach p.", short="p")
    guidance: float = _knob(
        1.0,
        "How far class labels lead: 1 leaves the prior as it is, above 1 samples are more typical of their class and "
        "less varied. Needs a prior trained with prior.label_dropout.",
        short="g",
    )
    seed: int = _knob(0, "Sample i of a seed is always the same.")
    engine: str = _knob(
        "auto",
        "auto, eager, numba (small batches, CPU), graph (CUDA, what auto is there), compile, exact (the same bits "
        "everywhere, slow), plain (the reference), or one that a plugin's prior has. "
        "Not every kind of prior has each of them: see docs/priors.md.",
    )
    precision: str = _knob("float32", "float32, bfloat16, int8 (engine numba), or auto: what is fast here.")
    batch_size: int | None = _knob(None, "Samples at a time. Default: found by measurement.", min=1)

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
        for name in ("engine", "precision", "plan"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} {shown_value(getattr(self, name))} is not a name")
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
        from anytime_core.priors.shaping import Shaping  # which imports torch, as commands that print help do not

        return Shaping(self.temperature, self.top_k, self.top_p)

    def changed(self) -> dict[str, Any]:
        """The knobs that are not at their default, by name."""
        knobs = [field for field in fields(self) if "help" in field.metadata]
        return {knob.name: value for knob in knobs if (value := getattr(self, knob.name)) != knob.default}

    @property
    def guided(self) -> bool:
        """Whether guidance changes anything."""
        return self.guidance != 1

    def rows(self, batch: int) -> int:
        """How many sequences go through the network for a batch: with guidance, two for each sample."""
        return 2 * batch if self.guided else batch


def changed_options(options: SamplingOptions | None, **changes: Any) -> SamplingOptions:
    """`options`, or the default ones, changed by name. Raises UsageError for an unknown name, naming the nearest."""
    if options is not None and not isinstance(options, SamplingOptions):
        raise UsageError(f"options {shown_value(options)} are not SamplingOptions: give them, or options by name")
    names = [field.name for field in fields(SamplingOptions)]
    for name in changes:
        if name not in names:
            raise UsageError(f"no option '{shown(name)}'{nearest(name, names)}: sampling has {', '.join(names)}")
    return replace(options or SamplingOptions(), **changes)


def _is_weight(value: float) -> bool:
    return 0 <= value < math.inf
