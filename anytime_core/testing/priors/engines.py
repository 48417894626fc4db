"""Checks of the engines of causal priors: each engine gives what engine `plain` gives.

P is the number of parameters of one code, R the number of rows of a batch.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.stepping import CapturedEngine, Engine, Stepper
from anytime_core.testing.priors.subject import BATCH, CLASSES, CLOSE, Subject, check, some_codes, some_labels


@dataclass(frozen=True)
class _Case:
    """An engine and the parameters that it should give.

    Attributes:
        engine: an engine of a trained prior, in float32.
        codes: [B, N], the codes that are forced.
        labels: [B], None for an unconditional prior.
        wanted: [B, N, P], the parameters from `conditionals`.
    """

    engine: Engine
    codes: Tensor
    labels: Tensor | None
    wanted: Tensor

    @property
    def length(self) -> int:
        """N."""
        return self.codes.shape[1]

    def open(self, rows: Tensor, length: int | None = None) -> Stepper:
        """A stepper of some rows of the batch, for all codes or the first `length`."""
        labels = None if self.labels is None else self.labels[rows]
        return self.engine.open(labels, len(rows), length or self.length)

    def step(self, stepper: Stepper, rows: Tensor, position: int) -> Tensor:
        """What it says of the code at a position of these rows, [R, P]."""
        # What is compiled is run as it is written, since compiling takes minutes.
        with torch.compiler.set_stance("force_eager"):
            found = stepper.step(position, self.codes[rows, position - 1] if position else None)
        wanted = (len(rows), self.wanted.shape[-1])
        assert found.shape == wanted, f"a step of engine {self.engine.name} gives {tuple(found.shape)}, not {wanted}"
        return found.float().clone()  # it may be a buffer

    def compare(self, found: Tensor, rows: Tensor, position: int, where: str = "") -> None:
        """Raise AssertionError if `found` are not the parameters of the rows at a position."""
        wanted = self.wanted[rows, position]
        worst = torch.where(found == wanted, 0, found - wanted).abs().max().item()
        assert worst < CLOSE, f"engine {self.engine.name} differs by {worst:.3g} at position {position}{where}"


@check("causal", "discrete")
@torch.no_grad()
def steps_are_the_conditionals(subject: Subject, folder: Path) -> None:
    """Every engine gives, step by step, the parameters that `conditionals` gives at once, with labels too."""
    _check_steps(subject, torch.device("cpu"))


@check("causal", "discrete", "cuda")
@torch.no_grad()
def steps_on_a_gpu_are_the_conditionals(subject: Subject, folder: Path) -> None:
    """Every engine that runs on a CUDA device gives, step by step, the parameters of `conditionals` there too."""
    _check_steps(subject, torch.device("cuda"))


@check("causal", "discrete")
@torch.no_grad()
def batches_go_on_with_the_rows_that_are_kept(subject: Subject, folder: Path) -> None:
    """After `keep`, a stepper goes on with the kept rows as if there had never been others."""
    for case in _cases(subject):
        for keeps in ({0: [1, 3, 4, 7], 2: [3]}, {1: list(range(BATCH)), 3: [0, BATCH - 1]}):
            rows = torch.arange(BATCH)
            stepper = case.open(rows)
            for position in range(case.length):
                case.compare(case.step(stepper, rows, position), rows, position, " after keep()")
                if position in keeps:
                    kept = torch.tensor(keeps[position])
                    stepper.keep(kept)
                    rows = rows[kept]


@check("causal", "discrete")
@torch.no_grad()
def batches_do_not_disturb_each_other(subject: Subject, folder: Path) -> None:
    """Two batches of one engine that are open at the same time do not affect each other."""
    for case in _cases(subject):
        orders = torch.arange(BATCH), torch.arange(BATCH).flip(0)
        pair = [(case.open(rows), rows) for rows in orders]
        for position in range(case.length):
            found = [case.step(stepper, rows, position) for stepper, rows in pair]
            for (_, rows), parameters in zip(pair, found, strict=True):
                case.compare(parameters, rows, position, " beside another batch")


@check("causal", "discrete")
@torch.no_grad()
def fewer_codes_are_the_first_ones(subject: Subject, folder: Path) -> None:
    """A batch of fewer codes has the steps of the first ones of more codes: a budget changes no code."""
    rows = torch.arange(BATCH)
    for case, length in itertools.product(_cases(subject), (1, 2)):
        stepper = case.open(rows, length)
        for position in range(min(length, case.length)):
            case.compare(case.step(stepper, rows, position), rows, position, f" of {length}")


@check("causal", "discrete")
@torch.no_grad()
def engines_leave_settings_alone(subject: Subject, folder: Path) -> None:
    """Drawing changes neither torch's number of threads, nor the global generator, nor the prior."""
    rows = torch.arange(BATCH)
    for case in _cases(subject):
        name, state = case.engine.name, case.engine.prior.state_dict()
        before = {key: value.clone() for key, value in state.items()}
        threads, generator = torch.get_num_threads(), torch.get_rng_state()
        stepper = case.open(rows)
        for position in range(case.length):
            case.step(stepper, rows, position)
            assert torch.get_num_threads() == threads, f"engine {name} changes torch's number of threads"
        assert torch.equal(torch.get_rng_state(), generator), f"engine {name} uses the global generator"
        changed = [key for key, value in before.items() if not torch.equal(value, state[key])]
        assert not changed, f"engine {name} changes {', '.join(changed)} of the prior"


