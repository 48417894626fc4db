"""Laws of exact steps: the same bits whatever the batch, the threads and the machine, close to the plain engine's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from scipy.special import ndtr
from torch import Tensor

from anytime_core.digest import digest
from anytime_core.errors import UsageError
from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.sequence.kernels import add_product
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.exact import ExactEngine
from anytime_core.priors.transformer.exact_kernels import exponential, gelu
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.sampling.noise import noise_of

N, K, CLASSES = 5, 37, 3
ANOTHER_MACHINE = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "NPY_DISABLE_CPU_FEATURES": " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name]),
    "NUMBA_DISABLE_INTEL_SVML": "1",
    "NUMBA_CPU_NAME": "generic",
}
"""One without vector units."""


def build(vectors: str = "shared", classes: int = CLASSES, kv_heads: int | None = None) -> TransformerPrior:
    torch.manual_seed(0)
    shape = {"none": None, "shared": (K, 5), "per position": (N, K, 5)}[vectors]
    prior = TransformerPrior(
        TransformerConfig(layers=2, width=36, heads=4, kv_heads=kv_heads),
        CodeSpec(length=N, size=K, dim=5, grid=(N,), classes=classes),
        None if shape is None else torch.randn(shape),
    )
    with torch.no_grad():  # as initialised, logits are nearly flat, and norms and biases do nothing
        for parameter in prior.parameters():
            parameter.normal_(std=0.3)
    return prior.eval()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def some_codes(batch: int) -> Tensor:
    return torch.arange(batch * N).reshape(batch, N) ** 2 % K


def logits_of(engine: ExactEngine, codes: Tensor, labels: Tensor | None) -> Tensor:
    stepper = engine.open(labels, *codes.shape)
    return torch.stack([stepper.step(i, codes[:, i - 1] if i else None).clone() for i in range(N)], 1)


def results(prior: TransformerPrior) -> str:
    """Everything that has to be the same on every machine, for exact steps and for noise."""
    logits = logits_of(ExactEngine(prior, "float32"), some_codes(9), torch.arange(9) % CLASSES)
    noise = [noise_of(1, range(40), 50, NoiseNeed(kind, 100)).whole() for kind in ("gumbel", "uniform", "normal")]
    return digest(logits, *noise)


def test_exact_steps_and_noise_are_the_same_bits_on_every_machine(tmp_path, two_threads):
    prior = build("per position", kv_heads=2)
    torch.save(prior.state_dict(), tmp_path / "prior.pt")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch\n"
        "from test_exact import build, results\n"
        "prior = build('per position', kv_heads=2)\n"
        "prior.load_state_dict(torch.load(sys.argv[1]))\n"  # whose initialisation differs between machines
        "print(results(prior))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "prior.pt")],
        env=os.environ | ANOTHER_MACHINE,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stdout.split() == [results(prior)], run.stderr


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("vectors", ["none", "shared", "per position"])
@pytest.mark.parametrize("kv_heads", [None, 2])
def test_exact_logits_are_close_to_the_plain_ones_and_of_a_sequence_whatever_its_batch(kv_heads, vectors, classes):
    prior, codes = build(vectors, classes, kv_heads), some_codes(7)
    engine, labels = ExactEngine(prior, "float32"), torch.arange(7) % CLASSES if classes else None
    logits = logits_of(engine, codes, labels)
    with torch.inference_mode():
        plain = prior.conditionals(codes[:, :-1], labels)
    assert plain.std() > 0.5
    torch.testing.assert_close(logits, plain, rtol=0, atol=1e-4)
    for row in range(7):
        alone = logits_of(engine, codes[row : row + 1], None if labels is None else labels[row : row + 1])
        assert torch.equal(alone[0], logits[row])


def test_rows_that_are_kept_go_on_as_they_would_have():
    codes, labels, rows = some_codes(7), torch.arange(7) % CLASSES, torch.tensor([1, 4, 5])
    engine = ExactEngine(build(), "float32")
    stepper = engine.open(labels, 7, N)
    for position in range(3):
        stepper.step(position, codes[:, position - 1] if position else None)
    stepper.keep(rows)
    kept = [stepper.step(position, codes[rows, position - 1]) for position in range(3, N)]
    assert torch.equal(torch.stack(kept, 1), logits_of(engine, codes, labels)[rows, 3:])


def test_exponential_and_gelu_are_right_to_their_last_digits():
    x = np.linspace(-100, 0, 5001, dtype=np.float32)
    exponentials = np.array([exponential(one) for one in x])
    np.testing.assert_allclose(exponentials[x >= -87], np.exp(x[x >= -87].astype(float)), rtol=3e-7)
    assert not exponentials[x < -87].any()
    x = np.linspace(-15, 15, 5001, dtype=np.float32)
    np.testing.assert_allclose([gelu(one) for one in x], x * ndtr(x.astype(float)), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("inputs", range(1, 10))
def test_products_are_not_fused_with_sums(inputs):
    """(1 + 2^-12)^2 rounds to 1 + 2^-11, so that nothing is left; a fused operation leaves 2^-24."""
    factor = np.float32(1 + 2**-12)
    x, weight = np.zeros((1, inputs), np.float32), np.full((inputs, 33), factor)
    x[0, -1] = factor
    out = np.full((1, 33), -np.float32(1 + 2**-11))
    add_product(x, weight, out)
    assert not out.any()


def test_a_device_without_exact_steps_is_named():
    with pytest.raises(UsageError, match="'meta'"):
        ExactEngine(build().to("meta"), "float32")
