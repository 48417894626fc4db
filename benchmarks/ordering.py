"""What ordering costs and buys: an ordered run against an unordered one, and against runs dedicated to fewer codes.

Run with `python -m benchmarks.ordering ORDERED UNORDERED [DEDICATED ...] [--metric mse]` on run folders; they are
compared by a metric on the validation data that `run.json` holds. How to train them: docs/results/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anytime_core.record import RunRecord, read_record


def curve(record: RunRecord, metric: str) -> dict[int, float]:
    """Mean of a metric by number of codes."""
    validation = record.stages["autoencoder"].validation
    return dict(zip(validation.codes, validation.reconstruction[metric], strict=True))


def main() -> None:
    """Print one row for each number of codes."""
    parser = argparse.ArgumentParser(description="Compare an ordered run with its baselines.")
    parser.add_argument("ordered", type=Path)
    parser.add_argument("unordered", type=Path)
    parser.add_argument("dedicated", type=Path, nargs="*")
    parser.add_argument("--metric", default="mse", help="of those that the runs were validated with; default: mse")
    arguments = parser.parse_args()
    metric = arguments.metric
    record = read_record(arguments.ordered)
    ordered, unordered = curve(record, metric), curve(read_record(arguments.unordered), metric)
    dedicated = {
        run.code_length: curve(run, metric)[run.code_length]
        for run in [read_record(folder) for folder in arguments.dedicated]
    }
    table = Table("codes", "ordered", "unordered", "ordered / unordered", "dedicated", "ordered / dedicated")
    for codes, error in ordered.items():
        other = dedicated.get(codes)
        table.add_row(
            str(codes),
            f"{error:.4f}",
            f"{unordered[codes]:.4f}",
            f"{error / unordered[codes]:.3f}",
            f"{other:.4f}" if other else "",
            f"{error / other:.3f}" if other else "",
        )
    Console().print(table)
    print(f"codebook use of the ordered model: {record.stages['autoencoder'].validation.codebook_use:.1%}")


if __name__ == "__main__":
    main()
