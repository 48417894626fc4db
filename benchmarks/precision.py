"""What other precisions than float32 cost a prior in bits per code, on the validation codes of a run.

python -m benchmarks.precision RUN [--num 1000]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.stepping import Engine
from anytime_core.run import load
from anytime_core.sampling.steps import steps
from anytime_core.training.codes import CodesDataset

_ENGINES = (("plain", "float32"), ("eager", "float32"), ("eager", "bfloat16"), ("numba", "int8"))


@torch.inference_mode()
def bits_per_code(prior: CausalPrior, engine: Engine, codes: torch.Tensor, labels: torch.Tensor | None) -> float:
    """Mean of -log2 p over codes [B, N], which the engine is led through."""
    nats = 0.0

    def choose(position: int, parameters: torch.Tensor) -> torch.Tensor:
        nonlocal nats
        nats -= prior.distribution.log_prob(parameters, codes[:, position]).mean().item()
        return codes[:, position]

    for _ in steps(engine.open(labels, len(codes), codes.shape[1]), range(codes.shape[1]), choose):
        pass
    return nats / codes.shape[1] / math.log(2)


def main() -> None:
    """Print one line for each engine and precision."""
    parser = argparse.ArgumentParser(description="Compare precisions.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=1000, help="validation sequences")
    arguments = parser.parse_args()
    run = load(arguments.run)
    dataset = CodesDataset(arguments.run / "codes", "validation")
    items = [dataset[index] for index in range(min(arguments.num, len(dataset)))]
    prior = run.require_prior()
    assert isinstance(prior, CausalPrior)
    codes = torch.stack([item["codes"] for item in items])[:, : prior.code_length].to(run.device)
    labels = torch.stack([torch.as_tensor(item["label"]) for item in items]).to(run.device) if prior.classes else None
    for name, precision in _ENGINES:
        engine = prior.engines()[name](prior, precision)
        print(f"{name:>6} {precision:>9}: {bits_per_code(prior, engine, codes, labels):.4f} bits per code")


if __name__ == "__main__":
    main()
