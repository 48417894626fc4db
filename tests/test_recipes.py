"""Trainings that are long enough to show that the method works, on embedded and on real data."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from anytime_core.config import Config, apply_overrides, parse_config
from anytime_core.recipes import find_recipe
from anytime_core.record import RunRecord
from anytime_core.run import load
from anytime_core.training.train import train
from anytime_image.modality import ImageConfig

pytestmark = pytest.mark.slow


def recipe_config(name: str, *overrides: str) -> Config:
    settings = ("training.device=cpu", "training.precision=float32", *overrides)
    return parse_config(apply_overrides(find_recipe(name).read(), settings), ImageConfig)


def errors(record: RunRecord) -> dict[int, float]:
    """Mean squared error on the validation data by number of codes."""
    validation = record.stages["autoencoder"].validation
    return dict(zip(validation["codes"], validation["reconstruction"]["mse"], strict=True))


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """The default recipe, whole."""
    torch.set_num_threads(2)
    folder = tmp_path_factory.mktemp("runs") / "digits"
    train(recipe_config("image/digits"), folder, recipe="image/digits")
    return load(folder, device="cpu")


def test_the_default_recipe_reconstructs_better_with_every_budget_and_uses_its_codebook(digits_run):
    by_codes = errors(digits_run.record)
    assert all(more < less for less, more in itertools.pairwise(by_codes.values())), by_codes
    assert digits_run.record.stages["autoencoder"].validation["codebook_use"] == 1.0


def test_samples_of_the_default_recipe_are_recognised_as_the_digits_asked_for(digits_run):
    data = digits_run.modality.datasets()
    x, labels = data.train.batch(range(len(data.train))).values()
    classifier = LogisticRegression(max_iter=300).fit(x.flatten(1).numpy(), labels.numpy())
    held_out, held_out_labels = data.validation.batch(range(len(data.validation))).values()
    assert classifier.score(held_out.flatten(1).numpy(), held_out_labels.numpy()) > 0.93
    for budget, at_least in ((0.25, 0.75), (0.6, 0.8), (1.0, 0.8)):
        samples = digits_run.sample(500, budget=budget)
        recognised = np.mean(classifier.predict(samples.x.flatten(1).numpy()) == samples.labels.numpy())
        assert recognised >= at_least, f"budget {budget}: {recognised:.2f}"


def test_on_mnist_order_pays_within_one_epoch_up_to_three_quarters_of_the_codes(data_root: Path, tmp_path):
    torch.set_num_threads(2)
    short = (
        f"data.root={data_root / 'mnist'}",
        "training.autoencoder.steps=400",
        "training.autoencoder.validations=1",
    )
    curves = [
        errors(train(recipe_config("image/mnist", *short, extra), tmp_path / name, stages=["autoencoder"]))
        for name, extra in (("ordered", "seed=0"), ("unordered", "autoencoder.truncation.distribution=none"))
    ]
    ordered, unordered = curves
    assert all(more < less for less, more in itertools.pairwise(ordered.values())), ordered
    most = max(ordered) * 3 // 4
    assert all(ordered[codes] < unordered[codes] for codes in ordered if codes <= most), (ordered, unordered)
