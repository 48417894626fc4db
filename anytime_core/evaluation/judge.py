"""What sets of samples are judged by: validation data, feature extractors, and a classifier if there are labels.

All runs of an evaluation have the same judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.config import CoreConfig
from anytime_core.damaged import damaged, remembering_damaged, say_damaged
from anytime_core.errors import PluginError
from anytime_core.evaluation.classifier import Classifier, open_classifier
from anytime_core.evaluation.comparison import Moments, caution, compare_manifolds, frechet_distance
from anytime_core.evaluation.extractors import CLASSIFIER, ExtractorRequest, load_extractor, requested
from anytime_core.evaluation.result import LabelJudge, Quality
from anytime_core.evaluation.same_data import data_of, warn_of_changes
from anytime_core.modality import Extractor
from anytime_core.run import Run
from anytime_core.training.batches import ordered_batches
from anytime_core.training.online import as_trained_on

Batches = Iterable[tuple[Tensor, Tensor | None]]
"""Samples [B, *sample_shape] and their labels [B], None if the data has no labels."""

OnProgress = Callable[[str, int, int], None]
"""Called with a description of the work, how much is done, and how much there is in all."""

BATCH = 250
"""Samples that are decoded and judged together."""
_MANIFOLD = 5000
"""The most samples, and the most of the validation data, whose manifolds are compared."""


@dataclass
class _Seen:
    """The features of a set by one extractor; `kept` are the first ones."""

    moments: Moments | None = None
    kept: list[Tensor] | None = None

    def add(self, features: Tensor) -> None:
        if self.moments is None:
            self.moments = Moments.none(features.shape[1])
        self.moments.add(features)
        if self.kept is not None and self.moments.samples - len(features) < _MANIFOLD:
            self.kept.append(features.float().cpu())

    @property
    def manifold(self) -> Tensor:
        return torch.cat(self.kept or [])[:_MANIFOLD]


class Judge:
    """See the module.

    Args:
        run: gives the data, and the device that extractors run on.
        requests: extractors; empty: all that need nothing else.
        folder: where the classifier is kept.
        seed: of the classifier.
        download: whether extractors may download their weights.
        on_progress: of training the classifier, and of looking at validation data.

    Attributes:
        datasets: of the run, with its own numbers of classes as labels.
        changes: how they differ from what the run was trained on; empty if no difference is known.
        extractors: by name; manifolds are compared in the features of the first.
        label_judge: tells whether samples show their labels; None if the data has no labels.
        judge: how good it is.
    """

    def __init__(
        self,
        run: Run,
        requests: Iterable[ExtractorRequest],
        folder: Path,
        *,
        seed: int,
        download: bool,
        on_progress: OnProgress,
    ) -> None:
        datasets, self.changes = data_of(run)
        warn_of_changes(run, self.changes)
        self.datasets = remembering_damaged(datasets)
        self.device, self.modality = run.device, run.modality
        wanted = requested(run.modality, list(requests), labelled=bool(self.datasets.classes))
        self._classifier: Classifier | None = None
        self.label_judge: str | None = None
        self.judge: LabelJudge | None = None
        self.extractors: dict[str, Extractor] = {
            request.name: load_extractor(run.modality, request, download=download)
            for request in wanted
            if request.name != CLASSIFIER
        }
        if self.datasets.classes:
            self._classifier, extractor, metadata = open_classifier(
                folder,
                run.modality,
                self.datasets,
                config={key: value for key, value in run.record.config.items() if key not in CoreConfig.model_fields},
                seed=seed,
                device=run.device,
                on_step=lambda step, steps: on_progress("training the classifier", step, steps),
            )
            self.extractors[CLASSIFIER], self.label_judge = extractor, extractor.description
            self.judge = LabelJudge(
                samples=metadata.samples,
                classes=len(self.datasets.classes),
                accuracy=metadata.accuracy,
                chance=metadata.chance,
            )
        self.extractors = {request.name: self.extractors[request.name] for request in wanted}
        self._reference = self._look_at(
            _counted(self.validation(), "looking at validation data", self.reference, on_progress)
        )
        say_damaged(self.datasets)

    @property
    def reference(self) -> int:
        """The number of validation samples that can be read."""
        return len(self.datasets.validation) - damaged(self.datasets.validation).count

    def cautions(self, drawn: int) -> list[str]:
        """What makes the numbers uncertain: few validation or new samples (`drawn`; 0: none), or a weak judge."""
        dimensions = {name: len(seen.moments.total) for name, seen in self._reference.items() if seen.moments}
        sets = [(drawn, "new samples")] if drawn else []
        said = [caution(samples, noun, dimensions) for samples, noun in (*sets, (self.reference, "validation samples"))]
        if self.judge is not None and self.judge.weakness:
            said.append(f"the classifier is a weak judge, as {self.judge.weakness}: its word says little of samples")
        return [text for text in said if text]

    def validation(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Validation data in order."""
        for batch in ordered_batches(self.datasets.validation, BATCH, workers=0):
            yield batch["x"], batch.get("label")

    def floor(self, number: int, on_progress: OnProgress) -> Quality | None:
        """How `number` training samples, or all there are, compare with the validation data; None without extractors.

        This is about the best that new samples can reach. Labels are left out: the classifier has learned these.
        """
        if not self.extractors:
            return None
        batches = ordered_batches(self.datasets.train, BATCH, limit=number, workers=0)
        samples = ((as_trained_on(self.modality, batch["x"], part), None) for part, batch in enumerate(batches))
        total = min(number, len(self.datasets.train))
        return self.quality(samples, "looking at training data", total, on_progress)

    def quality(self, batches: Batches, activity: str, total: int, on_progress: OnProgress) -> Quality:
        """How a set of `total` samples compares with the validation data."""
        right: list[Tensor] = []

        def judged() -> Iterator[tuple[Tensor, Tensor | None]]:
            for x, labels in _counted(batches, activity, total, on_progress):
                if self._classifier is not None and labels is not None:
                    right.append(self._classifier.recognised(x, labels))
                yield x, labels

        seen = self._look_at(judged())
        frechet: dict[str, float] = {}
        scores: dict[str, float] = {}
        for name, extractor in self.extractors.items():
            moments, reference = seen[name].moments, self._reference[name].moments
            assert moments is not None
            assert reference is not None
            frechet[name] = frechet_distance(moments, reference)
            scores |= dict(zip(extractor.scores, moments.mean.tolist(), strict=False))
        main = next(iter(self.extractors), None)
        manifolds = asdict(compare_manifolds(seen[main].manifold, self._reference[main].manifold)) if main else {}
        return Quality(
            frechet=frechet,
            **manifolds,
            label_accuracy=torch.cat(right).double().mean().item() if right else None,
            scores=scores,
        )

    @torch.inference_mode()
    def _look_at(self, batches: Batches) -> dict[str, _Seen]:
        """The features of a set; the first ones of the first extractor are kept."""
        seen = {name: _Seen(kept=None if number else []) for number, name in enumerate(self.extractors)}
        for x, _ in batches:
            x = x.to(self.device)
            for name, extractor in self.extractors.items():
                features = extractor.features(x)
                if not features.isfinite().all():
                    raise PluginError(f"extractor '{name}' gives features that are not finite: leave it out")
                seen[name].add(features)
        return seen


def _counted(batches: Batches, activity: str, total: int, on_progress: OnProgress) -> Batches:
    """Yield the batches; after each, report how many of `total` samples there have been."""
    done = 0
    for x, labels in batches:
        yield x, labels
        done += len(x)
        on_progress(activity, done, total)
