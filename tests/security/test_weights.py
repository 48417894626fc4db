"""Weights files that others made: headers and metadata that ask for more than there is."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anytime_core.data.allocation import LimitedElements
from anytime_core.errors import AnytimeError, RunError
from anytime_core.run import load
from anytime_core.weights import load_autoencoder, load_prior, weights_digest

AUTOENCODER, PRIOR = "autoencoder.safetensors", "prior.safetensors"
LOADERS: dict[str, Callable[[Path], object]] = {AUTOENCODER: load_autoencoder, PRIOR: load_prior}
_MOST_BYTES = 2**30


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["anytime"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(metadata, state)
    save_file(state, path, {"anytime": json.dumps(metadata)})


def header(content: dict[str, Any], size: int | None = None, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


ANYTIME = {"anytime": json.dumps({"format_version": 1})}
HEADERS = {
    "a header longer than the file": header({}, size=2**40),
    "a header of the largest size": header({}, size=2**64 - 1),
    "a header that is no JSON": struct.pack("<Q", 9) + b"{'a': 1}}",
    "a deep header": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a tensor of more than the file": header(
        {"__metadata__": ANYTIME, "a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ),
    "a shape whose product overflows": header(
        {"__metadata__": ANYTIME, "a": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 4]}}, data=b"abcd"
    ),
    "offsets backwards": header(
        {"__metadata__": ANYTIME, "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, data=b"abcd"
    ),
    "offsets that overlap": header(
        {
            "__metadata__": ANYTIME,
            "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
        },
        data=b"abcdef",
    ),
    "a type that there is none of": header(
        {"__metadata__": ANYTIME, "a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}, data=b"abcd"
    ),
    "metadata that are deep": header({"__metadata__": {"anytime": "[" * 100_000}}),
    "metadata that are long": header({"__metadata__": {"anytime": json.dumps({"a": "x" * 2**20})}}),
    "a header of many tensors": header(
        {
            "__metadata__": ANYTIME,
            **{f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(2**16 + 1)},
        }
    ),
    "a header longer than any": header({"__metadata__": {"anytime": "x" * 2**23}}),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_one_error_that_names_the_file(name, loader, tmp_path):
    path = tmp_path / loader
    path.write_bytes(HEADERS[name])
    tracemalloc.start()
    with pytest.raises(RunError) as refused:
        LOADERS[loader](path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert peak < 2**24


@pytest.mark.parametrize("loader", LOADERS)
def test_a_pipe_is_no_weights_file(loader, tmp_path):
    os.mkfifo(tmp_path / loader)
    with pytest.raises(RunError, match=rf"{loader} cannot be read: it is a pipe, not a file; train that stage again"):
        LOADERS[loader](tmp_path / loader)


def config(**values: Any) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], object]:
    return lambda metadata, state: metadata["modality_config"].update(values)


def prior(**values: Any) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], object]:
    return lambda metadata, state: metadata["prior"].update(values)


def codes(**values: Any) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], object]:
    return lambda metadata, state: metadata["spec"].update(values)


def network(**values: Any) -> Callable[[dict[str, Any], dict[str, torch.Tensor]], object]:
    return lambda metadata, state: metadata["modality_config"]["network"].update(values)


ABSURD: dict[str, tuple[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]]] = {
    "widths out of range": (AUTOENCODER, network(widths=[2**30])),
    "ten thousand widths": (AUTOENCODER, network(widths=[16] * 10_000)),
    "widths that are allowed": (AUTOENCODER, network(widths=[2**14, 2**14, 2**14])),
    "channels that are allowed": (AUTOENCODER, network(channels=2**16, widths=[2**14])),
    "a map larger than memory": (AUTOENCODER, config(data={"size": 4096}, network={"widths": [2**12], "channels": 8})),
    "ten thousand layers": (AUTOENCODER, network(depth=10_000)),
    "a large codebook for each code": (
        AUTOENCODER,
        lambda metadata, state: metadata["autoencoder"].update(quantizer={"size": 2**24, "shared": False}),
    ),
    "more codes than channels": (AUTOENCODER, lambda metadata, state: metadata["autoencoder"].update(code_length=9)),
    "principal components of a large image": (
        AUTOENCODER,
        lambda metadata, state: (
            metadata["autoencoder"].update(
                kind="pca", tell_decoder=False, dropped="zeros", quantizer={"size": 2, "shared": False}
            ),
            metadata["modality_config"]["data"].update(size=4096),
        ),
    ),
    "prior of ten thousand layers": (PRIOR, prior(layers=10_000)),
    "prior of many layers": (PRIOR, prior(layers=256, width=2**16)),
    "prior of a large width": (PRIOR, prior(width=2**16, heads=2**16)),
    "prior of wide layers": (PRIOR, prior(feedforward=2**30)),
    "heads that do not divide the width": (PRIOR, prior(heads=3)),
    "heads that share no key-value heads": (PRIOR, prior(kv_heads=3)),
    "fewer key-value heads than there are weights for": (PRIOR, prior(kv_heads=1)),
    "code length beyond any": (PRIOR, codes(length=2**62, grid=[2**62])),
    "code length of the largest": (PRIOR, codes(length=2**24, grid=[2**24])),
    "code length of a large grid": (PRIOR, codes(length=2**24, grid=[2**23] * 8)),
    "rows and columns of the largest": (
        PRIOR,
        lambda metadata, state: (
            metadata["prior"].update(attention="strided", code_vectors=False),
            metadata["spec"].update(length=2**24, grid=[2**12, 2**12]),
        ),
    ),
    "a block of more codes than there are": (PRIOR, prior(attention="local", block=2**20)),
    "codebook of the largest": (PRIOR, codes(size=2**24)),
    "code dimension of the largest": (PRIOR, lambda metadata, state: metadata.update(vectors=[2**20, 2**24])),
    "classes of the largest": (PRIOR, codes(classes=2**24)),
    "an order of no cells": (PRIOR, codes(order=[0, 0])),
    "levels of other codes": (PRIOR, codes(levels=[0.5])),
    "digits of the largest": (
        PRIOR,
        lambda metadata, state: (
            metadata["prior"].update(kind="ardm"),
            metadata["spec"].update(size=2**24, radices=[2**24] + [1] * 63),
        ),
    ),
    "vectors of fewer codes": (PRIOR, lambda metadata, state: state.update(vectors=torch.zeros(2, 4))),
    "vectors of one number": (PRIOR, lambda metadata, state: state.update(vectors=torch.zeros(()))),
    "tensors that nothing needs": (PRIOR, lambda metadata, state: state.update(more=torch.zeros(3))),
    "a tensor of another type": (
        PRIOR,
        lambda metadata, state: state.update({"norm.bias": state["norm.bias"].to(torch.float64)}),
    ),
    "a plugin by its import path": (AUTOENCODER, lambda metadata, state: metadata.update(modality="os:system")),
    "a quantizer that there is none of": (
        AUTOENCODER,
        lambda metadata, state: metadata["autoencoder"].update(quantizer={"kind": "torch.nn.Linear"}),
    ),
}


@pytest.mark.parametrize("name", ABSURD)
def test_metadata_that_ask_for_too_much_are_refused_before_it_is_allocated(name, run_copy, largest_tensor):
    file, change = ABSURD[name]
    path = run_copy / file
    rewritten(path, change)
    with pytest.raises(RunError) as refused:
        load(run_copy, device="cpu")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert largest_tensor() < _MOST_BYTES


@pytest.fixture
def largest_tensor(monkeypatch) -> Callable[[], int]:
    """Bytes of the largest tensor that was allocated, by what the process grew at most.

    The peak of the process is what counts, as what is allocated and freed at once hurts too.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(11),
        lambda: torch.empty((1, 11)),
        lambda: torch.randn(size=(11,)),
        lambda: torch.full((11,), 1.0),
        lambda: torch.ones(1).new_zeros(11),
        lambda: torch.ones(1).new_full((11,), 2.0),
        lambda: torch.arange(11),
        lambda: torch.linspace(0, 1, 11),
        lambda: torch.nn.Linear(11, 1),
        lambda: torch.nn.Embedding(2**40, 2**10),
        lambda: [torch.zeros(4) for _ in range(3)],
    ],
)
def test_no_more_elements_are_made_than_allowed(make):
    with pytest.raises(ValueError, match="more than 10 numbers"), LimitedElements(10):
        make()
    with LimitedElements(10):
        assert len(torch.zeros(5)) == 5


