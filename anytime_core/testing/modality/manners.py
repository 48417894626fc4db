"""Checks that a modality changes nothing global."""

from __future__ import annotations

import contextlib
import pickle
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from anytime_core.modality import PreviewRow
from anytime_core.testing.modality.subject import Subject, check, samples


@check()
def nothing_global_is_touched(subject: Subject, folder: Path) -> None:
    """Data, networks and losses leave global seeds alone, and open neither network connections nor a GPU."""
    gpu = torch.cuda.is_initialized()
    threads = torch.get_num_threads()
    with _no_network(), _same_seeds():
        made = subject.make()
        datasets = made.datasets()
        x = samples(datasets.train, 2)
        made.augment(x, torch.Generator().manual_seed(0))
        for metric in made.metrics().values():
            metric(x, x)
        made.reconstruction_loss(x, x)
        made.write(x[0], folder / f"x{subject.modality.suffixes[0]}")
        made.preview([PreviewRow("", x)], folder / "preview.png")
    assert torch.cuda.is_initialized() == gpu, "it opens the GPU by itself"
    assert torch.get_num_threads() == threads, "it changes torch's number of threads"


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("it opens a network connection")

    with mock.patch.object(socket.socket, "connect", refuse), mock.patch.object(socket, "create_connection", refuse):
        yield


@contextlib.contextmanager
def _same_seeds() -> Iterator[None]:
    def states() -> tuple[object, ...]:
        return random.getstate(), pickle.dumps(np.random.get_state()), bytes(torch.get_rng_state().numpy())

    before = states()
    yield
    changed = [
        name
        for name, first, second in zip(("random", "numpy.random", "torch"), before, states(), strict=True)
        if first != second
    ]
    assert not changed, f"it uses the global generator of {', '.join(changed)}: make one of its own, with a seed"
