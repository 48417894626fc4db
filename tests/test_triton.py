"""Triton: where its kernels run, what a step starts, and the kernels, interpreted or compiled without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import codes_of

from anytime_core import triton_support
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.graph import operators_for
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.static import StaticStepper, TorchOperators, static_weights
from anytime_core.priors.transformer.weights import fold

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
LAYERS = 2


# Where kernels run


@pytest.mark.parametrize(
    ("device", "capability", "hip", "found", "starts", "expected"),
    [
        ("cuda:1", (9, 0), None, True, True, True),
        ("cuda:1", (8, 0), None, True, True, True),
        ("cuda:1", (7, 5), None, True, True, False),
        ("cuda:1", (9, 4), "7.0", True, True, False),
        ("cuda:1", (9, 0), None, False, True, False),
        ("cuda:1", (9, 0), None, True, False, False),
        ("cpu", (9, 0), None, True, True, False),
    ],
)
def test_kernels_run_on_nvidia_gpus_for_which_triton_compiles(
    monkeypatch, device, capability, hip, found, starts, expected
):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(triton_support, "find_spec", lambda name: found or None)
    monkeypatch.setattr(triton_support, "_starts_kernels", lambda: starts)
    assert triton_support.runs_triton(torch.device(device)) == expected
    assert {str(device) for device in asked} <= {device}
    if find_spec("triton"):
        assert (type(operators_for(torch.device(device))) is TorchOperators) != expected


def test_a_triton_that_cannot_start_kernels_is_named_once_with_the_cause(monkeypatch, caplog):
    def load(name):
        raise RuntimeError("Failed to find C compiler.\nand more")

    triton_support._starts_kernels.cache_clear()
    monkeypatch.setattr(triton_support.importlib, "import_module", load)
    assert [triton_support._starts_kernels() for _ in range(2)] == [False, False]
    (said,) = caplog.messages
    assert said == "Triton does not work here (Failed to find C compiler.): slower kernels of torch are used"
    triton_support._starts_kernels.cache_clear()


# What a step starts


def step(batch: int, dtype: torch.dtype, width: int = 32, heads: int = 2, **config: Any) -> None:
    """A step of a prior of LAYERS layers by the kernels, whatever starting one does."""
    from anytime_core.priors.transformer.triton_operators import TritonOperators

    section = TransformerConfig(layers=LAYERS, width=width, heads=heads, **config)
    prior = TransformerPrior(section, codes_of(100, 500))
    stepper = StaticStepper(static_weights(fold(prior, dtype)), TritonOperators(), None, batch, 100)
    stepper.step(1, stepper.no_codes)


@needs_triton
@pytest.mark.parametrize(
    ("batch", "dtype", "products"),
    [
        (1, torch.float32, {"row_product": 4 * LAYERS + 1}),
        (4, torch.bfloat16, {"row_product": 4 * LAYERS + 1}),
        (5, torch.bfloat16, {"tile_product": 4 * LAYERS + 1}),
        (64, torch.bfloat16, {"tile_product": 4 * LAYERS + 1}),
        (65, torch.bfloat16, {"normalise": 2 * LAYERS + 1, "tile_product": LAYERS}),
        (1025, torch.bfloat16, {"normalise": 2 * LAYERS + 1}),
        (5, torch.float32, {"normalise": 2 * LAYERS + 1}),
    ],
)
def test_a_layer_of_a_small_batch_starts_five_kernels(monkeypatch, batch, dtype, products):
    from anytime_core.priors.transformer import triton_operators

    started = Counter()
    monkeypatch.setattr(triton_operators, "_start", lambda kernel, *_, **__: started.update([kernel.__name__]))
    step(batch, dtype)
    assert started == {"embed": 1, "attend": LAYERS, **products}


# The kernels


@needs_triton
@pytest.mark.parametrize("interpreted", ["1", pytest.param("0", marks=pytest.mark.gpu)])
def test_the_kernels_do_what_torch_does(interpreted):
    tests = Path(__file__).with_name("triton_kernels.py")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        env={**os.environ, "TRITON_INTERPRET": interpreted, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout


class GPUs:
    """As much of Triton's driver as compiling needs; a GPU's number is its capability."""

    current = 0

    def get_current_device(self) -> int:
        return self.current

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.current, 32)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Kernels; to start one is to compile it for GPUs of two generations."""
    import triton

    from anytime_core.priors.transformer import triton_operators

    gpus, made = GPUs(), []

    def start(kernel: Any, grid: Any, *arguments: Any, num_warps: int) -> None:
        for gpus.current in (80, 90):
            made.append(kernel.run(*arguments, grid=grid, warmup=True, num_warps=num_warps))

    monkeypatch.setattr(triton.runtime.driver, "_active", gpus)
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path / "cache"))
    monkeypatch.setattr(triton_operators, "_start", start)
    return made


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["full", "strided"])
@pytest.mark.parametrize(("batch", "kv_heads"), [(1, 8), (64, 2), (512, 8), (4096, 2)])
def test_the_kernels_compile_for_gpus_and_keep_their_numbers_in_registers(
    compiled, tmp_path, batch, kv_heads, attention, dtype
):
    import triton

    step(batch, dtype, width=512, heads=8, kv_heads=kv_heads, attention=attention)
    kernels = {kernel.hash: kernel for kernel in compiled}.values()
    assert len(kernels) >= 2 * 3
    for kernel in kernels:
        (tmp_path / "kernel").write_bytes(kernel.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(tmp_path / "kernel")]
        usage = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert re.search(r"REG:\d+ STACK:0 ", usage), f"{kernel.name}: {usage}"
