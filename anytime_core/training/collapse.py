"""Whether an autoencoder says anything about its input, and what to change in a config where it does not.

A model that ignores its input is no better than one that knows the mean sample alone, or reconstructs another sample as
well as its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CoreConfig, VQConfig
from anytime_core.display import shown
from anytime_core.distributed import rank
from anytime_core.errors import RunError
from anytime_core.evaluation.reconstruction import ReconstructionCurve
from anytime_core.record import RunRecord, Stage
from anytime_core.training.preparation import Preparation

logger = logging.getLogger(__name__)

_WORTH = 0.97
"""Share of the loss without a model, of the mean sample or of others' codes, that a model must get below."""
TELLING_STEPS = 100
"""Nobody expects that fewer steps teach anything."""
_FEW_USED, _DRAWS_PER_CODE = 0.1, 10
_FEW_CODES, _HIGH_THRESHOLD = 16, 0.3


class Measured(Protocol):
    """A validation as it is made, or as `run.json` tells it."""

    @property
    def mean_sample(self) -> Mapping[str, float]:
        """`loss` -> that of predicting the mean sample."""
        ...

    @property
    def shuffled(self) -> Mapping[str, Sequence[float]]:
        """`loss` -> that of other samples' codes, from ever more of them."""
        ...


def ignored_input(losses: Sequence[float], measured: Measured) -> str | None:
    """What shows that the model ignores its input, None where nothing does.

    Args:
        losses: of reconstructions from ever more codes, all of them the last.
        measured: what they are compared with.
    """
    mean, shuffled = measured.mean_sample.get("loss"), measured.shuffled.get("loss", ())
    if not losses or (mean is not None and mean <= 0):  # all samples are alike, or losses have no zero to compare with
        return None
    if mean is not None and losses[-1] > _WORTH * mean:
        return f"the loss of all codes is {losses[-1]:.4g}, and that of predicting the mean sample {mean:.4g}"
    if shuffled and losses[-1] > _WORTH * shuffled[-1]:
        return f"the loss of all codes is {losses[-1]:.4g}, and {shuffled[-1]:.4g} from the codes of another sample"
    return None


def refuse_collapsed(record: RunRecord | None, stages: Sequence[Stage], training: Preparation, *, force: bool) -> None:
    """Raise RunError where `stages` would learn the codes of an autoencoder that ignores its input.

    One of less than 100 steps is let through: nobody expects it to have learned anything.

    Args:
        record: of the run, None where it is not started.
        stages: that come next.
        training: of the run.
        force: say it, and go on.
    """
    trained = record.stages.get("autoencoder") if record is not None else None
    if trained is None or trained.steps < TELLING_STEPS or not stages or stages[0] == "autoencoder":
        return
    validation = trained.validation
    evidence = ignored_input(validation.reconstruction.get("loss", ()), validation)
    if evidence is None:
        return
    found = f"the autoencoder of run {shown(training.folder)} ignores its input: {evidence}"
    if not force:
        raise RunError(
            f"{found}, so that a prior of its codes would say nothing. Train it anew with anytime train --run "
            f"{shown(training.folder)} --stage autoencoder --force, and {advice(training.config.core)}; or go on all "
            f"the same with anytime train --resume {shown(training.folder)} --force"
        )
    if rank() == 0:
        logger.warning("%s; going on all the same", found)


def findings(
    curve: ReconstructionCurve, step: int, autoencoder: OrderedAutoencoder, config: CoreConfig, *, small: bool = False
) -> Iterator[str]:
    """What is wrong with an autoencoder in training, each with its evidence and what to change.

    Args:
        curve: of a validation.
        step: steps that are done.
        autoencoder: in training.
        config: of the training.
        small: whether samples fill hardly any of their range.
    """
    evidence = ignored_input(curve.values["loss"], curve)
    if evidence and step >= TELLING_STEPS:
        scale = "scale the data up where they are read, or " if small else ""
        yield f"the autoencoder ignores its input: {evidence}; {scale}{advice(config)}"
    if evidence := _unused_codebook(curve, autoencoder):
        yield f"the codebook has collapsed: {evidence}; {advice(config, codebook=True)}"


def worthless_prefixes(curve: ReconstructionCurve) -> str | None:
    """Which numbers of leading codes are worse than no model, None where none is, or all are."""
    mean = curve.mean_sample.get("loss")
    worse = [
        (codes, loss) for codes, loss in zip(curve.lengths, curve.values["loss"], strict=True) if mean and loss > mean
    ]
    if not worse or len(worse) == len(curve.lengths):
        return None
    codes = ", ".join(str(codes) for codes, _ in worse)
    return (
        f"from {codes} codes reconstructions are worse than the mean sample: loss {max(loss for _, loss in worse):.4g} "
        f"against {mean:.4g}"
    )


def advice(config: CoreConfig, *, codebook: bool = False) -> str:
    """What to change of `config`, as `--set` takes it, the likeliest help first.

    Args:
        config: that of the training.
        codebook: whether too few of its entries are used, rather than the input ignored.
    """
    changes = _of_codebook(config) if codebook else _of_training(config)
    return "try --set " + ", or --set ".join(changes)


def _of_training(config: CoreConfig) -> Iterator[str]:
    quantizer, training = config.autoencoder.quantizer, config.training.autoencoder
    if isinstance(quantizer, VQConfig) and quantizer.commitment > 0:
        usual = VQConfig().commitment
        yield f"autoencoder.quantizer.commitment={min(usual, quantizer.commitment / 4):.2g}"
    yield f"training.autoencoder.learning_rate={training.learning_rate / 3:.2g}"
    if isinstance(quantizer, VQConfig) and quantizer.update == "gradient":
        yield "autoencoder.quantizer.update=ema"
    yield f"training.autoencoder.steps={4 * training.steps}"


def _of_codebook(config: CoreConfig) -> Iterator[str]:
    quantizer, training = config.autoencoder.quantizer, config.training.autoencoder
    if isinstance(quantizer, VQConfig):
        if quantizer.update == "gradient":
            yield "autoencoder.quantizer.update=ema"
        elif quantizer.dead_threshold < _HIGH_THRESHOLD:
            yield f"autoencoder.quantizer.dead_threshold={_HIGH_THRESHOLD}"
        if quantizer.size > _FEW_CODES:
            yield f"autoencoder.quantizer.size={max(_FEW_CODES, quantizer.size // 4)}"
    yield f"training.autoencoder.learning_rate={training.learning_rate / 3:.2g}"


def _unused_codebook(curve: ReconstructionCurve, autoencoder: OrderedAutoencoder) -> str | None:
    """What shows that hardly any code is used of those that so many samples could use."""
    size, use = autoencoder.codebook_size, curve.codebook_use
    if size is None or use is None:
        return None
    draws = curve.samples * (autoencoder.code_length if autoencoder.quantizer.shared else 1)
    possible = min(1.0, draws / (_DRAWS_PER_CODE * size))
    return f"{100 * use:.1f} % of its {size} codes are used" if use < _FEW_USED * possible else None
