"""Captured work, and engines that capture theirs, by graphs that are recorded on the CPU."""

import pytest
import torch
from drawing import codes_of, draw_from

from anytime_core.capture import Pool, capture, require_capture
from anytime_core.errors import AnytimeError, UsageError
from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.sampling.noise import noise_of

CPU = torch.device("cpu")


def captured(work):
    return capture(work, CPU, what="this", way_out="do that")


@pytest.mark.usefixtures("recorded_graphs")
def test_capturing_does_no_work_and_each_replay_does_it_again():
    x, steps = torch.zeros(3), []

    def work():
        steps.append(None)
        x[1:].add_(1)
        return x * 2

    made = captured(work)
    assert x.tolist() == [0, 0, 0]
    for number in (1, 2):
        made.replay()
        assert x.tolist() == [0, number, number]
        assert made.result.tolist() == [0, 2 * number, 2 * number]
    x.copy_(torch.tensor([5.0, 6.0, 7.0]))
    made.replay()
    assert made.result.tolist() == [10, 14, 16]
    assert len(steps) == 1


@pytest.mark.usefixtures("recorded_graphs")
@pytest.mark.parametrize(
    "work", [lambda: torch.ones(1).item(), lambda: torch.ones(3).nonzero(), lambda: torch.tensor([1.0])]
)
def test_what_waits_for_the_device_cannot_be_captured(work):
    with pytest.raises(AnytimeError, match=r"this cannot be captured as a CUDA graph here .*not permitted.*: do that$"):
        captured(work)


def test_work_needs_a_device_with_graphs(monkeypatch):
    with pytest.raises(UsageError, match=r"^engine 'x' needs a CUDA device, not 'cpu': use y$"):
        require_capture(CPU, what="engine 'x'", way_out="use y")

    def full(work, device, beside):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    monkeypatch.setattr("anytime_core.capture._captured", full)
    with pytest.raises(AnytimeError, match=r"^no memory on cpu to capture this, or another process holds it: do that$"):
        captured(lambda: None)


def test_a_pool_keeps_what_was_used_last():
    pool = Pool()
    for number in range(6):
        pool.give_back(number % 3, number)
    assert [pool.take(0), pool.take(0)] == [3, None]
    assert pool.take(2) == 5


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("length", [3, 8, 11])
def test_captured_loops_draw_the_codes_of_the_plain_engine_batch_after_batch(graph_device, length, guidance):
    torch.manual_seed(0)
    config = TransformerConfig(layers=2, width=16, heads=2, label_dropout=0.1)
    prior = PRIORS["transformer"](config, codes_of(11, 7, classes=3)).eval().to(graph_device)
    torch.nn.init.normal_(prior.head.weight, std=0.5)
    engines = {name: prior.engines()[name](prior, "float32") for name in ("plain", "graph")}
    for seed in (0, 1):
        labels, noise = (
            torch.arange(5, device=graph_device) % 3,
            noise_of(seed, range(5), length, NoiseNeed("gumbel", 7), graph_device),
        )
        drawn = []
        for engine in engines.values():
            *_, codes = draw_from(engine, labels, noise, Shaping(0.8, top_k=5), guidance)
            drawn.append(codes.clone())
        assert torch.equal(*drawn)
