"""Drawing codes with each engine against the generation loops of transformers and x-transformers, and against limits.

Run with `python -m benchmarks.sampling [--repeats R] [--json FILE]`. All draw 100 codes at temperature 1 from randomly
initialised transformers of the same sizes. An engine is compared with peers that compute at least as exactly as it
does: reduced precision with all of them, float32 with float32. The time of ours includes its noise.

Letters: B batch, n codes to draw, N code length, K codebook size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

from anytime_core.devices import multiplies_bfloat16
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import CapturedEngine
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.sampling.captured import CapturedLoops
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.steps import drawing, prefixes
from benchmarks.report import Row, device, median_seconds, report

_PRIOR = TransformerConfig(layers=6, width=512, heads=8, feedforward=4)
_N, _K = 100, 500
_BATCHES = (1, 64, 512)
_BUDGETS = (0.25, 0.5)
_LARGEST_NUMBA, _LARGEST_PLAIN = 16, 64
"""Batches: numba is for small ones, and without a cache large ones take minutes on the CPU."""
_SQUARES = {"cpu": (1024, 1536, 2048), "cuda": (2048, 4096, 8192)}
"""Sizes of the products that say what the device can do."""
_EXACTNESS = ("int8", "bfloat16", "float32")


@dataclass(frozen=True, eq=False)
class Contender:
    """One way to draw codes.

    Attributes:
        name: of the engine or the peer.
        precision: of its products.
        run: draws (B, n).
        begin: does what it takes to have something that can be decoded, of B samples.
    """

    name: str
    precision: str
    run: Callable[[int, int], object]
    begin: Callable[[int], object]

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name}, {self.precision}"


def measure(repeats: int) -> Sequence[Row]:
    """The rows of every batch."""
    _silence()
    return [row for batch in _BATCHES for row in _compare(batch, repeats)]


def _compare(batch: int, repeats: int) -> list[Row]:
    torch.compiler.reset()  # what was compiled for another batch would be made to fit this one too, and slower
    ours = [make(name, precision) for name, precision in _our_names(batch)]
    peers = [make(name, precision) for name, precision in _peer_names(batch)]
    everyone = [*ours, *peers]
    calls = [partial(contender.run, batch, _N) for contender in everyone]
    seconds = dict(zip(everyone, median_seconds(calls, repeats=repeats, warmup=1), strict=True))
    best = min(_as_exact_as("float32", ours), key=seconds.__getitem__)
    rivals = _as_exact_as("float32", _libraries(peers))
    rival = min(rivals, key=seconds.__getitem__)
    pair, name = (best, rival), f"batch {batch}, {best.label}"
    rows = [
        *_throughputs(batch, ours, peers, seconds),
        _less_is_better(name, [seconds[one] / _N * 1e3 for one in pair], rival, "ms per code"),
        *_times(batch, best, rivals, repeats),
        _share_of_products(batch, best, seconds[best], repeats),
    ]
    if batch == 1 and device().type == "cpu":
        rows.append(_share_of_reading(best, seconds[best], repeats))
    peaks = [_in_fresh_process(_peak, one.name, one.precision, batch) / 1e6 for one in pair]
    return [*rows, _less_is_better(f"{name}, peak memory", peaks, rival, "MB")]


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
        best = min(_as_exact_as(contender.precision, _libraries(peers)), key=seconds.__getitem__)
        compared.add(best)
        yield row(contender, best)
    for peer in peers:
        if peer not in compared:
            yield row(min(_as_exact_as(peer.precision, ours), key=seconds.__getitem__), peer)


def _times(batch: int, best: Contender, rivals: Sequence[Contender], repeats: int) -> Iterator[Row]:
    """Time until something can be decoded, and time by budget."""
    lengths = [*(round(_N * budget) for budget in _BUDGETS), _N]
    begins = [partial(contender.begin, batch) for contender in (best, *rivals)]
    runs = [partial(best.run, batch, length) for length in lengths]
    seconds = median_seconds([*begins, *runs], repeats=repeats, warmup=1)
    (own, *others), (*short, full) = seconds[: len(begins)], seconds[len(begins) :]
    other, rival = min(zip(others, rivals, strict=True), key=lambda pair: pair[0])
    name = f"batch {batch}, {best.label}"
    yield _less_is_better(f"{name}, until the first decodable sample", [own * 1e3, other * 1e3], rival, "ms")
    for budget, taken in zip(_BUDGETS, short, strict=True):
        # Over 1 where the time is less than the budget's share of the full time.
        yield Row(f"{name}, budget {budget:g}", taken, full, "budget 1", ratio=full / taken * budget, unit="s")


def _share_of_products(batch: int, best: Contender, seconds: float, repeats: int) -> Row:
    """Multiply-adds with weights, without those of attention, against large products on their own."""
    squares = [torch.randn(size, size, device=device()) for size in _SQUARES[device().type]]
    taken = median_seconds([partial(torch.matmul, square, square) for square in squares], repeats=repeats)
    limit = max(2 * len(square) ** 3 / time for square, time in zip(squares, taken, strict=True)) / 1e9
    achieved = 2 * _weights() * batch * _N / seconds / 1e9
    name = f"batch {batch}, {best.label}, share of the measured matrix rate"
    return Row(name, achieved, limit, "matrix products alone", ratio=achieved / limit, unit="GFLOP/s")


def _share_of_reading(best: Contender, seconds: float, repeats: int) -> Row:
    """Weights read by a batch of one, each once a code, against matrix-vector products on their own.

    Those find the weights as cold as a step does, and are tried in both layouts and on one thread, too.
    """
    rows = [torch.randn(outputs, inputs) for inputs, outputs in _matrices()]
    calls = [
        partial(_multiply, matrices, threads)
        for matrices in (rows, [matrix.T.contiguous().T for matrix in rows])
        for threads in {1, torch.get_num_threads()}
    ]
    size = _weights() * 4 / 1e9
    achieved, limit = size * _N / seconds, size / min(median_seconds(calls, repeats=repeats))
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


def _peak(name: str, precision: str, batch: int) -> int:
    """Most bytes at a time that a contender takes in this process, for its weights, its code and one run."""
    _silence()
    before = _resident("VmRSS")
    make(name, precision).run(batch, _N)
    return torch.cuda.max_memory_allocated() if device().type == "cuda" else _resident("VmHWM") - before


def _resident(kind: str) -> int:
    """Bytes of this process's memory by the name that Linux gives them; `ru_maxrss` would count the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) * 1024


