"""A model that ignores its input is said, with advice that fits its config, and no prior is trained on its codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import assert_every_prefix_helps, tiny_config
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from anytime_core.autoencoder import build_autoencoder
from anytime_core.config import CoreConfig, TruncationConfig
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.curve import (
    ReconstructionCurve,
    average_sample,
    ignored_input,
    reconstruction_curve,
)
from anytime_core.discovery.recipes import find_config
from anytime_core.errors import RunError
from anytime_core.record import read_record
from anytime_core.training.autoencoder import OrderedLoss
from anytime_core.training.collapse import advice, worthless_prefixes
from anytime_core.training.train import train_stages
from anytime_image.config import ImageConfig
from anytime_image.modality import ImageModality

UNTAUGHT = ("training.autoencoder.learning_rate=1e-12", "training.autoencoder.validations=1")
"""With which nothing is learned."""

SHORT = ("data.size=8", "data.color=grey", "training.autoencoder.steps=2", "training.prior.steps=2")


def curve_of(*losses: float, mean: float | None = None, shuffled: tuple[float, ...] = ()) -> ReconstructionCurve:
    return ReconstructionCurve(
        lengths=tuple(range(1, len(losses) + 1)),
        values={"loss": losses},
        codebook_use=None,
        samples=8,
        shuffled={"loss": shuffled} if shuffled else {},
        mean_sample={} if mean is None else {"loss": mean},
    )


@pytest.mark.parametrize(
    ("own", "mean_sample", "of_others", "evidence"),
    [
        (0.01953, 0.0195, 0.03, "all codes is 0.01953, and that of predicting the mean sample 0.0195"),
        (0.2, 0.5, 0.2, "0.2 from the codes of another sample"),
        (0.2, 0.5, 0.8, None),
        (0.2, 0.5, None, None),
        (0.2, None, 0.2, "0.2 from the codes of another sample"),
        (0.2, None, None, None),
        (0.2, 0.0, 0.2, None),  # all samples are alike
    ],
)
def test_a_model_that_ignores_its_input_is_told_by_the_mean_sample_and_by_codes_of_others(
    own, mean_sample, of_others, evidence
):
    said = ignored_input(own, mean_sample, of_others)
    assert said is None if evidence is None else evidence in said


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        (
            curve_of(0.09, 0.05, 0.01, mean=0.02),
            "from 1, 2 codes reconstructions are worse than the mean",
        ),
        (curve_of(0.019, 0.01, mean=0.02), None),
        (curve_of(0.09), None),
        (curve_of(0.09, 0.05, mean=0.02), None),
    ],
)
def test_prefixes_that_are_worse_than_no_model_are_named(curve, said):
    found = worthless_prefixes(curve)
    assert found is None if said is None else found.startswith(said)


def test_a_curve_compares_with_the_mean_sample_and_with_the_codes_of_others():
    x = torch.randn(6, 1, 8, 8).clamp(-1, 1)
    modality = ImageModality(ImageConfig.model_validate({"data": {"name": "digits"}, "network": {"widths": [8]}}))
    autoencoder = build_autoencoder(modality, CoreConfig().autoencoder)
    seen: list[torch.Tensor] = []

    def loss(x_hat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.append(x_hat)
        return modality.reconstruction_loss(x_hat, x)

    batches = [{"x": x[:5]}, {"x": x[5:]}]
    mean = average_sample(batches)
    torch.testing.assert_close(mean, x.mean(0))
    curve = reconstruction_curve(autoencoder, {"loss": loss, "other": loss}, batches, (32,), mean)
    assert set(curve.shuffled) == set(curve.mean_sample) == {"loss"}
    own, others = seen[0], seen[2]
    torch.testing.assert_close(others, own[[3, 4, 0, 1, 2]])
    expected = modality.reconstruction_loss(others, x[:5]).mean().item()  # the batch of one has no other
    assert curve.shuffled["loss"][0] == pytest.approx(expected)
    expected = modality.reconstruction_loss(x.mean(0).expand_as(x), x).mean().item()
    assert curve.mean_sample["loss"] == pytest.approx(expected, rel=1e-5)


class _Half(nn.Module):
    """An autoencoder that gives back half of its input."""

    def forward(self, x: torch.Tensor, lengths: list[torch.Tensor]) -> Any:
        from anytime_core.autoencoder import Reconstruction

        return Reconstruction(tuple(x / 2 for _ in lengths), None, torch.zeros(len(x)))


@given(scale=st.sampled_from([1e-3, 0.03, 1.0]))
def test_reconstruction_counts_alike_at_every_scale_of_the_data(scale):
    x = scale * torch.linspace(-1, 1, 16).reshape(4, 1, 2, 2)
    modality = ImageModality(ImageConfig())
    reference = modality.reconstruction_loss(x.mean(0).expand_as(x), x).mean().item()
    loss = OrderedLoss(modality, TruncationConfig(balance=False, warmup=0.0), 8, 10, seed=0, reference=reference)
    whole = x.square().mean().item() / reference
    assert loss(_Half(), x, loss.lengths(len(x), 0))["reconstruction"].item() == pytest.approx(whole / 4, rel=1e-5)


@pytest.mark.parametrize("codebook", [False, True])
@pytest.mark.parametrize(
    "quantizer",
    [
        "update=ema",
        "update=gradient",
        "dead_threshold=0",
        "dead_threshold=0.9",
        "commitment=0",
        "size=4",
        "kind=fsq",
        "kind=none",
    ],
)
def test_advice_never_names_what_the_config_says_already(quantizer, codebook):
    data = {"autoencoder": {"quantizer": {"kind": "fsq"}}} if quantizer == "kind=fsq" else {}
    config = parse_config(apply_overrides(data, [f"autoencoder.quantizer.{quantizer}"]), ImageConfig)
    changes = [part.split("--set ")[1] for part in advice(config.core, codebook=codebook).split(", or ")]
    assert changes
    for change in changes:
        changed = parse_config(apply_overrides(config.to_dict(), [change]), ImageConfig)
        assert changed.core != config.core, change


def test_no_prior_is_trained_on_codes_that_say_nothing_unless_forced(tmp_path, caplog):
    folder = tmp_path / "run"
    config = tiny_config(*UNTAUGHT, "training.autoencoder.steps=100")
    with pytest.raises(RunError, match=r"ignores its input: .* try --set .* --force"):
        train_stages(config, folder)
    assert "the autoencoder ignores its input" in caplog.text
    assert list(read_record(folder).stages) == ["autoencoder"]
    with pytest.raises(RunError, match="ignores its input"):
        train_stages(config, folder, stages=("codes", "prior"))
    caplog.clear()
    record = train_stages(config, folder, stages=("codes", "prior"), force=True)
    assert list(record.stages) == ["autoencoder", "codes", "prior"]
    assert "going on anyway" in caplog.text


def test_samples_that_are_all_alike_are_said_and_are_no_collapse(tmp_path, caplog):
    root = small(0.0, tmp_path / "pictures")
    config = tiny_config("data.name=folder", f"data.root={root}", *SHORT, "training.autoencoder.steps=100")
    train_stages(config, tmp_path / "run")
    assert "training samples are all alike" in caplog.text
    assert "ignores its input" not in caplog.text


def test_data_that_fill_little_of_their_range_are_said(tmp_path, caplog):
    train_stages(
        tiny_config("data.name=folder", f"data.root={small(0.04, tmp_path / 'pictures')}", *SHORT), tmp_path / "run"
    )
    assert "training samples stay within 0.043 of 0, and networks learn best where they fill [-1, 1]" in caplog.text


def test_a_training_of_few_steps_is_not_judged(tmp_path):
    record = train_stages(tiny_config(*UNTAUGHT, "training.autoencoder.steps=99"), tmp_path / "run")
    assert list(record.stages) == ["autoencoder", "codes", "prior"]


def small(scale: float, root: Path) -> Path:
    """300 digits of low contrast around grey, as pictures."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    for index, image in enumerate(load_digits().images[:300]):
        pixels = np.uint8(127.5 + scale * (image * (255 / 16) - 127.5))
        (root / str(index % 10)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / str(index % 10) / f"{index}.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_every_prefix_is_better_than_the_mean_sample_and_more_codes_are_better(tmp_path, scale, norm):
    root = small(scale, tmp_path / "pictures")
    changes = [f"data.root={root}", "data.size=8", "data.color=grey", "network.channels=16", "network.widths=[32]"]
    changes += [f"network.decoder_norm={norm}", "training.autoencoder.steps=300", "training.autoencoder.batch_size=64"]
    changes += ["training.autoencoder.learning_rate=0.003"]
    config = parse_config(apply_overrides(find_config("image/folder").read(), changes), ImageConfig)
    validation = train_stages(config, tmp_path / "run", stages=("autoencoder",)).stages["autoencoder"].validation
    assert_every_prefix_helps(validation)
    assert validation.reconstruction["loss"][-1] < 0.5 * validation.mean_sample["loss"]
