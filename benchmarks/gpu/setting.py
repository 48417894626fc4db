"""What all parts are told: the device, the sizes, where files go, what was found so far, and when to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import Sizes
from benchmarks.gpu.measures import Measure


@dataclass(frozen=True)
class Setting:
    """What parts are told.

    Attributes:
        device: `cuda` or `cpu`.
        folder: for runs, samples and logs.
        data: folder `train|test/class/*` of CIFAR-10's pictures; None: embedded digits stand in for them.
        ends: when the part should have ended, in seconds since 1970.
        found: the numbers that were measured before, by name.
        tiny: whether sizes are such that a CPU can try out everything.
    """

    device: str
    folder: Path
    data: Path | None = None
    ends: float = 0.0
    found: dict[str, float] = field(default_factory=dict)

    @property
    def tiny(self) -> bool:
        """Whether sizes are such that a CPU can try out everything."""
        return self.device == "cpu"

    @property
    def left(self) -> float:
        """Seconds until the part should have ended."""
        return self.ends - time.time()

    @property
    def batches(self) -> tuple[int, ...]:
        """The batches at which codes are drawn, the most important first."""
        return (1, 64) if self.tiny else (512, 64, 1, 4096, 16384)

    def sizes(self, kv_heads: int | None = None) -> Sizes:
        """Sizes of the prior whose codes are drawn; those of the paper's on CIFAR-10."""
        if self.tiny:
            return Sizes(layers=2, width=32, heads=4, kv_heads=kv_heads, length=12, codebook=32)
        return Sizes(kv_heads=kv_heads)

    def repeated(self, call: Callable[[], float], *, times: int = 5, limit: float = 6.0) -> list[float]:
        """What `call` returns, several times unless that takes longer than `limit` seconds."""
        began, results = time.perf_counter(), [call()]
        while len(results) < times and time.perf_counter() - began < limit:
            results.append(call())
        return results


@dataclass(frozen=True)
class Item:
    """A piece of a part that can fail on its own.

    Attributes:
        name: for its row if it fails.
        seconds: about how long it takes on a GPU; it is left out where less is left.
        work: measures it.
        all_left: whether it takes all the time that its part has left.
    """

    name: str
    seconds: float
    work: Callable[[], Iterator[Measure]]
    all_left: bool = False
