"""Steps that read their position from the device, captured: by torch's operators, and on a GPU by the kernels."""

from __future__ import annotations

import pytest
import torch
from drawing import codes_of
from recorded import assert_a_captured_step_serves_all_positions

from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.graph import GraphEngine
from anytime_core.priors.transformer.model import TransformerPrior

N, K, CLASSES = 6, 7, 3


def prior_of(kv_heads: int, vectors: tuple[int, ...] | None, attention: str = "full") -> TransformerPrior:
    torch.manual_seed(0)
    config = TransformerConfig(layers=2, width=16, heads=4, kv_heads=kv_heads, attention=attention)
    table = None if vectors is None else torch.randn(vectors)
    prior = TransformerPrior(config, codes_of(N, K, classes=CLASSES), table).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return prior


@pytest.mark.parametrize("vectors", [None, (K, 5), (N, K, 5)], ids=["no vectors", "shared", "per position"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 5])
def test_one_captured_step_serves_all_positions_batch_after_batch(graph_device, batch, kv_heads, vectors):
    assert_a_captured_step_serves_all_positions(
        GraphEngine(prior_of(kv_heads, vectors).to(graph_device)), batch, spread=0.3
    )


@pytest.mark.parametrize("attention", ["local", "strided", "fixed"])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_captured_step_follows_the_pattern_of_each_layer(graph_device, batch, attention):
    assert_a_captured_step_serves_all_positions(
        GraphEngine(prior_of(2, None, attention).to(graph_device)), batch, spread=0.3
    )


@pytest.mark.parametrize("attention", ["full", "strided"])
@torch.inference_mode()
def test_rows_that_are_kept_go_on_in_buffers_of_their_own(graph_device, attention):
    prior = prior_of(2, (N, K, 5), attention).to(graph_device)
    codes, labels = torch.randint(K, (5, N), device=graph_device), torch.arange(5, device=graph_device) % CLASSES
    stepper, rows = GraphEngine(prior).open(labels, 5, N), torch.tensor([0, 3], device=graph_device)
    expected = prior.conditionals(codes[:, :-1], labels)
    for n in range(N):
        if n == 3:
            stepper.keep(rows)
            codes, expected = codes[rows], expected[rows]
        logits = stepper.step(n, codes[:, n - 1] if n else None)
        torch.testing.assert_close(logits, expected[:, n], rtol=0, atol=1e-4)
