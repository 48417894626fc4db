"""Bits per code of priors on one autoencoder: the difference, and how sure it is."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_config

from anytime_core.evaluation.paired import compare_bits
from anytime_core.evaluation.result import Evaluation
from anytime_core.run import Run, load
from anytime_core.training.train import train_stages
from anytime_core.weights import autoencoder_digest


def evaluation(run: Run, **changes: object) -> Evaluation:
    """What comparisons of bits go by."""
    validation = run.record.stages["prior"].validation
    told = {
        "run": str(run.folder),
        "modality": "image",
        "prior": run.prior.kind,
        "autoencoder": autoencoder_digest(run.folder, run.record),
        "code_length": run.code_length,
        "codebook_size": run.record.codebook_size,
        "num": 2,
        "reference": 2,
        "seed": 0,
        "extractors": {},
        "codebook_use": None,
        "gains": {},
        "order_agreement": None,
        "bits_per_position": list(validation.bits_per_position),
        "bits_standard_error": validation.standard_error,
        "bits_per_calls": {} if run.prior.kind != "ardm" else {"optimal": {1: 9.0}},
        "rows": [],
    }
    return Evaluation.model_validate({**told, **changes})


def beside(*runs: Run):
    done: list[tuple[int, int]] = []
    compared = compare_bits(runs, [evaluation(run) for run in runs], lambda _, *counts: done.append(counts))
    assert not done or done[-1][0] == done[-1][1]
    return compared


@pytest.fixture(scope="module")
def shorter(tiny_folder: Path, tmp_path_factory) -> Run:
    """The tiny run with a prior of its first codes, less trained."""
    folder = tmp_path_factory.mktemp("runs") / "shorter"
    shutil.copytree(tiny_folder, folder)
    train_stages(tiny_config("prior.code_length=4", "training.prior.steps=2"), folder, stages=["prior"], force=True)
    return load(folder, device="cpu")


def bits(run: Run, length: int) -> torch.Tensor:
    """[S]: bits a code of the first codes of every validation sequence."""
    codes, labels = (
        torch.from_numpy(np.load(run.folder / "codes" / f"validation{rest}.npy").astype(np.int64))
        for rest in ("", "-labels")
    )
    with torch.no_grad():
        nats = -run.prior.log_prob(codes[:, : run.prior.code_length], labels)
    return nats[:, :length].double().mean(1) / math.log(2)


def test_the_error_is_that_of_differences_of_the_first_codes_that_both_priors_model(tiny_run, shorter):
    apart = bits(tiny_run, 4) - bits(shorter, 4)
    for first, second, sign in ((tiny_run, shorter, 1), (shorter, tiny_run, -1)):
        (found,) = beside(first, second).values()
        assert (found.codes, found.paired, found.bound, found.other_bound) == (4, True, False, False)
        assert found.bits - found.other_bits == pytest.approx(sign * apart.mean().item(), abs=1e-4)
        assert found.standard_error == pytest.approx(apart.std().item() / math.sqrt(len(apart)), rel=1e-3)


def test_a_prior_does_not_differ_from_itself(tiny_run, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "twin")
    (found,) = beside(tiny_run, load(tmp_path / "twin", device="cpu")).values()
    assert found.paired
    assert found.bits == found.other_bits
    assert found.standard_error == 0


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: np.save(file, 0 * np.load(file))])
def test_without_the_same_sequences_the_error_is_that_of_independent_ones(tiny_run, tiny_folder, tmp_path, harm):
    shutil.copytree(tiny_folder, tmp_path / "twin")
    harm(tmp_path / "twin" / "codes" / "validation.npy")
    (found,) = beside(tiny_run, load(tmp_path / "twin", device="cpu")).values()
    assert not found.paired
    own = tiny_run.record.stages["prior"].validation.standard_error
    assert found.standard_error == pytest.approx(own * math.sqrt(2))


def test_a_bound_is_called_one_and_of_fewer_codes_it_is_known_only_where_it_was_evaluated(
    tiny_run, agnostic_run, shorter
):
    (found,) = beside(agnostic_run, tiny_run).values()
    assert (found.codes, found.bound, found.other_bound, found.paired) == (8, True, False, False)
    assert beside(agnostic_run, shorter) == {}


def test_priors_of_other_codes_are_not_compared(tiny_run, shorter):
    foreign = evaluation(shorter, autoencoder="another")
    assert compare_bits([tiny_run, shorter], [evaluation(tiny_run), foreign], lambda *_: None) == {}