def _our_names(batch: int) -> Iterator[tuple[str, str]]:
    """Engine and precision of those that are compared on this device."""
    engines = ("eager",) if device().type == "cpu" else ("eager", "graph")
    yield from ((engine, precision) for engine in engines for precision in _precisions())
    if device().type == "cpu" and batch <= _LARGEST_NUMBA:
        yield from (("numba", precision) for precision in ("float32", "int8"))


def _peer_names(batch: int) -> Iterator[tuple[str, str]]:
    on_cpu = device().type == "cpu"
    names = ["transformers", "x-transformers"]
    if on_cpu and batch == 1 and torch.get_num_threads() > 1:
        names += ["transformers on one thread", "x-transformers on one thread"]
    if not on_cpu:
        names += ["transformers, static cache", "transformers, static cache and compiled"]
    yield from ((name, precision) for name in names for precision in _precisions())
    if not on_cpu or batch <= _LARGEST_PLAIN:
        yield "plain", "float32"


def _precisions() -> tuple[str, ...]:
    return ("float32", "bfloat16") if multiplies_bfloat16(device()) else ("float32",)


def make(name: str, precision: str) -> Contender:
    """The contender of that name, with fresh weights."""
    torch.manual_seed(0)
    if name in TransformerPrior.engines():
        return _engine(name, precision)
    library, one_thread, _ = name.partition(" on one thread")
    generate = _PEERS[library](torch.float32 if precision == "float32" else torch.bfloat16)

    def run(batch: int, length: int) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(1 if one_thread else before)
        generate(torch.full((batch, 1), _K, device=device()), length)
        torch.set_num_threads(before)

    return Contender(name, precision, run, lambda batch: run(batch, 1))


