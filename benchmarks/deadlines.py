"""How well calls end within their deadlines: drawing, decoding and writing.

python -m benchmarks.deadlines RUN [--calls 200]

Deadlines are spread evenly on a logarithmic scale from 50 ms to 2 s, half of the calls for one sample, half for 16. A
call is late that ends more than 10 % after its deadline; it wastes what it leaves of its time while codes were left.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anytime_core.jobs.sampling import write_samples
from anytime_core.run import load
from anytime_core.sampling.options import SamplingOptions

_SHORTEST, _LONGEST = 0.05, 2.0
_BATCHES = (1, 16)
_LATE = 1.1


def main() -> None:
    """Print one row for each batch."""
    parser = argparse.ArgumentParser(description="Measure deadlines.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--calls", type=int, default=200)
    arguments = parser.parse_args()
    run = load(arguments.run)
    each = arguments.calls // len(_BATCHES)
    calls = [
        (batch, round(_SHORTEST * (_LONGEST / _SHORTEST) ** (number / (each - 1)), 4))
        for batch in _BATCHES
        for number in range(each)
    ]
    random.Random(0).shuffle(calls)
    for batch in _BATCHES:
        run.sampler(SamplingOptions()).prepare(batch)
    used: dict[int, list[tuple[float, bool]]] = {batch: [] for batch in _BATCHES}
    with tempfile.TemporaryDirectory() as folder:
        for batch, seconds in calls:
            started = time.perf_counter()
            record = write_samples(run, Path(folder) / "out", range(batch), f"{seconds}s")
            share = (time.perf_counter() - started) / seconds
            used[batch].append((share, record["calls"] < record["code_length"]))
    table = Table("samples", "calls", "late", "latest", "cut short", "wasted, mean", "wasted, most")
    for batch, shares in used.items():
        wasted = [max(0.0, 1 - share) for share, cut in shares if cut] or [0.0]
        table.add_row(
            str(batch),
            str(len(shares)),
            str(sum(share > _LATE for share, _ in shares)),
            f"{max(share for share, _ in shares):.2f} x",
            str(sum(cut for _, cut in shares)),
            f"{sum(wasted) / len(wasted):.1%}",
            f"{max(wasted):.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
