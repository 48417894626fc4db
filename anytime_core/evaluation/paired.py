"""Bits per code of two priors on the same validation codes, with the standard error of their difference.

What is hard for one prior is mostly hard for the other. So the difference is far surer than either number, if it is
taken sequence by sequence. S is the number of sequences, n how many leading codes both priors model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anytime_core.errors import RunError
from anytime_core.evaluation.judge import BATCH, OnProgress
from anytime_core.evaluation.result import BitsBeside, Evaluation
from anytime_core.evaluation.versus import same_codes
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.blame import blaming, checked
from anytime_core.run import Run
from anytime_core.training.batches import on_device, ordered_batches
from anytime_core.training.codes import CodesDataset

_SEQUENCES = 2000
"""How many validation sequences tell how much bits vary; their means are of all."""


def compare_bits(
    runs: Sequence[Run], evaluations: Sequence[Evaluation], on_progress: OnProgress
) -> dict[str, BitsBeside]:
    """The bits of the first evaluation beside those of every other run that has a prior of the same codes.

    Args:
        runs: of the evaluations, each once, the first one's first.
        evaluations: of several for one run, the first counts.
        on_progress: called with a description of the work, how much is done, and how much there is in all.

    Returns:
        Folder of the other run -> the comparison. An order-agnostic prior that models more codes than the other one
        has a bound for the first of them only if that number of codes was evaluated; otherwise it is left out.
    """
    first = {one.run: one for one in reversed(evaluations)}
    own, *others = [(run, first[str(run.folder)]) for run in {str(run.folder): run for run in runs}.values()]
    others = [(run, one) for run, one in others if same_codes(own[1], one) and one.bits_per_position]
    if not own[1].bits_per_position or not others:
        return {}
    measured = _measured([own[0], *(run for run, _ in others)], on_progress)
    compared = {run: _beside(own[1], other, measured) for run, other in ((one.run, one) for _, one in others)}
    return {run: beside for run, beside in compared.items() if beside is not None}


@dataclass(frozen=True)
class _Measured:
    """The bits [S, N] that a causal prior needs for codes [S, N'] of validation data, spread evenly over it."""

    codes: Tensor
    bits: Tensor
    in_all: int

    def standard_error(self, values: Tensor) -> float:
        """Of the mean of a number over all sequences, by its values [S] in some."""
        return values.std().item() / math.sqrt(self.in_all)


def _measured(runs: Sequence[Run], on_progress: OnProgress) -> dict[str, _Measured]:
    """Folder -> bits, of the runs with a causal prior whose codes are still there."""
    found = {}
    for number, run in enumerate(runs):
        on_progress("comparing bits per code", number, len(runs))
        bits = _bits_of(run)
        if bits is not None:
            found[str(run.folder)] = bits
    on_progress("comparing bits per code", len(runs), len(runs))
    return found


@torch.inference_mode()
def _bits_of(run: Run) -> _Measured | None:
    prior, record = run.require_prior(), run.record
    if not isinstance(prior, CausalPrior):
        return None
    try:
        dataset = CodesDataset(
            run.folder / "codes",
            "validation",
            code_length=record.code_length,
            codebook_size=record.codebook_size,
            classes=len(record.classes) or None,
        )
    except RunError:
        return None
    recorded = record.stages["prior"].validation.samples
    if len(dataset) < 2 or recorded not in (None, len(dataset)):
        return None
    codes, bits = [], []
    for batch in ordered_batches(dataset, BATCH, limit=_SEQUENCES, workers=0):
        some = on_device(batch, prior.device)
        wanted = some["codes"][:, : prior.code_length]
        with blaming(prior.kind):
            found = prior.log_prob(wanted, some.get("label"))
        nats = -checked(prior.kind, "log probabilities", found, wanted.shape)
        codes.append(batch["codes"])
        bits.append(nats.double().cpu() / math.log(2))
    return _Measured(torch.cat(codes), torch.cat(bits), len(dataset))


def _beside(own: Evaluation, other: Evaluation, measured: Mapping[str, _Measured]) -> BitsBeside | None:
    length = min(len(own.bits_per_position), len(other.bits_per_position))
    ours, theirs = (_bits(one, length, measured.get(one.run)) for one in (own, other))
    if ours is None or theirs is None:
        return None
    error = paired = _paired(measured.get(own.run), measured.get(other.run), length)
    if error is None and ours[1] is not None and theirs[1] is not None:
        error = math.hypot(ours[1], theirs[1])
    return BitsBeside(
        codes=length,
        bits=ours[0],
        other_bits=theirs[0],
        bound=bool(own.bits_per_calls),
        other_bound=bool(other.bits_per_calls),
        paired=paired is not None,
        standard_error=error,
    )


def _bits(evaluation: Evaluation, length: int, measured: _Measured | None) -> tuple[float, float | None] | None:
    """Bits a code of the first `length` codes, as the table has them, and their standard error if it is known."""
    if evaluation.bits_per_calls:
        row = next((row for row in evaluation.rows if row.codes == length), None)
        if row is not None and row.bits_per_code is not None:
            return row.bits_per_code, row.bits_standard_error
        if length < len(evaluation.bits_per_position):
            return None  # its bits of each code are those after random others, which may come later
    bits = sum(evaluation.bits_per_position[:length]) / length
    if length == len(evaluation.bits_per_position):
        return bits, evaluation.bits_standard_error
    return bits, None if measured is None else measured.standard_error(measured.bits[:, :length].mean(1))


def _paired(one: _Measured | None, other: _Measured | None, length: int) -> float | None:
    """The standard error of the mean difference; None if the sequences are not known, or not the same."""
    if one is None or other is None or one.in_all != other.in_all or not torch.equal(one.codes, other.codes):
        return None
    return one.standard_error((one.bits[:, :length] - other.bits[:, :length]).mean(1))
