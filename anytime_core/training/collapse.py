"""Whether an autoencoder learned anything about its input, and what to change in the config if it did not.

A model that ignores its input is no better than one that only knows the mean sample, or than itself with the codes of
another sample.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CoreConfig
from anytime_core.curve import ReconstructionCurve, ignored_input
from anytime_core.display import shown
from anytime_core.distributed import rank
from anytime_core.errors import RunError
from anytime_core.quantizers.config import VQConfig
from anytime_core.record import RunRecord, Stage
from anytime_core.spelling import argument
from anytime_core.training.preparation import Preparation

logger = logging.getLogger(__name__)

TELLING_STEPS = 100
"""After fewer steps an autoencoder need not have learned anything."""
_FEW_USED, _DRAWS_PER_CODE = 0.1, 10
_FEW_CODES, _HIGH_THRESHOLD = 16, 0.3


def refuse_collapsed(record: RunRecord | None, stages: Sequence[Stage], training: Preparation, *, force: bool) -> None:
    """Raise RunError if `stages` would learn the codes of an autoencoder that ignores its input.

    An autoencoder of less than 100 steps is accepted, because it need not have learned anything.

    Args:
        record: the record of the run, None if it is not started.
        stages: the stages that come next.
        training: the training of the run.
        force: warn only, and go on.
    """
    trained = record.stages.get("autoencoder") if record is not None else None
    if trained is None or trained.steps < TELLING_STEPS or not stages or stages[0] == "autoencoder":
        return
    said = trained.validation
    evidence = _evidence(said.reconstruction, said.mean_sample, said.shuffled)
    if evidence is None:
        return
    found = f"the autoencoder of run {shown(training.basis)} ignores its input: {evidence}"
    if not force:
        own = training.basis == training.folder
        anyway = f"anytime train --resume {shown(training.folder)} --force" if own else argument("force", True)
        raise RunError(
            f"{found}, so a prior of its codes would learn nothing. Train it again with anytime train --run "
            f"{shown(training.basis)} --stage autoencoder --force, and {advice(training.config.core)}; or go on "
            f"anyway with {anyway}"
        )
    if rank() == 0:
        logger.warning("%s; going on anyway", found)


def findings(
    curve: ReconstructionCurve, step: int, autoencoder: OrderedAutoencoder, config: CoreConfig, *, small: bool = False
) -> Iterator[str]:
    """What is wrong with an autoencoder in training, each with its evidence and what to change.

    Args:
        curve: the curve of a validation.
        step: the number of steps done.
        autoencoder: the autoencoder.
        config: the config of the training.
        small: whether samples fill only a small part of their range.
    """
    evidence = _evidence(curve.values, curve.mean_sample, curve.shuffled)
    if evidence and step >= TELLING_STEPS:
        scale = "scale the data up when they are read, or " if small else ""
        yield f"the autoencoder ignores its input: {evidence}; {scale}{advice(config)}"
    # Levels are what the data have, not what was learned.
    if config.autoencoder.kind != "identity" and (evidence := _unused_codebook(curve, autoencoder)):
        yield f"the codebook has collapsed: {evidence}; {advice(config, codebook=True)}"


def _evidence(
    values: Mapping[str, Sequence[float]], mean_sample: Mapping[str, float], shuffled: Mapping[str, Sequence[float]]
) -> str | None:
    """What shows that all codes together say nothing about a sample, None if nothing does."""
    own, others = values.get("loss"), shuffled.get("loss")
    return ignored_input(own[-1], mean_sample.get("loss"), others[-1] if others else None) if own else None


def worthless_prefixes(curve: ReconstructionCurve) -> str | None:
    """Which numbers of leading codes are worse than no model; None if none is, or if all are."""
    mean = curve.mean_sample.get("loss")
    worse = [
        (codes, loss) for codes, loss in zip(curve.lengths, curve.values["loss"], strict=True) if mean and loss > mean
    ]
    if not worse or len(worse) == len(curve.lengths):
        return None
    codes = ", ".join(str(codes) for codes, _ in worse) + (" code" if worse[-1][0] == 1 else " codes")
    return (
        f"from {codes} reconstructions are worse than the mean sample: loss {max(loss for _, loss in worse):.4g} "
        f"against {mean:.4g}"
    )


def advice(config: CoreConfig, *, codebook: bool = False) -> str:
    """What to change in `config`, in the form of `--set`, the most promising change first.

    Args:
        config: the config of the training.
        codebook: whether the problem is that few entries of the codebook are used, not that the input is ignored.
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
    """What shows that hardly any of the codes are used that this many samples could use; None if nothing does."""
    size, use = autoencoder.codebook_size, curve.codebook_use
    if size is None or use is None:
        return None
    draws = curve.samples * (autoencoder.code_length if autoencoder.quantizer.shared else 1)
    possible = min(1.0, draws / (_DRAWS_PER_CODE * size))
    return f"{100 * use:.1f} % of its {size} codes are used" if use < _FEW_USED * possible else None
