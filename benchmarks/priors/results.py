"""Everything that is known of one way to draw: of its run, from its evaluation, and of its times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anytime_core.evaluation.result import Evaluation, Quality
from anytime_core.results import PriorResult
from benchmarks.priors.contenders import Way
from benchmarks.priors.findings import PLAIN, Timing


@dataclass(frozen=True)
class Result:
    """See the module.

    Attributes:
        way: how samples are drawn.
        trained: what the training of its prior found.
        parameters: numbers that training learns.
        processor_seconds: of its training.
        evaluation: None before it.
        timings: of this way.
    """

    way: Way
    trained: PriorResult
    parameters: int
    processor_seconds: float
    evaluation: Evaluation | None
    timings: Sequence[Timing]

    @property
    def bits(self) -> tuple[float | None, float | None]:
        """Bits a code of test data, and their standard error; by fewer calls they are known from the evaluation."""
        if self.way.calls is None:
            return self.trained.validation.bits_per_code, self.trained.validation.standard_error
        row = self.evaluation.rows[-1] if self.evaluation is not None else None
        return (None, None) if row is None else (row.bits_per_code, row.bits_standard_error)

    def quality(self, codes: int) -> Quality | None:
        """Of samples of so many codes."""
        rows = self.evaluation.rows if self.evaluation is not None else []
        return next((row.samples for row in rows if row.codes == codes), None)

    def frechet(self, codes: int) -> float | None:
        """Distance of samples of so many codes, by the first extractor."""
        quality = self.quality(codes)
        return None if quality is None else next(iter(quality.frechet.values()))

    def plain(self, batch: int, codes: int) -> Timing | None:
        """What a batch takes by the plain engine."""
        return next((one for one in self._timings(batch, codes) if one.engine == PLAIN), None)

    def fastest(self, batch: int, codes: int) -> Timing | None:
        """What a batch takes by the fastest engine."""
        return min(self._timings(batch, codes), key=lambda one: one.seconds, default=None)

    def _timings(self, batch: int, codes: int) -> list[Timing]:
        return [one for one in self.timings if (one.batch, one.codes) == (batch, codes)]
