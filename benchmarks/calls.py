"""Drawing by network calls against drawing one code after another.

python -m benchmarks.calls ORDER_AGNOSTIC_RUN TRANSFORMER_RUN [--calls 32,20,10,5] [--batches 1,64,512] [--json FILE]

Seconds of drawing and decoding whole samples, medians in turns; what each number of calls is worth in quality is what
`anytime evaluate --run ORDER_AGNOSTIC_RUN --calls ... --against TRANSFORMER_RUN` says.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from anytime_core.run import Run, load
from anytime_core.sampling.options import SamplingOptions
from benchmarks.report import Row, median_seconds, result_file, show


def draw(run: Run, batch: int, calls: int | None) -> None:
    """One batch of whole samples."""
    for _ in run.sample_batches(range(batch), 1.0, SamplingOptions(batch_size=batch, calls=calls)):
        pass


def main() -> None:
    """Print one row for each batch and number of calls."""
    parser = argparse.ArgumentParser(description="Compare network calls with codes.")
    parser.add_argument("agnostic", type=Path)
    parser.add_argument("transformer", type=Path)
    parser.add_argument("--calls", default="20,10,5", help="default: 20,10,5, and one for each code")
    parser.add_argument("--batches", default="1,64,512")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=result_file, help="file for the results")
    arguments = parser.parse_args()
    agnostic, transformer = load(arguments.agnostic), load(arguments.transformer)
    numbers = [None, *map(int, arguments.calls.split(","))]
    rows = []
    for batch in map(int, arguments.batches.split(",")):
        works = [partial(draw, agnostic, batch, calls) for calls in numbers]
        *ours, peer = median_seconds([*works, partial(draw, transformer, batch, None)], repeats=arguments.repeats)
        for calls, seconds in zip(numbers, ours, strict=True):
            name = f"batch {batch}, {'a call a code' if calls is None else f'{calls} calls'}"
            rows.append(Row(name, seconds, peer, "transformer", peer / seconds, "s"))
    show("Order-agnostic prior against transformer", rows, arguments.json)


if __name__ == "__main__":
    main()
