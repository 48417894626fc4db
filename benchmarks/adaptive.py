"""Adaptive budgets against fixed ones of the same mean number of codes.

python -m benchmarks.adaptive RUN [--num 1000] [--thresholds 0.25,0.5,1.0,2.0]

Samples are drawn whole once. What a budget leaves out is the run's reconstruction loss between the sample decoded from
the codes that the budget keeps and from all of them; a fixed mean in between two numbers of codes is a mixture of both.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from anytime_core.run import Run, load


def left_out(run: Run, codes: Tensor, lengths: Tensor) -> float:
    """Mean loss of samples decoded from the first `lengths` [B] of `codes` [B, N], against all of them."""
    losses = [
        run.modality.reconstruction_loss(run.decode(part, kept), run.decode(part))
        for part, kept in zip(codes.split(100), lengths.split(100), strict=True)
    ]
    return torch.cat(losses).mean().item()


def left_out_at(run: Run, codes: Tensor, mean: float) -> float:
    """The same at a fixed number of codes, or a mixture of the two nearest ones whose mean is `mean`."""
    fewer, more = (left_out(run, codes, torch.full((len(codes),), round_(mean))) for round_ in (math.floor, math.ceil))
    return fewer + (more - fewer) * (mean - math.floor(mean))


def main() -> None:
    """Print one row for each threshold."""
    parser = argparse.ArgumentParser(description="Compare adaptive budgets with fixed ones.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=1000, help="samples drawn, the classes in turn")
    parser.add_argument("--thresholds", default="0.25,0.5,1.0,2.0")
    arguments = parser.parse_args()
    run = load(arguments.run)
    whole = run.sample(arguments.num).codes
    table = Table("threshold", "mean codes", "spread", "loss, adaptive", "loss, fixed", "fixed / adaptive")
    for threshold in map(float, arguments.thresholds.split(",")):
        lengths = run.sample(arguments.num, f"adaptive:{threshold}").lengths
        mean = lengths.double().mean().item()
        adaptive, fixed = left_out(run, whole, lengths), left_out_at(run, whole, mean)
        ratio = f"{fixed / adaptive:.3f}" if adaptive else ""
        spread = f"{lengths.double().std().item():.1f}"
        table.add_row(f"{threshold:g}", f"{mean:.1f}", spread, f"{adaptive:.5f}", f"{fixed:.5f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
