"""The Triton kernels of a step against torch's operators: on a GPU, or under Triton's interpreter on the CPU.

The interpreter must be chosen before Triton is imported, so `test_triton.py` runs these in a process of their own. It
takes milliseconds for every program, so the GPU that kernels are laid out for is a small one then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import triton.language as tl
from drawing import codes_of, draw_from
from torch import Tensor
from triton.runtime import interpreter

from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import Engine
from anytime_core.priors.transformer import triton_operators
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.static import AfterNorm, StaticStepper, TorchOperators, static_weights
from anytime_core.priors.transformer.triton_operators import TritonOperators
from anytime_core.priors.transformer.weights import fold
from anytime_core.sampling.noise import noise_of

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu") if INTERPRETED else torch.device("cuda", 0)
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 0.02}
"""Of numbers whose standard deviation is about one. What they are compared with is computed in float32."""
EPSILON = 1e-5


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors are made on the device."""
    torch.manual_seed(0)
    if INTERPRETED:
        monkeypatch.setattr(triton_operators, "_MULTIPROCESSORS", 2)
        mend_interpreter(monkeypatch)
    with DEVICE:
        yield


def mend_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Triton 3.6's interpreter take numbers from arrays as NumPy 2.4 wants it, and multiply bfloat16."""
    patch, builder = interpreter._patch_lang_tensor, interpreter.InterpreterBuilder
    multiply = builder.create_dot

    def patched(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    def create_dot(self, a, b, *others):
        parts = (a, b)
        if a.dtype == tl.bfloat16:
            data = [(part.data.astype(np.uint32) << 16).view(np.float32) for part in parts]
            parts = [interpreter.TensorHandle(part, tl.float32) for part in data]
        return multiply(self, *parts, *others)

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)
    monkeypatch.setattr(builder, "create_dot", create_dot)


