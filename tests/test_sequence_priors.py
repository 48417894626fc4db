"""What all kinds of sequence priors have in common: steps, graphs, prefixes, precision and sizes, over the registry."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from drawing import codes_of, draw_from, gumbel
from pydantic import ValidationError
from recorded import assert_a_captured_step_serves_all_positions
from small_priors import VARIANTS, small

from anytime_core.errors import ConfigError
from anytime_core.priors.base import PlainEngine
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.sequence.model import SequencePrior
from anytime_core.quantizers.base import CodeSpec

N, K, D, CLASSES = 17, 7, 5, 3
KINDS = [kind for kind in PRIORS if issubclass(PRIORS[kind], SequencePrior)]
TABLES = {"no vectors": None, "shared": (K, D), "per position": (N, K, D)}
SECTIONS = {
    f"{kind}-{number}": (kind, more) for kind in KINDS for number, more in enumerate([{}, *VARIANTS.get(kind, [])])
}

every_section = pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)


def prior_of(section: tuple[str, dict[str, Any]], table: str = "per position", length: int = N, **more: Any) -> Any:
    """A prior of random weights, by which every code depends on all before it, and on its label."""
    kind, values = section
    torch.manual_seed(0)
    config = PRIORS.section_of(kind).model_validate({"kind": kind, **small(kind), **values, **more})
    shape = TABLES[table]
    vectors = None if shape is None else torch.randn(shape)[-length if len(shape) == 3 else 0 :]
    spec = codes_of(length, K, classes=CLASSES).model_copy(update={"grid": (2, length)})
    try:
        config.check(spec)
    except ConfigError as error:
        pytest.skip(str(error))
    prior = PRIORS[kind](config, spec, vectors).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return prior


@every_section
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("batch", [1, 5])
@torch.inference_mode()
def test_one_captured_step_serves_all_positions_batch_after_batch(graph_device, section, table, batch):
    prior = prior_of(section, table).to(graph_device)
    assert_a_captured_step_serves_all_positions(prior.engines()["graph"](prior, "float32"), batch, spread=0.1)


@every_section
@pytest.mark.parametrize("length", [1, 2, 3, 13, N])
@torch.inference_mode()
def test_rows_that_are_kept_go_on_at_every_length(graph_device, section, length):
    prior = prior_of(section, length=length).to(graph_device)
    codes, labels = torch.randint(K, (5, length), device=graph_device), torch.arange(5, device=graph_device) % CLASSES
    expected = prior.conditionals(codes[:, :-1], labels)
    for name in ("eager", "graph"):
        stepper, rows = prior.engines()[name](prior, "float32").open(labels, 5, length), torch.arange(5)
        for n in range(length):
            if n == length // 2:
                stepper.keep(torch.tensor([0, 3], device=graph_device))
                rows = rows[[0, 3]]
            logits = stepper.step(n, codes[rows, n - 1] if n else None)
            torch.testing.assert_close(logits, expected[rows, n], rtol=0, atol=1e-4)


@every_section
@pytest.mark.parametrize("guidance", [1.0, 1.5])
@torch.inference_mode()
def test_fewer_codes_are_the_first_ones_of_every_engine(graph_device, section, guidance):
    prior = prior_of(section, label_dropout=0.2).to(graph_device)
    labels = torch.arange(5, device=graph_device) % CLASSES

    def drawn(engine: Any, length: int) -> torch.Tensor:
        return list(draw_from(engine, labels, gumbel(3, range(5), length, K), guidance=guidance))[-1]

    expected = drawn(PlainEngine(prior), N)
    assert len(expected.unique(dim=0)) == 5
    for name in ("eager", "graph"):
        engine = prior.engines()[name](prior, "float32")
        for length in (1, 2, 3, 13, N):
            assert torch.equal(drawn(engine, length), expected[:, :length])


@every_section
@torch.no_grad()
def test_bfloat16_steps_are_close(section):
    prior = prior_of(section)
    codes, labels = torch.randint(K, (32, N)), torch.arange(32) % CLASSES
    expected = prior.conditionals(codes[:, :-1], labels)
    stepper = prior.engines()["eager"](prior, "bfloat16").open(labels, 32, N)
    found = torch.stack([stepper.step(n, codes[:, n - 1] if n else None) for n in range(N)], 1)
    assert (found.float() - expected).std() < 0.1 * expected.std()


@every_section
@torch.no_grad()
def test_without_dropout_training_sees_the_model_that_is_drawn_from(section):
    prior = prior_of(section, dropout=0.0, label_dropout=0.0)
    codes, labels = torch.randint(K, (5, N)), torch.arange(5) % CLASSES
    expected = prior.log_prob(codes, labels)
    torch.testing.assert_close(prior.train().log_prob(codes, labels), expected, rtol=0, atol=1e-4)


def some_sizes(kind: str) -> Iterator[tuple[dict[str, Any], CodeSpec]]:
    """Small sections with a few other sizes and options, and codes that are few or of few values."""
    chance = random.Random(0)
    fields = PRIORS.section_of(kind).model_fields
    for _ in range(60):
        changed = {
            name: chance.choice(choices)
            for name, field in fields.items()
            if name not in ("kind", "code_length") and (choices := _choices(field)) and chance.random() < 0.4
        }
        length, size = chance.choice((1, 2, 5)), chance.choice((1, 2, 3, 7))
        yield small(kind) | changed, codes_of(length, size, radices=chance.choice((None, (size,), (2, 4))))


def _choices(field: Any) -> tuple[Any, ...]:
    """Values of a field: small sizes, options; none for shares."""
    kinds = (field.annotation, *get_args(field.annotation))
    if int in kinds:
        return (1, 2, 3, 8)
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else (False, True) * (bool in kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_refused_or_they_work(kind):
    taken = 0
    for sizes, spec in some_sizes(kind):
        try:
            section = PRIORS.section_of(kind).model_validate({"kind": kind, **sizes})
            section.check(spec)
        except (ConfigError, ValidationError):
            continue
        prior = PRIORS[kind](section, spec, torch.randn(spec.size, spec.dim)).eval()
        codes = torch.randint(spec.size, (2, spec.length))
        steps = prior.engines()["eager"](prior, "float32").open(None, 2, spec.length)
        logits = torch.stack([steps.step(n, codes[:, n - 1] if n else None) for n in range(spec.length)], 1)
        torch.testing.assert_close(prior.distribution.log_prob(logits, codes), prior.log_prob(codes, None))
        taken += 1
    assert taken >= 8
