"""Laws of the engines and their decoders: the plain engine's codes on other kernels."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from drawing import codes_of, draw_from
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anytime_core.errors import AnytimeError, UsageError
from anytime_core.priors.heads import Categorical
from anytime_core.priors.sequence.choice import is_compiled
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import Engine
from anytime_core.priors.transformer import kernels
from anytime_core.priors.transformer.attention import BatchedAttention
from anytime_core.priors.transformer.choice import choose_engine, is_small
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.eager import EagerStepper, SplitStepper, parts
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.numba import FusedAttention, rounded
from anytime_core.priors.transformer.weights import fold
from anytime_core.sampling.engines import Engines
from anytime_core.sampling.noise import GivenNoise, noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.threads import alone

N, K, CLASSES = 6, 20, 3
ENGINES = TransformerPrior.engines()
RUNNABLE = ("plain", "eager", "numba", "exact")
SMALL, SPLIT = 9, 257
"""A batch that is run as one, and one that two threads share unevenly."""
TOLERANCE = 1e-4
"""Of logits, whose standard deviation is about one."""
ROUGH = 0.1
"""Of bfloat16 and int8 at any logit, over the standard deviation of the logits; about twice what they do."""

SHAPES = {
    "as usual": {},
    "one layer": {"layers": 1},
    "one code": {"length": 1},
    "one code, its own vectors": {"length": 1, "vectors": "per position"},
    "width 10": {"width": 10, "heads": 2},
    "width 7": {"width": 7, "heads": 1, "size": 5},
    "heads of one": {"width": 6, "heads": 6, "feedforward": 1},
    "heads in two groups": {"kv_heads": 2},
    "heads in one group": {"kv_heads": 1, "layers": 1},
    "groups of three heads": {"width": 18, "heads": 6, "kv_heads": 2},
    "blocks": {"attention": "local", "block": 2, "length": 7},
    "rows and columns": {"attention": "strided", "grid": (4, 2), "length": 7},
    "summaries": {"attention": "fixed", "block": 3, "length": 7, "kv_heads": 2},
    "one of each": {"width": 1, "heads": 1, "feedforward": 1, "size": 1, "vectors": "none"},
}
VECTORS = ("none", "shared", "per position")
KV_HEADS = (None, 2)
"""Of four heads."""
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)


@cache
def build(
    *,
    vectors: str = "shared",
    classes: int = CLASSES,
    layers: int = 2,
    width: int = 32,
    heads: int = 4,
    kv_heads: int | None = None,
    feedforward: int = 4,
    attention: str = "full",
    block: int | None = None,
    length: int = N,
    grid: tuple[int, ...] | None = None,
    size: int = K,
) -> TransformerPrior:
    """A prior that no test may change."""
    torch.manual_seed(0)
    shape = {"none": None, "shared": (size, 5), "per position": (length, size, 5)}[vectors]
    sizes = {"layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads, "feedforward": feedforward}
    prior = TransformerPrior(
        TransformerConfig(**sizes, attention=attention, block=block),
        codes_of(length, size, classes=classes).model_copy(update={"grid": grid or (length,)}),
        None if shape is None else torch.randn(shape),
    )
    with torch.no_grad():  # as initialised, logits are nearly flat, and norms and biases do nothing
        for parameter in prior.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            else:
                parameter.add_(torch.randn(parameter.shape) * 0.3)
        if shape is not None:
            prior.to_vector.weight.normal_(std=0.1)
    return prior.eval()


@cache
def engine(name: str, prior: TransformerPrior, precision: str = "float32") -> Engine:
    return ENGINES[name](prior, precision)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uncompiled(monkeypatch):
    """The compile engine's step as it is written, which takes no minute."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    yield
    engine.cache_clear()


def class_labels(prior: TransformerPrior, indices: Iterable[int]) -> Tensor | None:
    return torch.tensor([index % prior.classes for index in indices]) if prior.classes else None


def begin(made: Engine, prior: TransformerPrior, length: int, indices=range(SMALL), seed=0, shaping=None):
    noise = noise_of(seed, list(indices), length, prior.distribution.noise)
    return draw_from(made, class_labels(prior, indices), noise, shaping)


def draw(name: str, prior: TransformerPrior, length: int | None = None, **arguments) -> Tensor:
    *_, codes = begin(engine(name, prior), prior, length or prior.code_length, **arguments)
    return codes