@check("causal", "discrete", "exact")
@torch.no_grad()
def exact_steps_are_the_same_bits_in_any_batch(subject: Subject, folder: Path) -> None:
    """Engine `exact` gives each row the same bits in any batch."""
    for case in _cases(subject):
        if case.engine.name == "exact":
            rows = torch.arange(BATCH)
            together = _all_steps(case, rows)
            for number in range(BATCH):
                alone = _all_steps(case, rows[number : number + 1])
                assert torch.equal(alone[0], together[number]), f"row {number} of a batch has other bits alone"


def _check_steps(subject: Subject, device: torch.device) -> None:
    for case in _cases(subject, device):
        for rows in (torch.arange(BATCH), torch.arange(1)):
            stepper = case.open(rows)
            for position in range(case.length):
                case.compare(case.step(stepper, rows, position), rows, position)
            if isinstance(case.engine, CapturedEngine):
                _check_captured_steps(case, stepper, rows)


def _check_captured_steps(case: _Case, stepper: Any, rows: Tensor) -> None:
    """The steps that are captured, in the buffers of another batch."""
    stepper.restart(None if case.labels is None else case.labels[rows])
    for position in range(case.length):
        previous = case.codes[rows, position - 1]  # any at position 0
        found = stepper.step_at(torch.tensor([position], device=previous.device), previous)
        case.compare(found.float().clone(), rows, position, " by step_at() after restart()")


def _all_steps(case: _Case, rows: Tensor) -> Tensor:
    """The parameters [R, N, P] of the rows, as one batch."""
    stepper = case.open(rows)
    return torch.stack([case.step(stepper, rows, position) for position in range(case.length)], 1)


def _cases(subject: Subject, device: torch.device | None = None) -> Iterator[_Case]:
    """Every engine that runs on a device (None: the CPU), of a prior without labels and of one with labels."""
    device = device or torch.device("cpu")
    for classes in (0, CLASSES) if subject.conditional else (0,):
        trained = subject.trained(subject.spec.narrowed(classes=classes))
        prior: Any = copy.deepcopy(trained).to(device)
        codes, labels = some_codes(prior.spec).to(device), some_labels(prior.spec)
        labels = None if labels is None else labels.to(device)
        wanted = prior.conditionals(codes[:, :-1], labels).float()
        for maker in prior.engines().values():
            if "float32" in maker.precisions:
                try:
                    engine = maker(prior, "float32")
                except UsageError:  # it runs on another device
                    continue
                yield _Case(engine, codes, labels, wanted)
