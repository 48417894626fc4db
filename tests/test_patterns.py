"""Attention patterns and embeddings of the grid: what is attended to, in training and by every engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from anytime_core.errors import ConfigError
from anytime_core.priors.grid.orders import raster_order, subscale_order
from anytime_core.priors.sequence.positions import GridPositions
from anytime_core.priors.stepping import Engine
from anytime_core.priors.transformer.attention import BatchedAttention
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.numba import FusedAttention
from anytime_core.priors.transformer.patterns import Pattern, patterns, places_of, slots_of
from anytime_core.priors.transformer.static import StaticStepper, TorchOperators, static_weights
from anytime_core.priors.transformer.weights import fold
from anytime_core.quantizers.base import CodeSpec

K, LAYERS = 7, 3
ATTENTION = ("full", "local", "strided", "fixed")
SIZES = [(1, 1, 1), (2, 1, 1), (3, 2, 1), (7, 7, 2), (12, 4, 4), (17, 3, 2), (131, 9, 2), (144, 12, 1)]
"""Positions, block and summary. The last ones are long enough to be attended to part by part."""

Papers = Callable[[int, int, int, int], bool]
PAPERS: dict[str, tuple[Papers, ...]] = {
    "full": (lambda i, j, size, c: True,),
    # Parmar et al. 2018, 1-D local attention whose memory blocks are the query block and the one before
    "local": (lambda i, j, size, c: j // size in (i // size, i // size - 1),),
    # Child et al. 2019, section 4.3; the last l positions are those that hold the last l codes
    "strided": (lambda i, j, size, c: i - j < size, lambda i, j, size, c: (i - j) % size == 0),
    "fixed": (lambda i, j, size, c: i // size == j // size, lambda i, j, size, c: j % size >= size - c),
}
"""Whether position i attends to position j <= i, in each of the layers that take turns, besides to itself."""


def seen(name: str, layer: int, length: int, block: int, summary: int) -> Tensor:
    """The sets of the papers, [n, n]."""
    sees = PAPERS[name][layer % len(PAPERS[name])]
    sets = [[j == i or (j < i and sees(i, j, block, summary)) for j in range(length)] for i in range(length)]
    return torch.tensor(sets)


def codes_on(grid: tuple[int, ...], length: int | None = None, order: tuple[int, ...] | None = None) -> CodeSpec:
    return CodeSpec(length=length or int(np.prod(grid)), size=K, dim=5, grid=grid, order=order, classes=2)


@cache
def build(attention: str, spec: CodeSpec, **config: Any) -> TransformerPrior:
    """A prior that no test may change."""
    torch.manual_seed(0)
    section = TransformerConfig(**{"layers": LAYERS, "width": 16, "heads": 4, "attention": attention, **config})
    section.check(spec)
    prior = TransformerPrior(section, spec, torch.randn(K, 5)).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return prior


# What is attended to


@pytest.mark.parametrize(("length", "block", "summary"), SIZES)
@pytest.mark.parametrize("name", ATTENTION)
def test_positions_attend_to_what_the_papers_say_and_to_themselves(name, length, block, summary):
    for layer, pattern in enumerate(patterns(name, LAYERS, block, summary)):
        queries, keys = torch.randn(2, 2, 4, length, 3)
        values = torch.eye(length).expand(2, 2, -1, -1)  # so that what is returned are the weights
        expected = seen(name, layer, length, block, summary)
        for attend in (pattern.attend, lambda *heads, pattern=pattern: Pattern.attend(pattern, *heads)):
            weights = attend(queries, keys[:, :2], values)
            assert torch.equal(weights > 0, expected.expand_as(weights))
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, length))


@pytest.mark.parametrize("name", ATTENTION)
def test_layers_take_turns(name):
    length, block = 13, 4
    prior = build(name, codes_on((length,)), block=None if name == "full" else block)
    inputs = torch.randn(1, length, 16)
    jacobian = torch.autograd.functional.jacobian(lambda x: prior.features(x)[0].sum(-1), inputs)
    reached = torch.eye(length)
    for layer in range(LAYERS):
        reached = seen(name, layer, length, block, 1).float() @ reached
    assert torch.equal(jacobian[:, 0].abs().sum(-1) > 0, reached > 0)
    assert name == "local" or torch.equal(reached > 0, torch.ones(length, length).tril() > 0)


def test_local_attention_to_one_block_gives_the_numbers_of_full_attention():
    spec, codes = codes_on((17,)), torch.randint(K, (3, 16))
    full, local = build("full", spec), build("local", spec, block=17)
    labels = torch.zeros(3, dtype=torch.int64)
    assert torch.equal(full.conditionals(codes, labels), local.conditionals(codes, labels))


# Engines


class Static(Engine):
    name = "static"

    def open(self, labels: Tensor | None, batch: int, length: int) -> StaticStepper:
        weights = static_weights(fold(self.prior, torch.float32))
        return StaticStepper(weights, TorchOperators(), labels, batch, length)


ENGINES = {name: TransformerPrior.engines()[name] for name in ("plain", "eager", "numba", "exact")} | {"static": Static}
SPECS = {
    "1": (codes_on((1,)), None),
    "2": (codes_on((2,)), None),
    "3 by blocks of 1": (codes_on((3,)), 1),
    "17": (codes_on((17,)), None),
    "17 by blocks of 17": (codes_on((17,)), 17),
    "4 x 3": (codes_on((1, 4, 3)), None),
    "11 of 4 x 3": (codes_on((4, 3), 11), None),
    "12 in another order": (codes_on((3, 4), order=tuple(range(11, -1, -1))), 5),
}


@pytest.mark.parametrize(("spec", "block"), SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("attention", ["local", "strided", "fixed"])
@pytest.mark.parametrize("batch", [1, 5, 20])
@pytest.mark.parametrize("name", ENGINES)
def test_logits_are_those_of_the_prior_at_every_position_for_all_rows_that_are_kept(
    name, batch, attention, spec, block
):
    check(name, "float32", build(attention, spec, block=block, kv_heads=2), batch, tolerance=1e-4)


@pytest.mark.parametrize("attention", ["local", "strided", "fixed"])
@pytest.mark.parametrize(("name", "precision"), [("eager", "bfloat16"), ("numba", "int8")])
def test_logits_are_nearly_those_of_the_prior_in_other_precisions(name, precision, attention):
    check(name, precision, build(attention, codes_on((4, 3))), batch=5, tolerance=0.15)


@torch.inference_mode()
def check(name: str, precision: str, prior: TransformerPrior, batch: int, tolerance: float) -> None:
    length = prior.code_length
    codes, labels = torch.randint(K, (batch, length)), torch.arange(batch) % 2
    expected = prior.conditionals(codes[:, :-1], labels)
    stepper, rows = ENGINES[name](prior, precision).open(labels, batch, length), torch.arange(batch)
    for position in range(length):
        logits = stepper.step(position, codes[rows, position - 1] if position else None)
        torch.testing.assert_close(logits.float(), expected[rows, position], rtol=0, atol=tolerance)
        if position in (1, length // 2):
            kept = torch.arange(len(rows))[len(rows) // 3 :]
            stepper.keep(kept)
            rows = rows[kept]


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize(("make", "axis"), [(BatchedAttention, 3), (FusedAttention, 2)], ids=["torch", "numba"])
def test_a_step_reads_keys_and_values_of_its_pattern_alone(make, axis, attention):
    prior = build(attention, codes_on((17,)))
    weights, sizes = fold(prior, torch.float32), (prior.config.block_of(prior.spec), 1)
    for layer, places in enumerate(places_of(prior.patterns, 17).tolist()):
        counts = [last + 1 - first for first, last in places]
        assert counts == seen(attention, layer, 17, *sizes).sum(1).tolist()
        for position, (first, last) in enumerate(places):
            made = make(weights, 1, 17)
            for buffer in (made.keys, made.values):
                buffer[:] = torch.nan
                torch.as_tensor(buffer).narrow(axis, first, last - first).fill_(1)
            assert made.attend(layer, torch.ones(1, 48), position).isfinite().all()


@pytest.mark.parametrize("attention", ATTENTION)
def test_what_is_kept_is_counted(attention):
    prior = build(attention, codes_on((17,)), kv_heads=2)
    stepper = ENGINES["eager"](prior, "float32").open(torch.zeros(3).long(), 3, 17)
    assert stepper.attention.keys.numel() + stepper.attention.values.numel() == 3 * prior.kept_numbers
    assert slots_of(places_of(prior.patterns, 17)) < 2 * 17


# Sizes that follow from the codes


@pytest.mark.parametrize(
    ("spec", "block"),
    [
        (codes_on((32,)), 6),
        (codes_on((1,)), 1),
        (codes_on((1, 28, 28)), 28),
        (codes_on((3, 8, 1)), 8),
        (codes_on((784, 1)), 28),
        (codes_on((3, 4), 11), 4),
        (codes_on((2, 16), 16), 4),
        (codes_on((2, 8), order=tuple(range(15, -1, -1))), 8),
        (codes_on((2, 8), order=tuple(row * 8 + column for column in range(8) for row in range(2))), 4),
        (codes_on((3, 4, 5), order=raster_order(3, (4, 5))), 15),
        (codes_on((3, 8, 8), order=subscale_order(3, (8, 8), 2)), 12),
    ],
)
def test_a_block_is_a_row_of_the_grid_or_about_the_root_of_the_codes(spec, block):
    assert TransformerConfig(attention="strided").block_of(spec) == block


@pytest.mark.parametrize("block", [1, 8, 28])
def test_a_summary_is_an_eighth_of_a_block(block):
    assert TransformerConfig(attention="fixed", block=block).summary_of(codes_on((64,))) == max(1, block // 8)


@pytest.mark.parametrize(
    ("config", "grid", "expected"),
    [
        ({}, (3, 4), False),
        ({"positions": "grid"}, (3, 4), True),
        ({"attention": "local"}, (3, 4), True),
        ({"attention": "local", "positions": "learned"}, (3, 4), False),
        ({"attention": "local"}, (1, 12), False),
    ],
)
def test_patterns_have_embeddings_of_rows_and_columns_where_there_are_any(config, grid, expected):
    prior = build(config.pop("attention", "full"), codes_on(grid), **config)
    assert isinstance(prior.position, GridPositions) == expected
    assert ("position.weight" in prior.state_dict()) != expected


def test_the_embedding_of_a_position_is_that_of_the_row_and_of_the_column_of_its_cell():
    order = (5, 0, 3, 1, 2, 4)
    prior = build("strided", codes_on((1, 2, 3), 5, order), block=2)
    rows, columns = (axis.weight for axis in prior.position.axes)
    assert (len(rows), len(columns)) == (2, 3)
    for position, embedding in enumerate(prior.positions()):
        row, column = divmod(order[position], 3)
        assert torch.equal(embedding, rows[row] + columns[column])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"attention": "local", "block": 13}, "prior.block=13 is more than the 12 codes: use 12 or less, or null"),
        ({"attention": "fixed", "block": 4, "summary": 5}, "prior.summary=5 is more than the 4 positions of a block"),
        ({"attention": "strided", "summary": 1}, "it null, or use prior.attention=fixed"),
        ({"block": 3}, "prior.block=3 means nothing with prior.attention=full: leave it null"),
        ({"positions": "grid"}, "have a grid of 1x12: use learned, or auto"),
    ],
)
def test_sizes_that_do_not_fit_are_named_with_a_way_out(config, said):
    with pytest.raises(ConfigError, match=said):
        TransformerConfig(**config).check(codes_on((1, 12)))