@cache
def plain_codes(prior: TransformerPrior, batch: int, shaping: Shaping) -> Tensor:
    return alone(lambda: draw("plain", prior, indices=range(batch), shaping=shaping))


def some_codes(prior: TransformerPrior, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(prior.codebook_size, (batch, prior.code_length), generator=generator)


@torch.inference_mode()
def plain_logits(prior: TransformerPrior, codes: Tensor) -> Tensor:
    """[B, N, K] at every position of `codes` [B, N]."""
    return alone(lambda: prior.conditionals(codes[:, :-1], class_labels(prior, range(len(codes)))))


@torch.inference_mode()
def decoded_logits(made: Engine, codes: Tensor) -> Tensor:
    """The same from a decoder, a position at a time."""
    decoder = made.open(class_labels(made.prior, range(len(codes))), *codes.shape)
    previous = [None, *codes.unbind(1)]
    return torch.stack([decoder.step(n, previous[n]).float().clone() for n in range(codes.shape[1])], 1)


# The codes of the plain engine


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize(
    "shaping",
    [Shaping(), Shaping(0.7, top_k=5), Shaping(top_p=0.8), Shaping(1.5, top_k=9, top_p=0.9), Shaping(temperature=0)],
    ids=["unchanged", "top-k", "top-p", "both", "greedy"],
)
@pytest.mark.parametrize("name", [name for name in RUNNABLE if name != "plain"])
def test_every_engine_draws_the_codes_of_the_plain_one(name, vectors, classes, shaping):
    prior = build(vectors=vectors, classes=classes)
    expected = plain_codes(prior, SMALL, shaping)
    assert len(expected.unique(dim=0)) > 1 or (shaping.temperature == 0 and not classes)
    assert torch.equal(draw(name, prior, shaping=shaping), expected)


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", [name for name in RUNNABLE if name != "plain"])
def test_engines_agree_on_the_smallest_batches(name, batch, vectors):
    prior = build(vectors=vectors)
    assert torch.equal(draw(name, prior, indices=range(batch)), plain_codes(prior, batch, Shaping()))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("kv_heads", KV_HEADS)
@pytest.mark.parametrize("name", ["eager", "numba"])
def test_a_batch_that_is_split_has_the_codes_of_the_plain_one(monkeypatch, name, kv_heads, vectors, classes):
    prior = build(vectors=vectors, classes=classes, kv_heads=kv_heads)
    made, opened = engine(name, prior), []
    open_ = made.open
    monkeypatch.setattr(made, "open", lambda *arguments: opened.append(open_(*arguments)) or opened[-1])
    codes = draw(name, prior, indices=range(SPLIT))
    assert [type(decoder) for decoder in opened] == [SplitStepper]
    assert opened[0].sizes == [129, 128]
    assert torch.equal(codes, plain_codes(prior, SPLIT, Shaping()))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("batch", [1, 2, SMALL])
@pytest.mark.parametrize("name", RUNNABLE)
def test_logits_of_any_shape_are_those_of_the_prior_at_every_position(name, batch, shape):
    prior = build(**shape)
    codes = some_codes(prior, batch)
    expected = plain_logits(prior, codes)
    assert expected.std() > 0.5 or prior.codebook_size == 1
    torch.testing.assert_close(decoded_logits(engine(name, prior), codes), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["eager", "numba"])
def test_logits_of_large_batches_are_those_of_the_prior_at_every_position(name, shape):
    prior = build(**shape)
    codes = some_codes(prior, SPLIT)
    expected = plain_logits(prior, codes)
    torch.testing.assert_close(decoded_logits(engine(name, prior), codes), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("name", "threads", "batch", "attention"),
    [
        ("eager", 1, 40, BatchedAttention),
        ("numba", 1, 40, FusedAttention),
        ("numba", 2, 40, BatchedAttention),
        ("numba", 2, 65, FusedAttention),
    ],
)
def test_attention_is_a_kernel_of_numba_where_each_part_of_a_batch_has_a_thread(name, threads, batch, attention):
    torch.set_num_threads(threads)
    prior = build(kv_heads=2)
    made, codes = engine(name, prior), some_codes(prior, batch)
    stepper = made.open(class_labels(prior, range(batch)), batch, N)
    steppers = stepper.parts if isinstance(stepper, SplitStepper) else [stepper]
    assert {type(part.attention) for part in steppers} == {attention}
    torch.testing.assert_close(decoded_logits(made, codes), plain_logits(prior, codes), rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("two_threads")
def test_a_part_of_a_batch_has_more_rows_where_weights_are_not_packed():
    weights, rounded_weights = fold(build(), torch.float32), fold(build(), torch.bfloat16)
    assert [parts(weights, batch) for batch in (63, 64, 255)] == [1, 2, 2]
    assert [parts(rounded_weights, batch) for batch in (64, 255, 256)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("batch", "weights", "small"), [(16, 2**23 - 1, True), (17, 1, False), (7, 2**23, True), (8, 2**23, False)]
)
def test_a_batch_is_small_for_large_weights_only_if_it_is_very_small(batch, weights, small):
    assert is_small(batch, weights) == small


@pytest.mark.usefixtures("two_threads")
def test_logits_are_the_same_where_a_batch_has_no_equal_parts_for_all_threads():
    torch.set_num_threads(3)
    prior = build()
    codes = some_codes(prior, 256)
    decoder = engine("eager", prior).open(class_labels(prior, range(256)), 256, N)
    assert decoder.sizes == [86, 86, 84]
    expected = plain_logits(prior, codes)
    torch.testing.assert_close(decoded_logits(engine("eager", prior), codes), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch", [1, SMALL])
def test_the_eager_engine_needs_no_packed_weights(monkeypatch, batch):
    monkeypatch.setattr("anytime_core.priors.transformer.eager.can_pack", lambda: False)
    prior = build()
    codes = some_codes(prior, batch)
    expected = plain_logits(prior, codes)
    torch.testing.assert_close(decoded_logits(engine("eager", prior), codes), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("two_threads")
def test_threads_within_a_step_of_numba_change_nothing(monkeypatch):
    prior = build()
    codes = some_codes(prior, 2)
    alone = decoded_logits(engine("numba", prior), codes)
    monkeypatch.setattr("anytime_core.priors.transformer.numba._THREADED_FROM", 0)
    assert engine("numba", prior).open(class_labels(prior, range(2)), 2, N).threads > 1
    assert torch.equal(decoded_logits(engine("numba", prior), codes), alone)


# Other precisions


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize(
    ("name", "precision", "batch"),
    [
        ("eager", "bfloat16", 1),
        ("eager", "bfloat16", SMALL),
        ("eager", "bfloat16", SPLIT),
        ("numba", "int8", 1),
        ("numba", "int8", SMALL),
    ],
)
@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_rounded_weights_give_nearly_the_same_logits(kv_heads, name, precision, batch, vectors):
    prior = build(vectors=vectors, kv_heads=kv_heads)
    codes = some_codes(prior, batch)
    expected = plain_logits(prior, codes)
    off = (decoded_logits(engine(name, prior, precision), codes) - expected).abs() / expected.std()
    assert off.max() < ROUGH
    assert off.mean() < ROUGH / 5
    assert off.mean() > 1e-3  # else nothing was rounded


@pytest.mark.parametrize(("name", "precision"), [("eager", "bfloat16"), ("numba", "int8")])
def test_with_rounded_weights_most_codes_are_the_plain_ones(name, precision):
    prior = build()
    *_, codes = begin(engine(name, prior, precision), prior, N, range(64))
    assert codes.dtype == torch.int64
    assert (codes == plain_codes(prior, 64, Shaping())).float().mean() > 0.8


@given(
    rows=st.integers(1, 5),
    inputs=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    exponents=st.lists(st.integers(-30, 30), min_size=5, max_size=5),
)
@settings(max_examples=50, deadline=None)
def test_rounding_a_row_is_off_by_half_a_step_at_most(rows, inputs, seed, exponents):
    matrix = torch.randn(2, rows, inputs, generator=torch.Generator().manual_seed(seed))
    matrix *= 10.0 ** torch.tensor(exponents[:rows]).unsqueeze(1)
    integers, scale = rounded(matrix)
    assert (integers.dtype, integers.shape, scale.shape) == (torch.int8, matrix.shape, matrix.shape[:-1])
    assert (integers.abs().amax(-1) == 127).all()
    step = scale.unsqueeze(-1)
    assert ((integers * step - matrix).abs() <= step * 0.5001).all()


def test_rows_of_zeros_stay_zeros():
    matrix = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    integers, scale = rounded(matrix)
    assert (scale > 0).all()
    assert torch.equal((integers * scale.unsqueeze(-1))[[0, 2]], matrix[[0, 2]])
    assert integers[1].tolist() == [64, -127, 32]


def test_int8_bears_weights_of_zero():
    prior = deepcopy(build())
    with torch.no_grad():
        prior.blocks[0].expand.weight[3:7] = 0
        prior.blocks[1].project.weight.zero_()
        prior.head.weight[2] = 0
        prior.to_vector.weight.zero_()
    codes = some_codes(prior, 2)
    expected = plain_logits(prior, codes)
    off = (decoded_logits(ENGINES["numba"](prior, "int8"), codes) - expected).abs() / expected.std()
    assert off.max() < ROUGH


# A prefix, an index, a generator


@pytest.mark.parametrize("name", RUNNABLE)
@given(length=st.integers(1, N), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=8, deadline=None)
def test_codes_at_a_smaller_budget_are_the_first_ones_at_a_larger_budget(name, length, seed):
    prior = build()
    assert torch.equal(draw(name, prior, length, seed=seed), draw(name, prior, seed=seed)[:, :length])


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_sample_follows_from_the_seed_and_its_index_alone(name):
    prior = build()
    together = draw(name, prior)
    assert len(together.unique(dim=0)) == SMALL
    for index in range(SMALL):
        assert torch.equal(draw(name, prior, indices=[index])[0], together[index])
    assert torch.equal(draw(name, prior, indices=[7, 2]), together[[7, 2]])


@pytest.mark.usefixtures("two_threads")
def test_a_sample_of_a_split_batch_is_the_one_drawn_alone():
    prior = build()
    together = draw("eager", prior, indices=range(SPLIT))
    for index in (0, 128, 129, 256):
        assert torch.equal(draw("eager", prior, indices=[index])[0], together[index])


@pytest.mark.parametrize("name", RUNNABLE)
def test_an_engine_gives_growing_views_of_the_same_codes(name):
    prior = build()
    views = list(begin(engine(name, prior), prior, N))
    assert [tuple(codes.shape) for codes in views] == [(SMALL, n) for n in range(1, N + 1)]
    assert {codes.data_ptr() for codes in views} == {views[-1].data_ptr()}
    assert views[-1].dtype == torch.int64
    assert torch.equal(views[-1], plain_codes(prior, SMALL, Shaping()))


@pytest.mark.parametrize("name", RUNNABLE)
def test_an_engine_can_be_stopped_after_any_code_and_used_again(name):
    prior = build()
    expected = plain_codes(prior, SMALL, Shaping())
    for stop in range(1, N + 1):
        drawing = begin(engine(name, prior), prior, N)
        for _ in range(stop):
            codes = next(drawing)
        drawing.close()
        assert torch.equal(codes, expected[:, :stop])


# Threads


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("name", "batch"),
    [("plain", SMALL), *((name, batch) for name in ("eager", "numba") for batch in (1, 2, SMALL, SPLIT))],
)
def test_drawing_leaves_the_number_of_threads_as_it_was(name, batch):
    prior = build()
    seen = [torch.get_num_threads() for _ in begin(engine(name, prior), prior, N, range(batch))]
    assert [*seen, torch.get_num_threads()] == [2] * (N + 1)


@pytest.mark.usefixtures("two_threads")
def test_stopping_early_leaves_the_number_of_threads_as_it_was():
    drawing = begin(engine("eager", build()), build(), N, [0])
    next(drawing)
    drawing.close()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_step_that_fails_leaves_the_number_of_threads_as_it_was(monkeypatch):
    during = []

    def fail(decoder: EagerStepper, position: int, previous: Tensor | None) -> Tensor:
        during.append(torch.get_num_threads())
        raise RuntimeError("broken step")

    monkeypatch.setattr(EagerStepper, "step", fail)
    monkeypatch.setattr("anytime_core.priors.transformer.eager._HANDED_OVER_FROM", 0)
    with pytest.raises(RuntimeError, match="broken step"):
        next(begin(engine("eager", build()), build(), N, [0]))
    assert during == [1]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("batch", "threads"), [(1, {1}), (SMALL, {2}), (SPLIT, {1})])
def test_the_eager_engine_runs_small_batches_on_one_thread_and_each_part_of_large_ones(monkeypatch, batch, threads):
    during: set[int] = set()
    places: set[int] = set()
    step = EagerStepper.step

    def recording(decoder: EagerStepper, position: int, previous: Tensor | None) -> Tensor:
        during.add(torch.get_num_threads())
        places.add(threading.get_ident())
        return step(decoder, position, previous)

    monkeypatch.setattr(EagerStepper, "step", recording)
    monkeypatch.setattr("anytime_core.priors.transformer.eager._HANDED_OVER_FROM", 0)
    draw("eager", build(), indices=range(batch))
    assert during == threads
    assert (threading.get_ident() in places) == (batch == SMALL)


# Going on with some of a batch

Keep = Callable[[int], Tensor]
"""From the number of rows to those kept."""

KEEPS: dict[str, dict[int, Keep]] = {
    "every other": {1: lambda rows: torch.arange(0, rows, 2)},
    "all": {2: torch.arange},
    "the first": {0: lambda rows: torch.arange(1)},
    "the last": {2: lambda rows: torch.arange(rows - 1, rows)},
    "the first third": {1: lambda rows: torch.arange(rows // 3)},
    "the last third": {1: lambda rows: torch.arange(2 * rows // 3, rows)},
    "fewer and fewer": {
        0: lambda rows: torch.arange(1, rows),
        2: lambda rows: torch.arange(rows // 2, rows),
        3: lambda rows: torch.arange(0, rows, 2),
    },
}
"""What is kept after which positions."""


@torch.inference_mode()
def assert_keeps_the_logits_of_the_rows(made: Engine, batch: int, keeps: dict[int, Keep], tolerance: float = TOLERANCE):
    prior = made.prior
    codes = some_codes(prior, batch)
    expected = plain_logits(prior, codes)
    decoder = made.open(class_labels(prior, range(batch)), *codes.shape)
    rows = torch.arange(batch)
    for position in range(codes.shape[1]):
        logits = decoder.step(position, codes[rows, position - 1] if position else None)
        torch.testing.assert_close(logits.float(), expected[rows, position], rtol=0, atol=tolerance)
        if position in keeps:
            kept = keeps[position](len(rows))
            decoder.keep(kept)
            rows = rows[kept]
    assert len(rows) == len(logits)


@pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("vectors", ["none", "per position"])
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("kv_heads", KV_HEADS)
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_decoder_goes_on_with_the_rows_that_are_kept(name, kv_heads, classes, vectors, keeps):
    made = engine(name, build(vectors=vectors, classes=classes, kv_heads=kv_heads))
    assert_keeps_the_logits_of_the_rows(made, SMALL, keeps)


@pytest.mark.parametrize("batch", [SMALL, SPLIT])
def test_no_kernel_is_compiled_again_for_the_rows_that_are_kept(batch):
    from anytime_core.priors.transformer import kernels

    made = engine("numba", build())
    compiled = []
    for keeps in ({}, KEEPS["every other"]):
        assert_keeps_the_logits_of_the_rows(made, batch, keeps)
        compiled.append([len(kernel.signatures) for kernel in (kernels.attend, kernels.step)])
    assert compiled[0] == compiled[1]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", ["eager", "numba"])
def test_a_split_decoder_goes_on_with_the_rows_that_are_kept_even_if_a_part_loses_all_of_its_own(name, classes, keeps):
    made = engine(name, build(classes=classes))
    assert parts(made.weights, SPLIT) == 2
    assert_keeps_the_logits_of_the_rows(made, SPLIT, keeps)


@pytest.mark.parametrize(("name", "precision"), [("eager", "bfloat16"), ("numba", "int8")])
@pytest.mark.parametrize("keeps", [KEEPS["the last"], KEEPS["fewer and fewer"]], ids=["the last", "fewer and fewer"])
def test_a_decoder_with_rounded_weights_goes_on_with_the_rows_that_are_kept(name, precision, keeps):
    made = engine(name, build(), precision)
    spread = plain_logits(made.prior, some_codes(made.prior, SMALL)).std().item()
    assert_keeps_the_logits_of_the_rows(made, SMALL, keeps, ROUGH * spread)


# Folded weights


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folding_and_drawing_leave_the_prior_as_it_was(dtype, vectors):
    prior = deepcopy(build(vectors=vectors))
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    fold(prior, dtype)
    for name in RUNNABLE:
        *_, _ = begin(ENGINES[name](prior, "float32"), prior, N)
    for name, value in prior.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in prior.parameters())
    prior.log_prob(some_codes(prior, 2), torch.tensor([0, 1])).sum().backward()
    assert prior.position.weight.grad is not None


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folded_weights_are_of_one_dtype_and_have_no_part_in_training(dtype, vectors):
    weights = fold(build(vectors=vectors), dtype)
    folded = [weights.start, weights.positions]
    for layer in weights.layers:
        folded += [*layer.to_queries_keys_values, *layer.project, *layer.expand, *layer.shrink]
    for position in (0, N - 1):
        folded += [weights.table(position), *weights.head(position)]
    assert {tensor.dtype for tensor in folded} == {dtype}
    assert [tensor.requires_grad for tensor in folded] == [False] * len(folded)


def test_tables_and_heads_are_made_once():
    for vectors, distinct in (("none", 1), ("shared", 1), ("per position", N)):
        weights = fold(build(vectors=vectors), torch.float32)
        assert len({id(weights.table(position)) for position in range(N)}) == distinct
        assert len({id(weights.head(position)[0]) for position in range(N)}) == distinct
        assert weights.head(N - 1) is weights.head(N - 1)


# What is refused


@pytest.mark.parametrize(
    ("name", "precision", "known"),
    [
        ("plain", "bfloat16", "float32"),
        ("plain", "int8", "float32"),
        ("eager", "int8", "float32, bfloat16"),
        ("numba", "bfloat16", "float32, int8"),
        ("compile", "int8", "float32, bfloat16"),
    ],
)
def test_a_precision_that_an_engine_lacks_is_refused_with_those_it_has(name, precision, known):
    with pytest.raises(UsageError, match=f"'{name}'.*'{precision}': use {known}$"):
        ENGINES[name](build(), precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_are_refused_on_the_cpu_with_a_way_out(precision):
    with pytest.raises(UsageError, match=r"'graph'.*'cpu': use --device cuda, or --engine eager"):
        ENGINES["graph"](build(), precision)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_numba_is_refused_elsewhere_than_on_the_cpu_with_a_way_out(precision):
    with pytest.raises(UsageError, match=r"'numba'.*'meta': use --device cpu, or --engine eager"):
        ENGINES["numba"](deepcopy(build()).to("meta"), precision)


# What `auto` is


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("device", "precision", "batch", "multiply_adds", "expected"),
    [
        (CPU, "float32", 1, 1e6, None),
        (CPU, "float32", 16, 1e6, None),
        (CPU, "float32", 1, 1e15, "numba"),
        (CPU, "float32", 1024, 1e6, "eager"),
        (CPU, "float32", 1024, 5e11, None),
        (CPU, "float32", 1024, 1e15, "numba"),
        (CPU, "bfloat16", 1, 1e15, "eager"),
        (CPU, "bfloat16", 1024, 1e15, "eager"),
        (CPU, "int8", 1, 1e6, "numba"),
        (CPU, "int8", 1024, 1e6, "numba"),
        (CUDA, "float32", 1, 1e15, "graph"),
        (CUDA, "bfloat16", 1024, 1e6, "graph"),
        (torch.device("mps"), "float32", 1, 1e15, "eager"),
    ],
)
def test_auto_is_graph_on_a_gpu_and_numba_on_the_cpu_where_it_is_compiled_or_worth_it(
    monkeypatch, compiled, device, precision, batch, multiply_adds, expected
):
    monkeypatch.setattr("anytime_core.priors.transformer.choice.is_compiled", lambda *kernel: compiled)
    if expected is None:
        expected = "numba" if compiled else "eager"
    assert choose_engine(device, precision, batch, multiply_adds) == expected


def test_auto_refuses_a_precision_that_the_device_has_no_engine_for():
    with pytest.raises(UsageError, match="int8 runs on the CPU, not on 'cuda:1': use --device cpu, or --precision"):
        choose_engine(torch.device("cuda:1"), "int8", 1, 1e6)


@pytest.mark.parametrize("multiplies", [False, True])
@pytest.mark.parametrize(("device", "batch", "gains"), [(CPU, 1, False), (CPU, 1024, True), (CUDA, 1, True)])
def test_auto_precision_is_bfloat16_where_it_is_multiplied_and_pays(monkeypatch, multiplies, device, batch, gains):
    monkeypatch.setattr("anytime_core.sampling.engines.multiplies_bfloat16", lambda device: multiplies)
    monkeypatch.setattr(TransformerPrior, "device", device)
    assert Engines(build(), Path("run"))._precision(batch) == ("bfloat16" if multiplies and gains else "float32")


@pytest.mark.parametrize("batch", [1, 1024])
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_what_auto_chooses_on_the_cpu_can_be_made(precision, batch):
    made = Engines(build(), Path("run")).best(SamplingOptions(precision=precision), batch, 10**9, N)
    *_, codes = begin(made, build(), 2)
    assert codes.shape == (SMALL, 2)


@pytest.mark.parametrize(("name", "batch"), [("step", 1), ("attend", SPLIT)])
def test_a_kernel_counts_as_compiled_once_numba_has_left_its_index_beside_it(tmp_path, name, batch):
    draw("numba", build(), indices=range(batch))
    left, source = Path(getattr(kernels, name).stats.cache_path), Path(kernels.__file__)
    if not left.is_relative_to(source.parent):
        pytest.skip("numba keeps compiled kernels elsewhere")
    assert is_compiled(source, name)
    source = tmp_path / "kernels.py"
    source.touch()
    assert not is_compiled(source, name)
    os.utime(source, (0, 0))
    shutil.copytree(left, tmp_path / "__pycache__")
    assert is_compiled(source, name)
    os.utime(source, (1e11, 1e11))
    assert not is_compiled(source, name)


def test_weights_are_those_that_the_prior_had_when_the_engine_was_made():
    prior = deepcopy(build())
    engine = ENGINES["eager"](prior, "float32")
    *_, before = begin(engine, prior, prior.code_length)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(1)
    *_, after = begin(engine, prior, prior.code_length)
    assert torch.equal(before, after)


# What is loaded


def test_neither_numba_nor_the_compiler_is_loaded_before_an_engine_needs_it():
    program = (
        "import sys\n"
        "from anytime_core.priors.registry import PRIORS\n"
        "from anytime_core.quantizers.base import CodeSpec\n"
        "kind = PRIORS['transformer']\n"
        "config = kind.Config(layers=1, width=8, heads=2)\n"
        "prior = kind(config, CodeSpec(length=2, size=4, dim=1, grid=(2,)))\n"
        "for name in ('plain', 'eager'):\n"
        "    prior.engines()[name](prior, 'float32')\n"
        "prior.fastest_engine('float32', 1, 1.0)\n"
        "print([name for name in ('numba', 'triton', 'torch._dynamo', 'torch._inductor') if name in sys.modules])\n"
        "prior.engines()['numba'](prior, 'float32')\n"
        "print('numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.splitlines() == ["[]", "True"]


# The compile engine


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_the_step_that_is_compiled_gives_the_logits_of_the_prior(kv_heads, classes, vectors):
    prior = build(vectors=vectors, classes=classes, kv_heads=kv_heads)
    codes = some_codes(prior, SMALL)
    expected = plain_logits(prior, codes)
    torch.testing.assert_close(decoded_logits(engine("compile", prior), codes), expected, rtol=0, atol=TOLERANCE)
    off = (decoded_logits(engine("compile", prior, "bfloat16"), codes) - expected).abs() / expected.std()
    assert 1e-3 < off.mean() < off.max() < ROUGH


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)
@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_the_step_that_is_compiled_goes_on_with_the_rows_that_are_kept(kv_heads, keeps):
    assert_keeps_the_logits_of_the_rows(engine("compile", build(kv_heads=kv_heads)), SMALL, keeps)


@pytest.mark.usefixtures("uncompiled")
def test_the_compile_engine_says_once_a_batch_how_long_its_first_step_took(caplog):
    with caplog.at_level(logging.INFO):
        draw("compile", build())
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("anytime_core")]
    assert re.fullmatch(r"engine compile: the first step, with its compilation, took \d+\.\d s", said)


def test_where_torch_cannot_compile_the_error_names_the_cause_and_another_engine(monkeypatch):
    def compile_(function, **_):
        def fail(*arguments):
            raise RuntimeError("no C++ compiler\nand a long trace")

        return fail

    monkeypatch.setattr(torch, "compile", compile_)
    with pytest.raises(AnytimeError, match=r"\(no C\+\+ compiler\): use --engine eager$"):
        next(begin(ENGINES["compile"](build(), "float32"), build(), N))


@pytest.mark.slow
@needs_compiler
def test_the_compiled_engine_draws_the_codes_of_the_plain_one():
    prior = build(vectors="per position", kv_heads=2)
    made = ENGINES["compile"](prior, "float32")
    for seed in (0, 1):
        *_, codes = begin(made, prior, N, seed=seed)
        assert torch.equal(codes, draw("plain", prior, seed=seed))


# On a GPU


def given_noise(seed: int, indices: range, length: int, device: torch.device) -> GivenNoise:
    """Noise that can be drawn with again and again."""
    return GivenNoise(noise_of(seed, indices, length, Categorical(K).noise, device).whole())


def assert_draws_the_plain_codes(name: str, prior: TransformerPrior, device: torch.device):
    """Batches of several shapes from one engine, and of each shape twice, with other noise and labels."""
    prior = deepcopy(prior).to(device)
    plain, made = ENGINES["plain"](prior, "float32"), ENGINES[name](prior, "float32")
    shapes = [(1, 1), (SMALL, 12), (40, 8), (SMALL, 12), (2, 9), (2, 11), (40, 12), (SMALL, 12)]
    for number, (batch, length) in enumerate(shapes):
        for first in (number, 100 + number):
            indices = range(first, first + batch)
            labels = class_labels(prior, indices)
            labels = None if labels is None else labels.to(device)
            noise = given_noise(number, indices, length, device)
            *_, expected = draw_from(plain, labels, noise)
            drawn = [codes.cpu().clone() for codes in draw_from(made, labels, noise)]
            assert torch.equal(drawn[-1], expected.cpu())
            for codes in drawn:
                assert torch.equal(codes, drawn[-1][:, : codes.shape[1]])


@pytest.mark.gpu
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("kv_heads", KV_HEADS)
@pytest.mark.parametrize("name", ["eager", "graph"])
def test_on_a_gpu_engines_draw_the_codes_of_the_plain_one(name, kv_heads, classes, vectors):
    assert_draws_the_plain_codes(name, build(vectors=vectors, classes=classes, kv_heads=kv_heads, length=12), CUDA)


@pytest.mark.parametrize("shaping", [Shaping(0.7, top_k=5), Shaping(top_p=0.8), Shaping(temperature=0)])
def test_graphs_shape_as_the_plain_engine_does(graph_device, shaping):
    prior = deepcopy(build(length=12)).to(graph_device)
    labels, noise = torch.arange(SMALL, device=graph_device) % CLASSES, given_noise(0, range(SMALL), 12, graph_device)
    drawn = []
    for name in ("plain", "graph"):
        *_, codes = draw_from(ENGINES[name](prior, "float32"), labels, noise, shaping)
        drawn.append(codes.cpu().clone())
    assert torch.equal(*drawn)


def test_graphs_can_be_stopped_between_chunks_and_used_again(graph_device):
    prior = deepcopy(build(length=12)).to(graph_device)
    made = ENGINES["graph"](prior, "float32")
    labels, noise = torch.arange(SMALL, device=graph_device) % CLASSES, given_noise(0, range(SMALL), 12, graph_device)
    drawing = draw_from(made, labels, noise)
    first = next(drawing).cpu().clone()
    drawing.close()
    *_, codes = draw_from(made, labels, noise)
    assert 0 < first.shape[1] < 12
    assert torch.equal(codes.cpu()[:, : first.shape[1]], first)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["eager", "graph"])
def test_on_a_gpu_bfloat16_draws_mostly_the_plain_codes(name):
    prior = deepcopy(build(length=12)).to(CUDA)
    labels, noise = torch.arange(64, device=CUDA) % CLASSES, given_noise(0, range(64), 4, CUDA)
    *_, expected = draw_from(ENGINES["plain"](prior, "float32"), labels, noise)
    *_, codes = draw_from(ENGINES[name](prior, "bfloat16"), labels, noise)
    assert (codes == expected).float().mean() > 0.8
