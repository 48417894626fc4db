"""Kernels that make noise, run by Triton's interpreter on the CPU, and compiled for GPUs that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

INTERPRETED = """
import numpy as np
import torch
from anytime_core import capture
from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.sampling.captured import CapturedLoops
from anytime_core.sampling.choices import Drawing
from anytime_core.sampling.kernel_noise import KernelNoise
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.philox import keys
from anytime_core.sampling.steps import prefixes

INDICES, LENGTH = (0, 5, 2**64 - 1), 3

def both(kind, numbers, seed=2**63 + 3):
    need = NoiseNeed(kind, numbers)
    streams = torch.from_numpy(keys(seed, INDICES).view(np.int64))
    return KernelNoise(streams, LENGTH, need), noise_of(seed, INDICES, LENGTH, need)

def close(found, expected):
    # The last bit of a logarithm in float64 may differ, and then, once in a while, that of a float32.
    return torch.allclose(found, expected, rtol=1e-6, atol=0) and (found == expected).float().mean() > 0.999

for kind, numbers in (("gumbel", 1100), ("uniform", 37), ("normal", 37)):
    found, expected = both(kind, numbers)
    whole = expected.whole()
    print(kind, numbers, close(found.whole(), whole), close(found.at(torch.tensor([2])), whole[:, 2]))
for numbers in (1, 1100):
    found, expected = both("gumbel", numbers)
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.randn(3, 2 * numbers, generator=torch.Generator().manual_seed(0)).to(dtype)[:, :numbers]
        print(numbers, dtype, torch.equal(found.largest_sum(1, logits), expected.largest_sum(1, logits)))
found, _ = both("gumbel", 37)
few = torch.full((3, 37), -torch.inf)
few[1, 30], few[2, 7] = 0.0, torch.nan
print("impossible", found.largest_sum(torch.tensor([0]), few).tolist() == [0, 30, 7])
static = found.static()
static.tensors[0].zero_()

# Loops with such noise, which are not captured but done again and again.
capture.can_capture = lambda device: True
capture._captured = lambda work, device, beside: capture.Captured(None, work)
config = TransformerConfig(layers=1, width=16, heads=2)
prior = TransformerPrior(config, CodeSpec(length=10, size=7, dim=2, grid=(10,))).eval()
torch.nn.init.normal_(prior.head.weight)
plain, loops = prior.engines()["plain"](prior), CapturedLoops(prior.engines()["graph"](prior, "float32"), prior)
for length, seed in ((10, 1), (3, 2), (9, 3)):
    found, expected = both("gumbel", 7, seed)
    drawing = Drawing(prior.distribution, found.static(), Shaping(0.8))
    *_, codes = loops.prefixes(None, 3, length, drawing, 1.0)
    noise = noise_of(seed, INDICES, length, prior.distribution.noise)
    choose = Drawing(prior.distribution, noise, drawing.shaping)
    *_, wanted = prefixes(plain.open(None, 3, length), 3, length, choose, torch.device("cpu"))
    print("loop", length, torch.equal(codes, wanted))
print("copied", not torch.equal(static.at(0), found.at(0)))
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from anytime_core.sampling import triton_kernels as kernels

FIXED = dict.fromkeys(("VALUES", "SIZE", "NUMBERS", "KIND"), "constexpr")

def compiled(kernel, capability, types, **fixed):
    signature = {name: types.get(name, FIXED.get(name, "*i64")) for name in kernel.arg_names}
    return triton.compile(ASTSource(kernel, signature, fixed), target=GPUTarget("cuda", capability, 32))

for capability, logits in ((80, "*fp32"), (90, "*bf16")):
    types = {"logits": logits, "stride": "i32"}
    print(logits, "ptx" in compiled(kernels.draw, capability, types, VALUES=500, NUMBERS=512).asm)
for kind, result in (("gumbel", "*fp32"), ("uniform", "*fp32"), ("bits", "*fp64")):
    types = {"result": result, "length": "i32"}
    print(kind, "ptx" in compiled(kernels.fill, 80, types, SIZE=500, KIND=kind, NUMBERS=512).asm)
"""


def said(program: str, **environment: str) -> list[str]:
    """What a program prints, a process of its own, as Triton is set up when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_numbers_and_codes_are_those_of_the_cpu():
    lines = said(INTERPRETED, TRITON_INTERPRET="1")
    assert len(lines) == 3 + 4 + 3 + 2
    assert [line for line in lines if "False" in line] == []


def test_kernels_compile_for_gpus(tmp_path):
    lines = said(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert len(lines) == 5
    assert [line for line in lines if "False" in line] == []
