"""Which noise codes are drawn with: how many codes come out otherwise by another engine, batch or number of threads.

python -m benchmarks.noise [RUN] [--draws 10000000] [--samples 32] [--device cpu]

Of a run, or without one of a transformer of 6 layers and width 512 with random weights, N = 100, K = 500. Codes are
given to each engine, so that all are asked for the same distributions; a draw of noise makes a code of the logits of
each, and a flip is a code that is not that of the reference, the plain engine. Then the time that noise takes, against
numpy's exponential numbers. On a GPU: how many of its numbers are not those of the CPU, and the time that drawing by
them takes, against drawing by torch's own exponential numbers.

Letters: B samples, N code length, K codebook size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from anytime_core.devices import resolve_device
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.run import load
from anytime_core.sampling.noise import Noise, noise_of
from anytime_core.sampling.steps import steps
from benchmarks.report import Row, device_name, median_seconds, show

_REFERENCE = ("plain", 16, 1)
_OTHERS = (
    ("plain", 1, 1),
    ("eager", 1, 1),
    ("eager", 32, 1),
    ("eager", 512, 2),
    ("numba", 1, 2),
    ("numba", 32, 1),
    ("exact", 16, 1),
)
"""Engine, batch and number of threads; a larger batch than there are samples has each of them several times."""
_OTHERS_ON_A_GPU = (("plain", 1, 1), ("eager", 1, 1), ("eager", 32, 1), ("graph", 1, 1), ("graph", 32, 1))


def cumulative(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Cumulative probabilities of logits, [C, K] both, up to 1."""
    summed = logits.to(dtype).softmax(-1).cumsum(-1)
    return summed / summed[:, -1:]


_CODES = 100
"""How many codes are drawn to measure the time of one."""


@dataclass(frozen=True)
class Way:
    """How a code is drawn.

    Attributes:
        kind: of its noise, one number a code, or of `gumbel` one for each value.
        prepare: logits [C, K] -> what `draw` is given, made once.
        draw: that and noise [C, G] -> codes [C].
    """

    kind: Literal["gumbel", "uniform"]
    prepare: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor, Tensor], Tensor]


def _inverse(dtype: torch.dtype) -> Way:
    return Way(
        "uniform",
        lambda logits: cumulative(logits, dtype),
        lambda summed, noise: torch.searchsorted(summed, noise.to(dtype)).squeeze(-1),
    )


WAYS = {
    "gumbel": Way("gumbel", lambda logits: logits, lambda logits, noise: (logits + noise).argmax(-1)),
    "uniform, float32": _inverse(torch.float32),
    "uniform, float64": _inverse(torch.float64),
}


@torch.inference_mode()
def logits_of(prior: CausalPrior, codes: Tensor, labels: Tensor | None, way: tuple[str, int, int]) -> Tensor:
    """Logits [B, N, K] of codes [B, N], as an engine finds them in batches of a size by a number of threads."""
    name, size, threads = way
    engine = prior.engines()[name](prior, "float32")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    parts = []
    for first in range(0, len(codes), size):
        rows = torch.arange(first, first + size, device=codes.device) % len(codes)
        found: list[Tensor] = []

        def choose(position: int, logits: Tensor, rows: Tensor = rows, found: list[Tensor] = found) -> Tensor:
            found.append(logits.clone())
            return codes[rows, position]

        stepper = engine.open(None if labels is None else labels[rows], size, codes.shape[1])
        for _ in steps(stepper, range(codes.shape[1]), choose):
            pass
        parts.append(torch.stack(found, 1)[: len(codes) - first])
    torch.set_num_threads(before)
    return torch.cat(parts)


def flips(logits: Tensor, others: list[Tensor], draws: int) -> Iterator[tuple[list[int], int]]:
    """By each way the flips of others [B, N, K] against `logits`, and how many codes were drawn."""
    batch, length, size = logits.shape
    for way in WAYS.values():
        need = NoiseNeed(way.kind, size if way.kind == "gumbel" else 1)
        reference, *prepared = (way.prepare(each.flatten(0, 1)) for each in (logits, *others))
        counts, drawn = [0] * len(others), 0
        while drawn < draws:
            noise = noise_of(0, range(drawn, drawn + batch), length, need, logits.device).whole().flatten(0, 1)
            codes = way.draw(reference, noise)
            for index, other in enumerate(prepared):
                counts[index] += int((way.draw(other, noise) != codes).sum())
            drawn += batch * length
        yield counts, drawn


