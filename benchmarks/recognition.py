"""How well a run's reconstructions and samples are recognised at each budget, by a classifier of the real data.

python -m benchmarks.recognition RUN [--lengths 16,32,64] [--num 500] [--temperature 1.0]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from anytime_core.evaluation.recognition import Recogniser
from anytime_core.evaluation.reconstruction import preview_lengths
from anytime_core.run import load
from anytime_core.training.batches import ordered_batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--lengths", help="numbers of codes, comma-separated; default: eight, evenly spaced")
    parser.add_argument("--num", type=int, default=500, help="samples drawn, the classes in turn")
    parser.add_argument("--temperature", type=float, default=1.0)
    arguments = parser.parse_args()
    run = load(arguments.run)
    datasets = run.modality.datasets()
    judge = Recogniser(run.modality, datasets)
    print(f"real validation samples: {judge.held_out:.1%} recognised")
    lengths = (
        tuple(map(int, arguments.lengths.split(","))) if arguments.lengths else preview_lengths(run.code_length, 8)
    )
    batches = list(ordered_batches(datasets.validation, 100, workers=0))
    codes = [run.encode(batch["x"]) for batch in batches]
    samples = run.sample(arguments.num, temperature=arguments.temperature) if run.prior else None
    for length in lengths:
        right = [
            judge.recognised(run.decode(batch_codes, length), batch["label"])
            for batch_codes, batch in zip(codes, batches, strict=True)
        ]
        line = (
            f"{length:>5} codes: {sum(part.sum() for part in right) / len(datasets.validation):6.1%} of reconstructions"
        )
        if samples is not None and samples.labels is not None and length <= samples.codes.shape[1]:
            drawn = torch.cat([run.decode(part, length) for part in samples.codes.split(100)])
            line += f", {judge.recognised(drawn, samples.labels).mean():6.1%} of {arguments.num} samples"
        print(line)


if __name__ == "__main__":
    main()
