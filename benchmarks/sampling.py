"""Drawing codes with each engine against the generation loops of transformers and x-transformers, and against limits.

python -m benchmarks.sampling [--batches 1,64,512] [--engines eager,numba] [--kv-heads H] [--repeats R] [--json FILE]

All draw 100 codes at temperature 1 from randomly initialised transformers of the same sizes. An engine is compared with
peers that compute at least as exactly as it does: reduced precision with all of them, float32 with float32. The time of
ours includes its noise. Rows are printed, and written to the file, as they are measured. Large batches on a CPU, of
which one turn takes minutes, are measured once.

Letters: B batch, n codes to draw, N code length, K codebook size.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.devices import multiplies_bfloat16
from anytime_core.priors.transformer.model import TransformerPrior
from benchmarks.contenders import Contender, Sizes, as_exact_as, libraries, make, peer_names
from benchmarks.report import Row, device, median_seconds, result_file, show, whole_numbers

_BATCHES = "1,64,512"
_BUDGETS = (0.25, 0.5)
_LARGEST_INT8, _LARGEST_PLAIN = 16, 16
"""Batches: weights of 8 bits are for small ones, and without a cache larger ones take minutes on the CPU."""
_LIMIT = 60.0
"""Seconds after which a comparison takes no further turn."""
_SQUARES = {"cpu": (1024, 1536, 2048), "cuda": (2048, 4096, 8192)}
"""Sizes of the products that say what the device can do."""


def compare(batch: int, engines: Sequence[str], sizes: Sizes, repeats: int) -> Iterator[Row]:
    """The rows of one batch."""
    torch.compiler.reset()  # what was compiled for another batch would be made to fit this one too, and slower
    length = sizes.length
    ours = [make(name, precision, sizes) for name, precision in _our_names(batch, engines)]
    if not ours:
        return
    peers = [make(name, precision, sizes) for name, precision in _peer_names(batch)]
    everyone = [*ours, *peers]
    print(f"batch {batch}: {'; '.join(one.label for one in everyone)}", file=sys.stderr, flush=True)
    for contender in everyone:
        contender.run(batch, 2)  # what compiles does it now
    calls = [partial(contender.run, batch, length) for contender in everyone]
    taken = median_seconds(calls, repeats=repeats, warmup=1, limit=_LIMIT)
    seconds = dict(zip(everyone, taken, strict=True))
    best = min(as_exact_as("float32", ours) or ours, key=seconds.__getitem__)
    rivals = as_exact_as("float32", libraries(peers))
    rival = min(rivals, key=seconds.__getitem__)
    pair, name = (best, rival), f"batch {batch}, {best.label}"
    yield from _throughputs(batch, ours, peers, seconds)
    yield _less_is_better(name, [seconds[one] / length * 1e3 for one in pair], rival, "ms per code")
    yield from _times(batch, best, rivals, length, repeats)
    yield _share_of_products(batch, best, seconds[best], sizes, repeats)
    if batch == 1 and device().type == "cpu":
        yield _share_of_reading(best, seconds[best], sizes, repeats)
    peaks = [_in_fresh_process(_peak, one.name, one.precision, batch, sizes) / 1e6 for one in pair]
    yield _less_is_better(f"{name}, peak memory", peaks, rival, "MB")


def _throughputs(
    batch: int, ours: Sequence[Contender], peers: Sequence[Contender], seconds: dict[Contender, float]
) -> Iterator[Row]:
    """Each of ours against the best library, then the best of ours against each peer that is left."""

    def row(contender: Contender, peer: Contender) -> Row:
        rate, peer_rate = batch / seconds[contender], batch / seconds[peer]
        name = f"batch {batch}, {contender.label}"
        return Row(name, rate, peer_rate, peer.label, ratio=rate / peer_rate, unit="samples/s")

    compared = set()
    for contender in ours:
        best = min(as_exact_as(contender.precision, libraries(peers)), key=seconds.__getitem__)
        compared.add(best)
        yield row(contender, best)
    for peer in peers:
        exact = as_exact_as(peer.precision, ours)
        if peer not in compared and exact:
            yield row(min(exact, key=seconds.__getitem__), peer)


def _times(batch: int, best: Contender, rivals: Sequence[Contender], length: int, repeats: int) -> Iterator[Row]:
    """Time until something can be decoded, and time by budget."""
    lengths = [*(round(length * budget) for budget in _BUDGETS), length]
    begins = [partial(contender.begin, batch) for contender in (best, *rivals)]
    runs = [partial(best.run, batch, wanted) for wanted in lengths]
    seconds = median_seconds([*begins, *runs], repeats=repeats, warmup=1, limit=_LIMIT / 2)
    (own, *others), (*short, full) = seconds[: len(begins)], seconds[len(begins) :]
    other, rival = min(zip(others, rivals, strict=True), key=lambda pair: pair[0])
    name = f"batch {batch}, {best.label}"
    yield _less_is_better(f"{name}, until the first decodable sample", [own * 1e3, other * 1e3], rival, "ms")
    for budget, taken in zip(_BUDGETS, short, strict=True):
        # Over 1 where the time is less than the budget's share of the full time.
        yield Row(f"{name}, budget {budget:g}", taken, full, "budget 1", ratio=full / taken * budget, unit="s")


def _share_of_products(batch: int, best: Contender, seconds: float, sizes: Sizes, repeats: int) -> Row:
    """Multiply-adds with weights, without those of attention, against large products on their own."""
    squares = [torch.randn(size, size, device=device()) for size in _SQUARES[device().type]]
    taken = median_seconds([partial(torch.matmul, square, square) for square in squares], repeats=repeats)
    limit = max(2 * len(square) ** 3 / time for square, time in zip(squares, taken, strict=True)) / 1e9
    achieved = 2 * sizes.weights * batch * sizes.length / seconds / 1e9
    name = f"batch {batch}, {best.label}, share of the measured matrix rate"
    return Row(name, achieved, limit, "matrix products alone", ratio=achieved / limit, unit="GFLOP/s")


def _share_of_reading(best: Contender, seconds: float, sizes: Sizes, repeats: int) -> Row:
    """Weights read by a batch of one, each once a code, against matrix-vector products on their own.

    Those find the weights as cold as a step does, and are tried in both layouts and on one thread, too.
    """
    rows = [torch.randn(outputs, inputs) for inputs, outputs in sizes.matrices]
    calls = [
        partial(_multiply, matrices, threads)
        for matrices in (rows, [matrix.T.contiguous().T for matrix in rows])
        for threads in {1, torch.get_num_threads()}
    ]
    size = sizes.weights * 4 / 1e9
    achieved, limit = size * sizes.length / seconds, size / min(median_seconds(calls, repeats=repeats))
    name = f"batch 1, {best.label}, share of the rate at which weights can be read"
    return Row(name, achieved, limit, "matrix-vector products alone", ratio=achieved / limit, unit="GB/s")


def _multiply(matrices: Sequence[Tensor], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for matrix in matrices:
        torch.mv(matrix, matrix[0].new_ones(matrix.shape[1]))
    torch.set_num_threads(before)


def _in_fresh_process(call: Callable[..., int], *arguments: object) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(call, *arguments).result()


def _peak(name: str, precision: str, batch: int, sizes: Sizes) -> int:
    """Most bytes at a time that a contender takes in this process, for its weights, its code and one run."""
    before = _resident("VmRSS")
    make(name, precision, sizes).run(batch, sizes.length)
    return torch.cuda.max_memory_allocated() if device().type == "cuda" else _resident("VmHWM") - before


def _resident(kind: str) -> int:
    """Bytes of this process's memory by the name that Linux gives them; `ru_maxrss` would count the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) * 1024


