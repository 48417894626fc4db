"""Trainings that are long enough to show that the method works, on embedded and on real data."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from conftest import assert_every_prefix_helps

from anytime_core.budget import Budget
from anytime_core.config import Config
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.plugins import load_modality
from anytime_core.discovery.recipes import find_recipe
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.record import RunRecord
from anytime_core.run import Run, load
from anytime_core.training.train import train_stages

pytestmark = pytest.mark.slow


def recipe_config(name: str, *overrides: str) -> Config:
    settings = ("training.device=cpu", "training.precision=float32", *overrides)
    sections = load_modality(name.partition("/")[0]).Config
    return parse_config(apply_overrides(find_recipe(name).read(), settings, sections), sections)


def errors(record: RunRecord, measure: str = "mse") -> dict[int, float]:
    """Mean of a measure on the validation data by number of codes."""
    validation = record.stages["autoencoder"].validation
    return dict(zip(validation.codes, validation.reconstruction[measure], strict=True))


@pytest.fixture(scope="module", params=["image/digits", "audio/plucks"])
def default_run(request, tmp_path_factory) -> Run:
    """A default recipe, whole."""
    torch.set_num_threads(2)
    folder = tmp_path_factory.mktemp("runs") / request.param.replace("/", "-")
    train_stages(recipe_config(request.param), folder, recipe=request.param)
    return load(folder, device="cpu")


def test_a_default_recipe_reconstructs_better_with_every_budget_and_uses_its_codebook(default_run):
    by_codes = errors(default_run.record, "loss")
    assert all(more < less for less, more in itertools.pairwise(by_codes.values())), by_codes
    validation = default_run.record.stages["autoencoder"].validation
    assert_every_prefix_helps(validation)
    assert validation.codebook_use > 0.95


def test_samples_of_a_default_recipe_are_recognised_nearly_as_well_as_reconstructions(default_run, tmp_path):
    budgets = tuple(map(Budget, (0.25, 0.6, 1.0)))
    (evaluation,) = evaluate(default_run, tmp_path, EvaluationOptions(budgets, num=480))
    for row, at_least in zip(evaluation.rows, (0.4, 0.55, 0.6), strict=True):
        reconstructed, drawn = row.reconstructed.label_accuracy, row.samples.label_accuracy
        assert reconstructed > at_least, row.codes
        assert drawn > 0.8 * reconstructed, f"{row.codes} codes: {drawn:.2f} against {reconstructed:.2f}"


def test_on_mnist_order_pays_within_one_epoch_up_to_three_quarters_of_the_codes(data_root: Path, tmp_path):
    torch.set_num_threads(2)
    short = (
        f"data.root={data_root / 'mnist'}",
        "training.autoencoder.steps=400",
        "training.autoencoder.validations=1",
    )
    curves = [
        errors(train_stages(recipe_config("image/mnist", *short, extra), tmp_path / name, stages=["autoencoder"]))
        for name, extra in (("ordered", "seed=0"), ("unordered", "autoencoder.truncation.distribution=none"))
    ]
    ordered, unordered = curves
    assert all(more < less for less, more in itertools.pairwise(ordered.values())), ordered
    most = max(ordered) * 3 // 4
    assert all(ordered[codes] < unordered[codes] for codes in ordered if codes <= most), (ordered, unordered)


def test_spoken_digits_are_recognised_after_a_short_training_and_better_with_more_codes(data_root: Path, tmp_path):
    torch.set_num_threads(2)
    short = (
        f"data.root={data_root / 'fsdd'}",
        f"data.cache={tmp_path / 'clips'}",
        "training.autoencoder.steps=400",
        "training.autoencoder.validations=1",
    )
    record = train_stages(recipe_config("audio/fsdd", *short), tmp_path / "fsdd", stages=["autoencoder"])
    distances = errors(record, "log_mel")
    assert all(more < less for less, more in itertools.pairwise(distances.values())), distances
    run = load(tmp_path / "fsdd", device="cpu")
    (evaluation,) = evaluate(run, tmp_path / "evaluation", EvaluationOptions((Budget(0.05), Budget(1.0))))
    few, all_ = (row.reconstructed.label_accuracy for row in evaluation.rows)
    assert few + 0.1 < all_
    assert all_ > 0.75