def test_a_hostile_run_opens_or_fails_within_little_memory(run_copy, tmp_path):
    """A process that may have no more than 3 GiB says one line, where the metadata ask for 17 GB."""
    rewritten(run_copy / AUTOENCODER, network(channels=2**14, widths=[2**14], depth=1))
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30,) * 2)\n"
        "from anytime_core.run import load\nfrom anytime_core.errors import RunError\n"
        "try: load(sys.argv[1], device='cpu')\nexcept RunError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(run_copy)], capture_output=True, text=True, timeout=200, check=False
    )
    assert str(run_copy / AUTOENCODER) in result.stdout, result.stderr
    assert "ask for more than" in result.stdout


def test_a_number_that_is_none_is_no_way_in(run_copy):
    rewritten(run_copy / PRIOR, codes(length=float(np.inf)))
    with pytest.raises(AnytimeError, match=PRIOR):
        load(run_copy, device="cpu")


@pytest.mark.parametrize("name", LOADERS)
def test_tensors_that_are_not_those_that_were_written_are_damage(name, run_copy):
    def spoil(metadata: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
        next(tensor for tensor in state.values() if tensor.numel() > 1).flatten()[0] += 1e-3

    rewritten(run_copy / name, spoil)
    with pytest.raises(RunError, match=rf"{name}.* not those that were written; train that stage again with anytime"):
        LOADERS[name](run_copy / name)


@pytest.mark.parametrize("name", LOADERS)
def test_weights_of_earlier_versions_have_no_digest(name, run_copy):
    assert len(weights_digest(run_copy / name) or "") == 64
    rewritten(run_copy / name, lambda metadata, state: metadata.pop("digest"))
    assert weights_digest(run_copy / name) is None
    LOADERS[name](run_copy / name)


@pytest.mark.parametrize("value", [None, 0, "", "x", [1]])
@pytest.mark.parametrize("name", LOADERS)
def test_a_digest_that_is_not_that_of_the_tensors_is_damage(name, value, run_copy):
    rewritten(run_copy / name, lambda metadata, state: metadata.update(digest=value))
    with pytest.raises(RunError, match="damaged"):
        LOADERS[name](run_copy / name)


@pytest.mark.parametrize("version", [0, -1])
@pytest.mark.parametrize("name", LOADERS)
def test_a_format_that_there_never_was_is_damage(name, version, run_copy):
    rewritten(run_copy / name, lambda metadata, state: metadata.update(format_version=version))
    with pytest.raises(RunError, match="damaged"):
        LOADERS[name](run_copy / name)
