"""A small network that learns to tell the classes of a run's real data apart: judge of labels, and feature extractor.

It is the modality's `feature_network` with a linear layer. It follows from data and seed alone, so that runs with other
networks and quantizers are judged alike. F is the number of features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from anytime_core.digest import digest
from anytime_core.errors import RunError
from anytime_core.modality import Datasets, Extractor, HasFeatureNetwork, Modality
from anytime_core.record import FORMAT_VERSION
from anytime_core.training.batches import ShuffledBatches, on_device, ordered_batches
from anytime_core.training.fit import one_cycle
from anytime_core.weights import load_state, read_header, save_weights

CLASSIFIER_FILE = "classifier.safetensors"
"""A file in the folder `evaluation` of a run."""

_VIEWS, _EPOCHS = 200_000, 75
"""The most training samples seen, counting repeats, and how often each is seen: small sets are learned sooner."""
_BATCH = 128
_FEWEST_STEPS = 500
"""The fewest training steps, however small the set is."""
_LEARNING_RATE = 2e-3
_EVALUATED = 500
"""Samples in a batch outside of training."""


class ClassifierMetadata(BaseModel):
    """What `classifier.safetensors` says of itself."""

    format_version: int = FORMAT_VERSION
    data: str
    """Digest of the data that the classifier was trained on."""
    samples: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)
    """Share of the validation data that it classifies correctly."""
    chance: float = Field(0.0, ge=0, le=1)
    """The same for always naming the largest class; 0 in files of versions that did not say."""


class Classifier(nn.Module):
    """A feature network and a linear layer.

    Args:
        modality: of the samples; if it has no `feature_network`, its encoder is used, averaged over positions.
        classes: their number.
    """

    def __init__(self, modality: Modality, classes: int) -> None:
        super().__init__()
        with torch.no_grad():
            self.features = (
                modality.feature_network()
                if isinstance(modality, HasFeatureNetwork)
                else nn.Sequential(modality.encoder(), _Averaged())
            )
            size = self.features.eval()(torch.zeros(1, *modality.sample_shape())).shape[1]
        self.head = nn.Linear(size, classes)
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of samples [B, *sample_shape]."""
        return self.head(self.features(x))

    @torch.inference_mode()
    def recognised(self, x: Tensor, labels: Tensor) -> Tensor:
        """Which of the samples [B, *sample_shape] are taken for their labels [B]: bool [B] on the CPU."""
        place = self.head.weight.device
        return (self(x.to(place)).argmax(1) == labels.to(place)).cpu()

    @torch.inference_mode()
    def extract(self, x: Tensor) -> Tensor:
        """Features [B, F] of samples [B, *sample_shape], on the network's device."""
        return self.features(x.to(self.head.weight.device))


class _Averaged(nn.Module):
    def forward(self, latent: Tensor) -> Tensor:
        return latent.flatten(2).mean(2)


def open_classifier(
    folder: Path,
    modality: Modality,
    datasets: Datasets,
    *,
    config: Mapping[str, Any],
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> tuple[Classifier, Extractor, ClassifierMetadata]:
    """The classifier kept in `folder`, or a new one, trained and kept there if none is there or it is of other data.

    Args:
        folder: made if it is missing.
        modality, datasets: they must have labels.
        config: the modality's config, which says what the data is.
        seed: of weights and order.
        device: where it runs.
        on_step: called after each training step with steps done and steps in all.

    Returns:
        The classifier in evaluation mode, its features as an extractor, and its metadata.
    """
    path = folder / CLASSIFIER_FILE
    data = _digest(config, datasets, seed)
    classifier = _untrained(modality, datasets, seed).to(device)
    metadata = _kept(path, classifier, data)
    if metadata is None:
        # Weights of another network may have been loaded as far as they fit.
        classifier = _untrained(modality, datasets, seed).to(device)
        _train(classifier, modality, datasets, seed=seed, device=device, on_step=on_step)
        accuracy, chance = _accuracy(classifier, datasets)
        metadata = ClassifierMetadata(data=data, samples=len(datasets.train), accuracy=accuracy, chance=chance)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(path, classifier, metadata)
    description = (
        f"classifier trained on {metadata.samples:,} training samples of {len(datasets.classes)} classes, "
        f"right on {metadata.accuracy:.1%} of the validation data, by chance {metadata.chance:.1%}"
    )
    return classifier.eval(), Extractor(description, classifier.extract), metadata


def _untrained(modality: Modality, datasets: Datasets, seed: int) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(modality, len(datasets.classes))


def _kept(path: Path, classifier: Classifier, data: str) -> ClassifierMetadata | None:
    """Load the kept classifier; None if there is none, or none of these data: it can be trained again."""
    try:
        _, metadata = read_header(path, ClassifierMetadata)
        if metadata.data != data or not metadata.chance:
            return None
        load_state(path, classifier)
    except RunError:
        return None
    return metadata


def _digest(config: Mapping[str, Any], datasets: Datasets, seed: int) -> str:
    """A name that follows from everything that decides a classifier."""
    listing = datasets.found.digest if datasets.found is not None else ""
    described = {
        **({"listing": listing} if listing else {}),
        "config": config,
        "sizes": [len(datasets.train), len(datasets.validation)],
        "classes": datasets.classes,
        "steps": _steps(datasets),
        "seed": seed,
    }
    return digest(described)


def _steps(datasets: Datasets) -> int:
    """Of training."""
    return min(_VIEWS // _BATCH, max(_FEWEST_STEPS, _EPOCHS * len(datasets.train) // _BATCH))


def _train(
    classifier: Classifier,
    modality: Modality,
    datasets: Datasets,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int], None],
) -> None:
    steps = _steps(datasets)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / steps))
    generator = torch.Generator().manual_seed(seed)
    batches = iter(ShuffledBatches(datasets.train, _BATCH, seed=seed, workers=0))
    classifier.train()
    for step in range(1, steps + 1):
        batch = on_device(next(batches), device)
        loss = F.cross_entropy(classifier(modality.augment(batch["x"], generator)), batch["label"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(step, steps)
    classifier.eval()


def _accuracy(classifier: Classifier, datasets: Datasets) -> tuple[float, float]:
    """Share of the validation data that is recognised, and the share of its largest class."""
    recognised, counts = 0, torch.zeros(len(datasets.classes), dtype=torch.long)
    for batch in ordered_batches(datasets.validation, _EVALUATED, workers=0):
        recognised += int(classifier.recognised(batch["x"], batch["label"]).sum())
        counts += torch.bincount(batch["label"], minlength=len(counts))
    samples = max(int(counts.sum()), 1)
    return recognised / samples, int(counts.max()) / samples
