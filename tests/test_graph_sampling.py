"""Runs that draw by captured graphs: every budget, streams, completion and guidance give what engine eager gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawing import keyed_noise
from torch import Tensor

import anytime_core.capture
from anytime_core.capture import Pool
from anytime_core.errors import AnytimeError
from anytime_core.priors.heads import Categorical, NoiseNeed
from anytime_core.priors.shaping import Shaping
from anytime_core.run import Run, load
from anytime_core.sampling import code_sampler
from anytime_core.sampling.choices import Drawing
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.triton_support import runs_triton

CODES = 8
WAYS: dict[str, Callable[[Run, SamplingOptions], list[Tensor]]] = {
    "all codes": lambda run, options: _codes(run, 1.0, options),
    "5 codes": lambda run, options: _codes(run, "5codes", options),
    "adaptive": lambda run, options: _codes(run, "adaptive:1.1", options),
    "stream": lambda run, options: [prefix.codes for prefix in run.stream(5, None, options)],
    "stream at budgets": lambda run, options: [prefix.codes for prefix in run.stream(5, ["2codes", "7codes"], options)],
    "complete": lambda run, options: [run.complete(_GIVEN, _KNOWN, label=3, options=options).codes],
}
_GIVEN = torch.arange(3 * CODES).view(3, CODES) % 16
_KNOWN = torch.arange(CODES) < torch.tensor([[0], [3], [8]])


def _codes(run: Run, budget: float | str, options: SamplingOptions) -> list[Tensor]:
    parts = list(run.sample_batches(range(7), budget, options))
    return [part.codes for part in parts] + [part.lengths for part in parts]


@pytest.fixture
def run(graph_device, tiny_folder):
    """A run on a device with graphs."""
    return load(tiny_folder, device=str(graph_device))


@pytest.fixture
def keyed(monkeypatch, graph_device):
    """Noise that captured work makes by itself, as it does where there is Triton."""
    if graph_device.type == "cpu":
        monkeypatch.setattr(code_sampler, "noise_of", keyed_noise)
    elif not runs_triton(graph_device):
        pytest.skip("Triton does not run here")


@pytest.fixture
def captures(monkeypatch, run):
    """What has been captured."""
    made, capture = [], anytime_core.capture._captured
    monkeypatch.setattr(anytime_core.capture, "_captured", lambda *work: made.append(work) or capture(*work))
    return made


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("noise", ["given", "keyed"])
def test_graphs_draw_what_the_eager_engine_draws(request, run, way, noise):
    if noise == "keyed":
        request.getfixturevalue("keyed")
    for seed in (0, 3):  # the second time by the same graphs
        options = {"seed": seed, "batch_size": 4, "temperature": 0.9, "top_k": 12}
        expected, found = (way(run, SamplingOptions(engine=engine, **options)) for engine in ("eager", "graph"))
        assert len(found) == len(expected)
        assert all(map(torch.equal, found, expected))


@pytest.mark.usefixtures("keyed")
def test_graphs_of_one_and_of_several_codes_serve_every_length_and_seed(run, captures):
    for seed in range(3):
        for length in (8, 3, 5):
            run.sample(4, f"{length}codes", engine="graph", seed=seed)
    assert len(captures) == 2
    list(run.stream(4, None, SamplingOptions(engine="graph")))
    assert len(captures) == 2
    run.sample(4, engine="graph", temperature=0.5)
    assert len(captures) == 3


def test_a_stream_that_is_left_leaves_its_graphs_to_the_next_batch(run, captures):
    whole = run.sample(4, engine="graph").codes
    options = SamplingOptions(engine="graph")
    stream = run.stream(4, None, options)
    assert torch.equal(next(stream).codes, whole[:, :1])
    seen = len(captures)
    other = run.stream(4, None, options)  # beside the first one
    assert [torch.equal(prefix.codes, whole[:, : prefix.codes.shape[1]]) for prefix in other] == [True] * CODES
    assert len(captures) == seen + 2  # of one and of eight codes
    assert torch.equal(next(stream).codes, whole[:, :2])
    stream.close()
    assert torch.equal(run.sample(4, engine="graph").codes, whole)


@pytest.mark.parametrize("way", ["all codes", "adaptive", "stream", "complete"])
def test_a_batch_without_memory_leaves_no_loop_and_the_next_one_is_drawn(run, monkeypatch, way):
    options = SamplingOptions(engine="graph")
    expected = WAYS[way](run, options)
    loops = run._source.loops[run._source.engines.get("graph", "float32")]

    def failing(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr("anytime_core.sampling.captured.Loop.draw", failing)
        message = r"^drawing \d samples at a time: out of memory on the GPU, of which another process .* --batch-size"
        with pytest.raises(AnytimeError, match=message):
            WAYS[way](run, options)
    assert not any(loops._pool._free.values())
    assert all(map(torch.equal, WAYS[way](run, options), expected))


def test_batches_go_on_smaller_where_there_is_no_memory_for_larger_ones(tiny_run, monkeypatch):
    draw_batch = code_sampler.CodeSampler._draw
    sizes: list[int] = []

    def draw(self: object, indices: range, *arguments: Any) -> Any:
        sizes.append(len(indices))
        if len(indices) > 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return draw_batch(self, indices, *arguments)

    monkeypatch.setattr(code_sampler.CodeSampler, "_draw", draw)
    parts = list(tiny_run.sample_batches(range(150), "1codes", SamplingOptions(engine="eager")))
    assert sizes == [64, 86, 64, 22]
    assert [index for part in parts for index in part.indices] == list(range(150))
    with pytest.raises(AnytimeError, match="--batch-size"):
        list(tiny_run.sample_batches(range(150), "1codes", SamplingOptions(engine="eager", batch_size=100)))


def test_where_there_is_no_memory_what_is_unused_is_dropped_first():
    pool, attempts = Pool(), []
    pool.give_back("other", "unused")

    def make():
        attempts.append(dict(pool._free))
        if pool._free:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "made"

    with pool.lent(["shape"], make) as lent:
        assert lent == "made"
    assert len(attempts) == 2
    assert pool.take("shape") == "made"
    with pytest.raises(ZeroDivisionError), pool.lent(["shape"], lambda: "broken"):
        raise ZeroDivisionError
    assert pool.take("shape") is None


def test_heads_of_other_kinds_are_given_their_noise():
    class Second(Categorical):
        """Draws in a way of its own."""

        def draw(self, parameters: Tensor, noise: Tensor, shaping: Shaping) -> Tensor:
            return (parameters + noise).topk(2).indices[:, 1]

    parameters = torch.randn(5, 9)
    drawn = []
    for make in (noise_of, keyed_noise):
        noise = make(0, range(5), 4, NoiseNeed("gumbel", 9))
        drawn.append(Drawing(Second(9), noise, Shaping())(2, parameters))
        assert torch.equal(drawn[-1], Second(9).draw(parameters, noise.at(2), Shaping()))
    assert torch.equal(*drawn)
