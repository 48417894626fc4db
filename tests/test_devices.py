"""One device, resolved once with its index, on machines with feigned GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_config

from anytime_core.devices import resolve_device, resolve_precision
from anytime_core.errors import UsageError
from anytime_core.record import STAGES
from anytime_core.training import preparation
from anytime_core.training.log import ignore_progress
from anytime_core.training.preparation import Preparation


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Feign a machine with so many GPUs, of which one is the present one; returns those that are made the present one.

    As torch does, it refuses a device without index.
    """

    def feign(count: int, current: int = 0) -> list[torch.device]:
        chosen: list[torch.device] = []

        def set_device(device: torch.device) -> None:
            if device.index is None:
                raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
            chosen.append(device)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        monkeypatch.setattr(torch.cuda, "set_device", set_device)
        return chosen

    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    return feign


def prepared(device: str) -> Preparation:
    config = tiny_config(f"training.device={device}", "training.precision=auto")
    return Preparation(config, Path("nowhere"), STAGES, ignore_progress)


@pytest.mark.parametrize(
    ("name", "count", "current", "local_rank", "expected"),
    [
        ("auto", 0, 0, None, "cpu"),
        ("auto", 0, 0, "1", "cpu"),
        ("auto", 1, 0, None, "cuda:0"),
        ("auto", 2, 1, None, "cuda:1"),
        ("auto", 2, 0, "1", "cuda:1"),
        ("cuda", 1, 0, None, "cuda:0"),
        ("cuda", 2, 1, None, "cuda:1"),
        ("cuda", 2, 0, "1", "cuda:1"),
        ("cuda:1", 2, 0, None, "cuda:1"),
        ("cuda:1", 2, 0, "0", "cuda:1"),
        ("cpu", 2, 1, "1", "cpu"),
        ("cpu:0", 0, 0, None, "cpu"),
    ],
)
def test_a_device_is_resolved_with_its_index(gpus, monkeypatch, name, count, current, local_rank, expected):
    gpus(count, current)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert resolve_device(name) == torch.device(expected)


def test_the_gpu_of_a_mac_has_an_index_too(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == torch.device("mps", 0)


@pytest.mark.parametrize(
    ("name", "count", "local_rank", "message"),
    [
        ("cuda", 0, None, r"device 'cuda' is not here \(0 CUDA devices\): use cpu or auto"),
        ("cuda:1", 1, None, r"device 'cuda:1' is not here \(1 CUDA devices\): use cpu or auto"),
        ("auto", 1, "1", r"process 1 .* has no GPU of its own \(1 CUDA devices\): start 1 processes"),
        ("cuda", 2, "first", "LOCAL_RANK=first is not the number of a process"),
        ("meta", 1, None, "unknown device 'meta': use auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_a_device_that_is_not_here_is_refused_by_name(gpus, monkeypatch, name, count, local_rank, message):
    gpus(count)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    with pytest.raises(UsageError, match=message):
        resolve_device(name)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_is_too_old_for_the_installed_torch_is_refused(gpus, monkeypatch, name):
    gpus(1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a", "sm_120", "compute_120"])
    assert resolve_device(name) == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    with pytest.raises(UsageError, match=r"^device 'cuda:0' has .* 6\.1, .* for 7\.5 and later: use cpu"):
        resolve_device(name)


def test_a_gpu_that_does_not_multiply_bfloat16_is_refused_it_by_name(gpus, monkeypatch):
    gpus(1)
    device = torch.device("cuda", 0)
    assert resolve_precision("bfloat16", device) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert resolve_precision("auto", device) == torch.float32
    with pytest.raises(UsageError, match=r"^precision bfloat16 needs .* 8\.0, and 'cuda:0' has 7\.5: use float32$"):
        resolve_precision("bfloat16", device)


@pytest.mark.parametrize(("name", "expected"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_a_training_uses_one_device_with_its_index_everywhere(gpus, monkeypatch, name, expected):
    chosen = gpus(2, current=1)
    told = []

    def accelerator(**settings: object) -> SimpleNamespace:
        told.append((preparation.os.environ["ACCELERATE_TORCH_DEVICE"], settings))
        return SimpleNamespace()

    monkeypatch.setattr(preparation, "Accelerator", accelerator)
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    training = prepared(name)
    assert training.accelerator is training.accelerator
    assert training.device == torch.device(expected)
    assert chosen == [torch.device(expected)]
    assert told == [(expected, {"cpu": False, "mixed_precision": "bf16"})]
    assert "ACCELERATE_TORCH_DEVICE" not in preparation.os.environ


def test_accelerate_takes_the_device_that_it_is_told(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(preparation, "resolve_device", lambda name: torch.device("meta"))
    training = prepared("cpu")
    assert training.accelerator.device == torch.device("meta")
    assert prepared("cpu").accelerator.device == torch.device("meta")


def test_processes_that_train_together_do_not_share_a_gpu(gpus, monkeypatch):
    gpus(2)
    for variable, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(variable, value)
    assert prepared("cuda:1").device == torch.device("cuda:1")
    with pytest.raises(UsageError, match=r"device 'cuda:0' is not that of process 1 .* use auto or cuda"):
        _ = prepared("cuda:0").device


@pytest.mark.parametrize("theirs", [False, True])
def test_a_process_group_that_the_training_formed_ends_with_it(gpus, monkeypatch, theirs):
    """Also that of one process alone, which accelerate forms for torchrun on a GPU."""
    gpus(0)
    groups = ["theirs"] if theirs else []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: bool(groups))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", groups.clear)
    with prepared("cpu").environment():
        groups.append("ours")
    assert groups == (["theirs", "ours"] if theirs else [])


def test_tests_that_are_not_marked_see_no_gpu_whatever_the_machine_has():
    """Neither here nor in processes that they start; so the suite says the same with a GPU and without one."""
    program = "import torch; print(torch.cuda.is_available(), torch.cuda.device_count())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == ["False", "0"]
    assert (torch.cuda.is_available(), torch.cuda.device_count()) == (False, 0)
