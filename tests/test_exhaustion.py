"""Memory, shared memory and processes that are gone: one line of ours in place of a library's error."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from anytime_core.errors import AnytimeError, DataError
from anytime_core.exhaustion import exhausted, explained
from anytime_core.sampling.sampler import Sampler

MEMORY = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((2**40,), np.dtype(float)),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "4398046511104 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
GPU_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
WORKERS = [
    RuntimeError("DataLoader worker (pid(s) 4242) exited unexpectedly"),
    RuntimeError("DataLoader worker (pid 4242) is killed by signal: Killed. "),
    RuntimeError(
        "DataLoader worker (pid 4242) is killed by signal: Bus error. It is possible that dataloader's workers are out "
        "of shared memory. Please try to raise your shared memory limit."
    ),
    RuntimeError(
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "RuntimeError: unable to allocate shared memory(shm) for file </torch_42_1_0>: No space left on device (28)"
    ),
    RuntimeError("unable to write to file </torch_42_1_0>: No space left on device (28)"),
]
PEERS = [
    RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:9"),
    RuntimeError("[../third_party/gloo/gloo/transport/tcp/buffer.cc:72] Read timeout [127.0.0.1]:9"),
    RuntimeError("NCCL communicator was aborted on rank 1."),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    OSError(errno.ENOSPC, "No space left on device", "out of memory.png"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    FileNotFoundError("Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback"),
    ValueError("out of memory"),
]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        *((error, "work: out of memory; lower it") for error in MEMORY),
        *(
            (error, "work: out of memory on the GPU, of which another process may hold a part; lower it")
            for error in GPU_MEMORY
        ),
        *(
            (
                error,
                "work: the processes that load the data were killed, or found no room in /dev/shm: "
                "set training.workers=0",
            )
            for error in WORKERS
        ),
        *(
            (error, "work: another process of this training has ended; its own messages say why; go on")
            for error in PEERS
        ),
    ],
    ids=str,
)
def test_what_ran_out_is_one_line(error, message):
    with pytest.raises(AnytimeError) as caught, explained("work", memory="lower it", peers="go on"):
        raise error
    assert str(caught.value) == message
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_go_on_as_they_are(error):
    assert exhausted(error) is None
    with pytest.raises(type(error)) as caught, explained("work", memory="lower it"):
        raise error
    assert caught.value is error


def test_an_error_of_ours_leaves_its_worker_without_the_traceback():
    loader = torch.utils.data._utils.worker.ExceptionWrapper
    try:
        raise DataError("none of the 3 images can be read, such as a.png")
    except DataError:
        wrapped = loader(where="in DataLoader worker process 0")
    with pytest.raises(DataError) as caught, explained("work", memory="lower it"):
        wrapped.reraise()
    assert str(caught.value) == "none of the 3 images can be read, such as a.png"


@pytest.mark.parametrize("budget", [1.0, "10s"])
def test_drawing_too_many_samples_at_a_time_says_what_to_lower(tiny_run, budget, monkeypatch):
    def exhaust(*arguments: object) -> None:
        raise MEMORY[2]

    monkeypatch.setattr(Sampler, "_batch", exhaust)
    message = (
        "drawing 3 samples at a time: out of memory; lower the batch size, which is --batch-size of anytime sample"
    )
    with pytest.raises(AnytimeError, match=message):
        tiny_run.sample(3, budget)


def test_a_command_that_runs_out_of_memory_elsewhere_says_so_too(anytime, monkeypatch):
    def exhaust(*arguments: object) -> None:
        raise MEMORY[2]

    monkeypatch.setattr("anytime_core.record.list_runs", exhaust)
    result = anytime("runs", "list")
    assert result.status == 1
    assert result.err == "error: out of memory; ask for less at a time, or end other programs\n"
