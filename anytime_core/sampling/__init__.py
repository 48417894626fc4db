"""The budgeted sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anytime_core.sampling.options import SamplingOptions
    from anytime_core.sampling.sampler import Sampler
    from anytime_core.sampling.source import Source


def open_sampler(source: Source, options: SamplingOptions) -> Sampler:
    """The sampler that the prior needs. Raises UsageError for an option that it cannot follow."""
    from anytime_core.priors.any_order.base import AnyOrderPrior
    from anytime_core.sampling.call_sampler import CallSampler
    from anytime_core.sampling.code_sampler import CodeSampler

    return (CallSampler if isinstance(source.prior, AnyOrderPrior) else CodeSampler)(source, options)
