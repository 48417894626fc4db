"""What a run's prior needs for validation data: bits of codes, and if these are values of data, nats or bits of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count

import torch
from torch import Tensor

from anytime_core.data_space import DataSpace
from anytime_core.evaluation.bound import PASSES, bits_by_calls, bits_of_plan, call_numbers
from anytime_core.evaluation.drawn import Draws
from anytime_core.evaluation.floors import data_space_of
from anytime_core.evaluation.judge import BATCH, OnProgress
from anytime_core.evaluation.result import Evaluation, ValueBits, ValueFloors
from anytime_core.modality import Datasets
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.any_order.plan import make_plan
from anytime_core.priors.blame import blaming
from anytime_core.training.batches import ordered_batches

_BOUND_SAMPLES = 2000
"""How many validation samples bound the bits of an order-agnostic prior."""


class Likelihood:
    """See the module.

    Args:
        draws: of the run, which has a prior.
        datasets: whose validation data bounds the bits of an order-agnostic prior.
        numbers: of each of the datasets' classes in the run.
        on_progress: called with a description of the work, how much is done, and how much there is in all.
    """

    def __init__(self, draws: Draws, datasets: Datasets, numbers: Sequence[int], on_progress: OnProgress) -> None:
        self.run, self.most, self.plan = draws.run, draws.most, draws.options.sampling.plan
        self.datasets, self.numbers, self.on_progress = datasets, numbers, on_progress
        space = data_space_of(self.run)
        # Fewer codes than all would be bits of a part of the sample, which compare with nothing.
        self.space = space if self.most == self.run.code_length else None

    def of_row(self, codes: int, calls: int) -> dict[str, float | None]:
        """The fields of a row about a number of codes, drawn by a number of calls."""
        prior = self.run.require_prior()
        found: dict[str, float | None] = {}
        if isinstance(prior, AnyOrderPrior):
            spacing = "linear" if self.plan == "linear" else "optimal"
            plan = make_plan(prior.losses(codes).double().cpu().numpy(), calls, spacing)
            telling = self._telling_passes(f"{codes} of {self.most} codes: bits")
            with blaming(prior.kind):
                bits = bits_of_plan(prior, self._validation_codes, codes, plan, telling)
            found = {"bits_per_code": bits.per_code, "bits_standard_error": bits.standard_error}
        else:
            each = self.run.record.stages["prior"].validation.bits_per_position
            found = {"bits_per_code": sum(each[:codes]) / codes if len(each) >= codes else None}
        if self.space is not None and (per_code := found["bits_per_code"]) is not None:
            found[self.space.field] = self.space.of_bits(per_code * codes)
        return found

    def by_calls(self) -> dict[str, dict[int, float]]:
        """See `bits_by_calls`; of an order-agnostic prior."""
        prior = self.run.require_prior()
        assert isinstance(prior, AnyOrderPrior)
        numbers = call_numbers(len(prior.digits) * self.most)
        with blaming(prior.kind):
            return bits_by_calls(prior, self._validation_codes, numbers, self._telling_passes("bits by calls"))

    def _telling_passes(self, activity: str) -> Callable[[], None]:
        """A function to call after each batch of the passes over `_validation_codes`; it reports progress."""
        numbers, total = count(1), PASSES * len(self._validation_codes)
        return lambda: self.on_progress(f"{self.run.folder}, {activity}", next(numbers), total)

    @cached_property
    def _validation_codes(self) -> list[tuple[Tensor, Tensor | None]]:
        """Codes and labels of some validation samples, on the prior's device."""
        prior, device = self.run.require_prior(), self.run.device
        batches = ordered_batches(self.datasets.validation, BATCH, limit=_BOUND_SAMPLES, workers=0)
        return [
            (
                self.run.encode(batch["x"])[:, : prior.code_length].to(device),
                torch.tensor(self.numbers)[batch["label"]].to(device) if prior.classes else None,
            )
            for batch in batches
        ]


def value_bits(space: DataSpace, floors: ValueFloors, evaluation: Evaluation) -> ValueBits:
    """What an evaluation with its rows says of values of data.

    Args:
        space: of the run's codes.
        floors: of its data.
        evaluation: of the run.
    """
    known = ValueBits(values=space.values, levels=space.levels, unit=space.unit, floors=floors)
    each, error, length = evaluation.bits_per_position, evaluation.bits_standard_error, evaluation.code_length
    if len(each) < length:
        return known
    bits = sum(each)
    last = evaluation.rows[-1] if evaluation.rows else None
    if last is not None and last.codes == length and last.bits_per_code is not None:
        bits = last.bits_per_code * length
        error = error if last.bits_standard_error is None else last.bits_standard_error
    standard_error = None if error is None else space.of_bits(error * length)
    return known.model_copy(update={"needed": space.of_bits(bits), "standard_error": standard_error})