def compare(prior: CausalPrior, codes: Tensor, labels: Tensor | None, draws: int) -> None:
    """Print flips in a million codes, of each way by each engine, and how far the logits are apart."""
    logits = logits_of(prior, codes, labels, _REFERENCE)
    ways = _OTHERS if prior.device.type == "cpu" else _OTHERS_ON_A_GPU
    others = [logits_of(prior, codes, labels, way) for way in ways]
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    table = Table("engine", "batch", "threads", "logits apart, mean", *WAYS, title=f"Flips a million, {device_name()}")
    counted = list(flips(logits, others, draws))
    for index, (way, other) in enumerate(zip(ways, others, strict=True)):
        rates = (f"{counts[index] / drawn * 1e6:.2f}" for counts, drawn in counted)
        table.add_row(*map(str, way), f"{(other - logits).abs().mean():.1e}", *rates)
    Console().print(
        table, f"{counted[0][1]:,} codes each; mean entropy {entropy:.2f} nats of {np.log(logits.shape[-1]):.2f}"
    )


def random_prior() -> TransformerPrior:
    """Of random weights, as sure of its codes as a trained one may be."""
    torch.manual_seed(0)
    config = TransformerConfig(layers=6, width=512, heads=8, feedforward=4)
    prior = TransformerPrior(config, CodeSpec(length=100, size=500, dim=1, grid=(100,)))
    with torch.no_grad():
        prior.head.weight.mul_(4)
    return prior.eval()


def exponentials(indices: range, length: int, size: int) -> Tensor:
    """Gumbel noise [B, n, K] by numpy's exponential numbers, drawn one after another: what there was before."""
    keys = (np.array([0, index], dtype=np.uint64) for index in indices)
    streams = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
    noise = np.empty((len(indices), length * size), dtype=np.float32)
    for row, stream in zip(noise, streams, strict=True):
        stream.standard_exponential(dtype=np.float32, out=row)
    return torch.from_numpy(noise).clamp_(min=torch.finfo(torch.float32).tiny).log_().neg_().view(-1, length, size)


def times() -> list[Row]:
    """Nanoseconds a number, by batch, n and K."""
    rows = []
    for batch, length, size in ((1, 100, 500), (64, 100, 500), (512, 8, 500), (64, 16, 16)):
        need = NoiseNeed("gumbel", size)

        def counted(batch: int = batch, length: int = length, need: NoiseNeed = need) -> None:
            noise = noise_of(0, range(batch), length, need)
            for position in range(length):
                noise.at(position)

        ours, peer = median_seconds([counted, partial(exponentials, range(batch), length, size)])
        scale = 1e9 / (batch * length * size)
        name = f"batch {batch}, {length} codes of {size}"
        rows.append(Row(name, ours * scale, peer * scale, "exponential numbers", peer / ours, "ns"))
    return rows


def times_on(device: torch.device) -> Iterator[Row]:
    """Nanoseconds a number of codes that are drawn on a GPU, by batch and K, against torch's exponential numbers."""
    for batch, size in ((1, 500), (64, 500), (512, 500), (4096, 500), (4096, 32)):
        need = NoiseNeed("gumbel", size)
        here, there = (
            noise_of(0, range(batch), 1, need, place).whole().cpu() for place in (torch.device("cpu"), device)
        )
        apart = (here != there).double().mean()
        noise, logits = noise_of(0, range(batch), _CODES, need, device), torch.randn(batch, size).to(device)

        def ours(noise: Noise = noise, logits: Tensor = logits) -> None:
            for position in range(_CODES):
                noise.largest_sum(position, logits)

        def torchs(logits: Tensor = logits) -> None:
            for _ in range(_CODES):
                (logits - torch.empty_like(logits).exponential_().log_()).argmax(-1)

        seconds, peer = (each * 1e9 / (_CODES * batch * size) for each in median_seconds([ours, torchs]))
        name = f"batch {batch}, codes of {size}; {apart * 1e6:.1f} of a million numbers are not those of the CPU"
        yield Row(name, seconds, peer, "torch's exponential numbers", peer / seconds, "ns")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Compare kinds of noise.")
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=10_000_000, help="codes drawn by each way, default: 10000000")
    parser.add_argument("--samples", type=int, default=32, help="sequences of codes, default: 32")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    if arguments.run is None:
        prior, labels = random_prior().to(device), None
        codes = torch.randint(prior.codebook_size, (arguments.samples, prior.code_length))
    else:
        run = load(arguments.run, device=str(device))
        prior, samples = run.require_prior(), run.sample(arguments.samples)
        assert isinstance(prior, CausalPrior)  # as plans of others decide what is drawn after what
        codes, labels = samples.codes[:, : prior.code_length], samples.labels
    labels = None if labels is None else labels.to(device)
    compare(prior, codes.to(device), labels, arguments.draws)
    show("Time of noise", times() if device.type == "cpu" else times_on(device), None)


if __name__ == "__main__":
    main()
