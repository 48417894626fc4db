"""What other precisions than float32 cost a prior in bits per code, on the validation codes of a run.

python -m benchmarks.precision RUN [--num 1000]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from anytime_core.run import load
from anytime_core.sampling.engines import SteppedEngine
from anytime_core.training.codes import CodesDataset

_ENGINES = (("plain", "float32"), ("eager", "float32"), ("eager", "bfloat16"), ("numba", "int8"))


@torch.inference_mode()
def bits_per_code(engine: SteppedEngine, codes: torch.Tensor, labels: torch.Tensor | None) -> float:
    """Mean of -log2 p over codes [B, N], which the engine is led through."""
    decoder = engine.open(labels, len(codes), codes.shape[1])
    total = 0.0
    for position, code in enumerate(codes.T):
        logits = decoder.step(position, codes[:, position - 1] if position else None).float()
        total -= logits.log_softmax(-1).gather(1, code.unsqueeze(1)).mean().item()
    return total / codes.shape[1] / math.log(2)


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
    codes = torch.stack([item["codes"] for item in items])[:, : prior.code_length].to(run.device)
    labels = torch.stack([torch.as_tensor(item["label"]) for item in items]).to(run.device) if prior.classes else None
    for name, precision in _ENGINES:
        engine = run.engine(name, precision)
        assert isinstance(engine, SteppedEngine)
        print(f"{name:>6} {precision:>9}: {bits_per_code(engine, codes, labels):.4f} bits per code")


if __name__ == "__main__":
    main()
