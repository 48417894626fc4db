"""How often a classifier trained on real samples recognises samples as what they are meant to be."""

from __future__ import annotations

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from anytime_core.modality import Datasets, HasFeatures, Modality
from anytime_core.training.batches import ordered_batches

_BATCH = 500
_MOST_TRAINED_ON = 20_000


class Recogniser:
    """A support-vector machine on standardised features (plain values where a modality has none) of real samples.

    Args:
        modality: whose samples these are.
        datasets: with labels; trained on at most 20,000 training samples, spread evenly.

    Attributes:
        held_out: share of the validation samples that are recognised; a judge should be right nearly always.

    Raises:
        ValueError: the data has no labels.
    """

    def __init__(self, modality: Modality, datasets: Datasets) -> None:
        if not datasets.classes:
            raise ValueError("nothing can be recognised in data without labels")
        self.modality = modality
        # Values share one scale; standardised, those that hardly vary would drown the rest in samples that are blurred.
        scaling = [StandardScaler()] if isinstance(modality, HasFeatures) else []
        self.classifier: Pipeline = make_pipeline(*scaling, SVC(C=10.0))
        train, validation = (
            list(ordered_batches(part, _BATCH, limit=limit, workers=0))
            for part, limit in ((datasets.train, _MOST_TRAINED_ON), (datasets.validation, None))
        )
        self.classifier.fit(
            np.concatenate([self._features(batch["x"]) for batch in train]),
            np.concatenate([batch["label"].numpy() for batch in train]),
        )
        right = [self.recognised(batch["x"], batch["label"]) for batch in validation]
        self.held_out = float(np.concatenate(right).mean())

    def recognised(self, x: Tensor, labels: Tensor) -> np.ndarray:
        """Which of the samples [B, *sample_shape] are taken for their labels [B]: bool [B]."""
        return self.classifier.predict(self._features(x)) == labels.numpy()

    def _features(self, x: Tensor) -> np.ndarray:
        features = self.modality.features(x) if isinstance(self.modality, HasFeatures) else x
        return features.flatten(1).double().numpy()