def _engine(name: str, precision: str) -> Contender:
    prior = TransformerPrior(_PRIOR, CodeSpec(length=_N, size=_K, dim=1, grid=(_N,))).to(device()).eval()
    engine = TransformerPrior.engines()[name](prior, precision)
    head, loops = prior.distribution, CapturedLoops(engine, prior) if isinstance(engine, CapturedEngine) else None

    def draw(batch: int, length: int) -> Iterator[Tensor]:
        noise = noise_of(0, range(batch), length, head.noise, device())
        if loops is not None:
            return loops.prefixes(None, noise, length, Shaping(), 1.0)
        return prefixes(engine.open(None, batch, length), batch, length, drawing(head, noise, Shaping()), device())

    def run(batch: int, length: int) -> None:
        for _ in draw(batch, length):
            pass

    return Contender(name, precision, run, lambda batch: next(draw(batch, _N)))


def _transformers(dtype: torch.dtype, **cache: object) -> Callable[[Tensor, int], object]:
    config = GPT2Config(
        vocab_size=_K + 1,
        n_positions=_N + 1,
        n_embd=_PRIOR.width,
        n_layer=_PRIOR.layers,
        n_head=_PRIOR.heads,
        n_inner=_PRIOR.width * _PRIOR.feedforward,
        bos_token_id=_K,
        eos_token_id=None,
    )
    model: Any = GPT2LMHeadModel(config)  # mypy does not see through its decorated methods
    model.to(device(), dtype).eval()

    def generate(begin: Tensor, length: int) -> object:
        return model.generate(
            begin,
            attention_mask=torch.ones_like(begin),
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=True,
            top_k=0,
            pad_token_id=_K,
            **cache,
        )

    return generate


def _x_transformers(dtype: torch.dtype) -> Callable[[Tensor, int], object]:
    layers = Decoder(dim=_PRIOR.width, depth=_PRIOR.layers, heads=_PRIOR.heads, attn_flash=True)
    network = TransformerWrapper(num_tokens=_K + 1, max_seq_len=_N + 1, attn_layers=layers)
    model = AutoregressiveWrapper(network).to(device(), dtype).eval()
    return partial(model.generate, temperature=1.0, filter_logits_fn=lambda logits: logits, cache_kv=True)


_PEERS: dict[str, Callable[[torch.dtype], Callable[[Tensor, int], object]]] = {
    "transformers": _transformers,
    "transformers, static cache": partial(_transformers, cache_implementation="static", disable_compile=True),
    "transformers, static cache and compiled": partial(_transformers, cache_implementation="static"),
    "x-transformers": _x_transformers,
}


def _as_exact_as(precision: str, contenders: Sequence[Contender]) -> list[Contender]:
    """Those that compute in `precision` or in a more exact one."""
    least = _EXACTNESS.index(precision)
    return [contender for contender in contenders if _EXACTNESS.index(contender.precision) >= least]


def _libraries(peers: Sequence[Contender]) -> list[Contender]:
    """The peers without our own loop that has no cache."""
    return [peer for peer in peers if peer.name not in TransformerPrior.engines()]


def _matrices() -> list[tuple[int, int]]:
    """Inputs and outputs of every matrix that a code goes through."""
    width = _PRIOR.width
    hidden = width * _PRIOR.feedforward
    return [*[(width, 3 * width), (width, width), (width, hidden), (hidden, width)] * _PRIOR.layers, (width, _K)]


def _weights() -> int:
    return sum(inputs * outputs for inputs, outputs in _matrices())


def _less_is_better(name: str, pair: Sequence[float], rival: Contender, unit: str) -> Row:
    ours, peer = pair
    return Row(name, ours, peer, rival.label, ratio=peer / ours, unit=unit)


def _silence() -> None:
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    report("Drawing codes", measure, repeats=5)
