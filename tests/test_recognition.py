"""The judge that says whether samples are recognised as what they are meant to be."""

from __future__ import annotations

import pytest
import torch

from anytime_core.evaluation.recognition import Recogniser
from anytime_core.modality import Datasets, HasFeatures
from anytime_image.datasets import ImageTensor
from anytime_image.modality import ImageModality


class WithFeatures(ImageModality):
    """Judged by mean brightness alone."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).mean(1, keepdim=True)


@pytest.fixture(scope="module")
def judge(tiny_run) -> Recogniser:
    return Recogniser(tiny_run.modality, tiny_run.modality.datasets())


def test_the_judge_is_right_on_real_samples_that_it_has_not_seen(judge):
    assert judge.held_out > 0.95


def test_real_samples_count_for_their_own_label_only(judge, tiny_run):
    batch = tiny_run.modality.datasets().validation.batch(range(100))
    assert judge.recognised(batch["x"], batch["label"]).mean() > 0.95
    assert judge.recognised(batch["x"], (batch["label"] + 1) % 10).mean() < 0.05


def test_noise_is_not_recognised(judge):
    noise = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.arange(200) % 10
    assert judge.recognised(noise, labels).mean() < 0.3


def _bright_and_dark(number: int) -> ImageTensor:
    labels = torch.arange(number) % 2
    noise = torch.randint(-20, 20, (number, 1, 8, 8), generator=torch.Generator().manual_seed(number))
    return ImageTensor((128 + 30 * labels[:, None, None, None] + noise).to(torch.uint8), labels)


def test_a_modality_with_features_is_judged_by_them():
    modality = WithFeatures()
    assert isinstance(modality, HasFeatures)
    assert not isinstance(ImageModality(), HasFeatures)
    judge = Recogniser(modality, Datasets(_bright_and_dark(60), _bright_and_dark(40), ("dark", "bright")))
    assert judge.held_out == 1.0
    # One pixel per row moved: another picture, the same brightness.
    x = _bright_and_dark(40).batch(range(40))
    assert judge.recognised(x["x"].roll(1, -1), x["label"]).all()


def test_data_without_labels_has_nothing_to_recognise():
    with pytest.raises(ValueError, match="without labels"):
        Recogniser(ImageModality(), Datasets(_bright_and_dark(4), _bright_and_dark(4)))