def _our_names(batch: int, engines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Engine and precision of those that are asked for and run such a batch on this device."""
    asked = (*_precisions(), "int8") if batch <= _LARGEST_INT8 else _precisions()
    for engine in engines:
        if engine != "numba" or device().type == "cpu":
            has = TransformerPrior.engines()[engine].precisions
            yield from ((engine, precision) for precision in asked if precision in has)


def _peer_names(batch: int) -> Iterator[tuple[str, str]]:
    yield from ((name, precision) for name in peer_names(batch) for precision in _precisions())
    if device().type == "cuda" or batch <= _LARGEST_PLAIN:
        yield "plain", "float32"


def _precisions() -> tuple[str, ...]:
    return ("float32", "bfloat16") if multiplies_bfloat16(device()) else ("float32",)


def _less_is_better(name: str, pair: Sequence[float], rival: Contender, unit: str) -> Row:
    ours, peer = pair
    return Row(name, ours, peer, rival.label, ratio=peer / ours, unit=unit)


def main() -> None:
    """Print and write the rows of each batch."""
    usual = "eager,numba" if device().type == "cpu" else "eager,graph"
    parser = argparse.ArgumentParser(description="Compare drawing codes with peers and limits.")
    parser.add_argument("--batches", type=whole_numbers, default=_BATCHES, help=f"default: {_BATCHES}")
    parser.add_argument(
        "--engines", default=usual, help=f"some of {', '.join(TransformerPrior.engines())}; default here: {usual}"
    )
    parser.add_argument("--kv-heads", type=int, help="heads of keys and values; default: as many as of queries")
    parser.add_argument("--repeats", type=int, default=5, help="most turns that count; default: 5")
    parser.add_argument("--json", type=result_file, help="file for the results")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    if unknown := [engine for engine in engines if engine not in TransformerPrior.engines()]:
        parser.error(f"no engine '{unknown[0]}': use {', '.join(TransformerPrior.engines())}")
    if "graph" in engines and device().type != "cuda":
        parser.error("engine 'graph' needs a GPU: leave it out")
    if arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats} measures nothing: use 1 or more")
    heads = Sizes().heads
    if arguments.kv_heads is not None and (arguments.kv_heads < 1 or heads % arguments.kv_heads):
        parser.error(f"--kv-heads {arguments.kv_heads} does not divide the {heads} heads of queries: use 1, 2, 4 or 8")
    warnings.simplefilter("ignore")
    sizes = Sizes(kv_heads=arguments.kv_heads)
    rows = (row for batch in arguments.batches for row in compare(batch, engines, sizes, arguments.repeats))
    show("Drawing codes", rows, arguments.json)


if __name__ == "__main__":
    main()
