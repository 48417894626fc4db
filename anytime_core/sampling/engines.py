"""The engines of one prior, made when first needed, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

from anytime_core.devices import multiplies_bfloat16, require_bfloat16
from anytime_core.errors import UsageError, nearest
from anytime_core.priors.base import Prior
from anytime_core.sampling.options import SamplingOptions

_SMALL_BATCH = 16
"""Largest batch that is not bound by products on the CPU."""

E = TypeVar("E")


class Engines(Generic[E]):
    """The engines of a prior by name and precision.

    Args:
        prior: the prior that they run.
        run: the folder of its run, for messages.
    """

    def __init__(self, prior: Prior, run: Path) -> None:
        self.prior, self.run = prior, run
        self._made: dict[tuple[str, str], E] = {}

    def get(self, name: str, precision: str) -> E:
        """An engine, made when first needed.

        Raises:
            UsageError: the prior has no such engine, or it cannot run the prior here.
        """
        if (name, precision) not in self._made:
            makers: Any = self.prior.engines()
            if name not in makers:
                raise UsageError(
                    f"no engine '{name}'{nearest(name, makers)} for the {self.prior.kind} prior of run {self.run}: use "
                    f"auto, {', '.join(makers)}"
                )
            if precision == "bfloat16":
                require_bfloat16(self.prior.device)
            self._made[name, precision] = makers[name](self.prior, precision)
        return self._made[name, precision]

    def best(self, options: SamplingOptions, batch: int, samples: int, length: int) -> E:
        """The engine that options name, or the fastest one for a job.

        Args:
            options: the options of the job.
            batch: samples per batch.
            samples: samples of the job.
            length: codes of each sample.
        """
        rows, precision, name = options.rows(batch), options.precision, options.engine
        if precision == "auto":
            precision = self._precision(rows)
        if name == "auto":
            work = self.prior.multiply_adds * options.rows(samples) * length
            name = self.prior.fastest_engine(precision, rows, work)
        return self.get(name, precision)

    def _precision(self, rows: int) -> str:
        """bfloat16 if the device multiplies it and a batch is large enough to be bound by products, else float32."""
        device = self.prior.device
        has = any("bfloat16" in maker.precisions for maker in self.prior.engines().values())
        bound = device.type != "cpu" or rows > _SMALL_BATCH
        return "bfloat16" if has and bound and multiplies_bfloat16(device) else "float32"
