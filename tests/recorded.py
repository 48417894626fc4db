"""CUDA graphs on the CPU: work is recorded operator by operator, and only these operators are replayed.

As with a CUDA graph, recording does not do the work, a replay runs no Python code of it, reads and writes the tensors
of the recording, and neither looks at values nor takes shapes from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import anytime_core.capture
from anytime_core.capture import Captured, capture, warm_up
from anytime_core.priors.stepping import CapturedEngine

_FORBIDDEN = {"_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "unique_dim", "_unique2"}
"""Operators that wait for the device, copy from the host, or whose shapes follow from values."""

_WRITES_UNSAID = {"native_batch_norm": {"running_mean", "running_var"}}
"""What operators write although their schemas do not say so."""


@pytest.fixture
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture by recording, on any device."""
    monkeypatch.setattr(anytime_core.capture, "can_capture", lambda device: True)
    monkeypatch.setattr(anytime_core.capture, "_captured", lambda work, device, beside: recorded(work))


@pytest.fixture(params=["recorded", pytest.param("cuda", marks=pytest.mark.gpu)])
def graph_device(request: pytest.FixtureRequest) -> torch.device:
    """A device whose work can be captured: the CPU by recording, then a GPU if there is one."""
    if request.param == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    request.getfixturevalue("recorded_graphs")
    return torch.device("cpu")


def recorded(work: Callable[[], Any]) -> Captured[Any]:
    """`work`, recorded."""
    recorder, random = _Recorder(), torch.get_rng_state()
    try:
        with recorder:
            result = work()
    finally:
        recorder.undo()
        torch.set_rng_state(random)  # recording, as capturing, draws nothing
    return Captured(result, recorder.replay)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in _FORBIDDEN:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        unsaid = _WRITES_UNSAID.get(func.overloadpacket.__name__, set())
        named = [*zip((schema.name for schema in func._schema.arguments), args, strict=False), *kwargs.items()]
        written = {schema.name for schema in func._schema.arguments if schema.is_write} | unsaid
        for name, value in named:
            if name in written:
                self._remember(value)
        result = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, result))
        self._made |= {_storage(tensor) for tensor in _tensors(result)} - {
            _storage(t) for t in _tensors((args, kwargs))
        }
        return result

    def _remember(self, written: Any) -> None:
        """Keep what is in tensors from outside before they are written for the first time."""
        for tensor in _tensors(written):
            if _storage(tensor) not in self._made and _storage(tensor) not in self._before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self._before[_storage(tensor)] = (whole, whole.clone())

    @torch.no_grad()
    def undo(self) -> None:
        """Put back what recording has overwritten."""
        for tensor, before in self._before.values():
            tensor.copy_(before)

    @torch.inference_mode()
    def replay(self) -> None:
        for func, args, kwargs, recorded_result in self._calls:
            new = func(*args, **kwargs)
            for old, tensor in zip(_tensors(recorded_result), _tensors(new), strict=True):
                if _storage(old) != _storage(tensor):
                    old.copy_(tensor)


def _tensors(values: Any) -> list[torch.Tensor]:
    """All tensors in `values` but weights that a library has packed, which have no storage and never change."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor) and not leaf.is_mkldnn]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


@torch.inference_mode()
def assert_a_captured_step_serves_all_positions(engine: CapturedEngine, batch: int, *, spread: float) -> None:
    """One captured step gives the conditionals at every position, of one batch after another.

    Args:
        engine: of a prior with labels, on a device whose work can be captured.
        batch: B.
        spread: the deviation that logits have at least, as those that are nearly flat would hide differences.
    """
    prior, device = engine.prior, engine.prior.device
    length = prior.code_length
    codes = torch.randint(prior.codebook_size, (2, batch, length), device=device)
    labels = torch.randint(prior.classes, (2, batch), device=device)
    stepper = engine.open(labels[0], batch, length)
    position, previous = labels.new_zeros(1), labels.new_zeros(batch)

    def work() -> torch.Tensor:
        return stepper.step_at(position, previous)

    warm_up(work, device)
    made = capture(work, device, what="a step", way_out="none")
    for some_codes, some_labels in zip(codes, labels, strict=True):
        stepper.restart(some_labels)
        expected = prior.conditionals(some_codes[:, :-1], some_labels)
        assert expected.std() > spread
        for n in range(length):
            position.fill_(n)
            previous.copy_(some_codes[:, n - 1] if n else torch.full_like(previous, 10**6))
            made.replay()
            torch.testing.assert_close(made.result, expected[:, n], rtol=0, atol=1e-4)