def assert_close(value: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCES[value.dtype]
    torch.testing.assert_close(value.float(), expected, rtol=tolerance, atol=tolerance)


ATTENTION = [  # batch, heads, groups, size of a head, length, first place read, position
    (1, 1, 1, 8, 1, None, 0),
    (3, 4, 4, 8, 5, None, 0),
    (3, 4, 2, 8, 5, None, 2),
    (1, 4, 1, 8, 5, None, 4),
    (2, 6, 2, 10, 5, None, 4),
    (33, 1, 1, 8, 5, None, 3),
    (1, 2, 1, 64, 100, None, 99),
    (1, 8, 1, 32, 100, None, 99),
    (16, 1, 1, 32, 100, None, 50),
    (9, 2, 1, 64, 100, None, 99),
    (1, 1, 1, 256, 100, None, 77),
    (3, 4, 2, 8, 5, 0, 2),
    (2, 6, 2, 10, 5, 3, 4),
    (1, 4, 1, 8, 5, 4, 4),
    (16, 1, 1, 32, 100, 27, 50),
    (1, 8, 1, 32, 100, 3, 99),
]


@DTYPES
@pytest.mark.parametrize(("batch", "heads", "groups", "size", "length", "first", "position"), ATTENTION)
def test_attention_writes_a_key_and_a_value_and_reads_only_what_is_written_from_the_first_place_on(
    batch, heads, groups, size, length, first, position, dtype
):
    projected = torch.randn(batch, (heads + 2 * groups) * size).to(dtype)
    projected[:, : heads * size] *= 2 / size**0.5  # scores of a spread at which softmax prefers some
    at, since = torch.tensor([position]), None if first is None else torch.tensor([first])
    expected_buffers = [torch.randn(batch, groups, length, size).to(dtype) for _ in range(2)]
    buffers = [buffer.clone() for buffer in expected_buffers]
    for buffer in buffers:
        buffer[:, :, position:] = torch.nan
        buffer[:, :, : first or 0] = torch.nan
    attended = TritonOperators().attend(projected, *buffers, at, since)
    expected_buffers = [buffer.float() for buffer in expected_buffers]
    assert attended.dtype == dtype
    assert_close(attended, TorchOperators().attend(projected.float(), *expected_buffers, at, since))
    read = slice(first or 0, position + 1)
    for buffer, expected in zip(buffers, expected_buffers, strict=True):
        assert torch.equal(buffer[:, :, read].float(), expected[:, :, read])
        assert buffer[:, :, position + 1 :].isnan().all()


PRODUCTS = [  # batch, inputs, outputs
    (1, 1, 1),
    (1, 32, 10),
    (3, 40, 10),
    (1, 512, 10),
    (1, 4096, 3),
    (1, 16_384, 1),
    (5, 7, 3),
    (16, 40, 10),
    (16, 512, 70),
    (33, 32, 10),
    (64, 32, 70),
    (65, 40, 300),
    (5, 1100, 16),
]


@DTYPES
@pytest.mark.parametrize(("batch", "inputs", "outputs"), PRODUCTS)
def test_products_are_those_of_torch(batch, inputs, outputs, dtype):
    x = (torch.randn(batch, inputs) * 3 + 1).to(dtype)
    matrix = (torch.randn(outputs, inputs) / inputs**0.5).to(dtype).T
    part = AfterNorm(torch.randn(inputs).to(dtype), matrix, torch.randn(outputs).to(dtype))
    residual = torch.randn(batch, outputs).to(dtype)
    exact = AfterNorm(*(tensor.float() for tensor in part))
    for gelu in (False, True):
        product = TritonOperators().after_norm(x, part, EPSILON, gelu=gelu)
        assert product.dtype == dtype
        assert_close(product, TorchOperators().after_norm(x.float(), exact, EPSILON, gelu=gelu))
    expected = TorchOperators().add_to(residual.float().clone(), x.float(), exact.matrix)
    assert_close(TritonOperators().add_to(residual, x, matrix), expected)


@DTYPES
@pytest.mark.parametrize("tables", [1, 5])
@pytest.mark.parametrize("position", [0, 1, 4])
def test_inputs_are_those_of_torch(position, tables, dtype):
    first_input, positions = torch.randn(3, 40).to(dtype), torch.randn(5, 40).to(dtype)
    previous = torch.tensor([2, 0, 6]) if position else torch.tensor([-1, 10**9, 7])
    tensors = first_input, positions, torch.randn(tables, 7, 40).to(dtype)
    at = torch.tensor([position])
    inputs = TritonOperators().embed(*tensors, at, previous)
    assert inputs.dtype == dtype
    assert_close(inputs, TorchOperators().embed(*(tensor.float() for tensor in tensors), at, previous))


class Interpreted(Engine):
    name, precisions = "interpreted", ("float32",)

    def open(self, labels: Tensor | None, batch: int, length: int) -> StaticStepper:
        weights = static_weights(fold(self.prior, torch.float32))
        return StaticStepper(weights, TritonOperators(), labels, batch, length)


@pytest.mark.parametrize("attention", ["full", "strided"])
@pytest.mark.parametrize(("batch", "vectors"), [(2, (7, 5)), (5, (3, 7, 5))], ids=["rows", "library"])
def test_steps_draw_the_codes_of_the_plain_engine(batch, vectors, attention):
    config = TransformerConfig(layers=2, width=16, heads=4, kv_heads=2, attention=attention)
    prior = TransformerPrior(config, codes_of(3, 7, classes=3), torch.randn(vectors)).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    labels, noise = torch.arange(batch) % 3, noise_of(0, range(batch), 3, prior.distribution.noise, DEVICE)
    drawn = []
    for engine in (prior.engines()["plain"](prior, "float32"), Interpreted(prior)):
        *_, codes = draw_from(engine, labels, noise, Shaping())
        drawn.append(codes.clone())
    assert torch.equal(*drawn)
    assert len(drawn[0].unique(dim=0)) > 1
