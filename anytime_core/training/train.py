"""Training a run: the stages in order, each leaving its files in the run folder."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import logging
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

import anytime_core
from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, Config
from anytime_core.devices import resolve_device, resolve_precision
from anytime_core.distributed import launched, rank, world_size
from anytime_core.errors import ConfigError, InterruptedTrainingError, RunError, UsageError
from anytime_core.evaluation.plot import plot_curve
from anytime_core.evaluation.reconstruction import reconstruction_curve, validated_lengths
from anytime_core.files import PARTIAL_PREFIX, locked, remove_partial_files, write_text
from anytime_core.modality import Datasets, Modality
from anytime_core.plugins import find_plugin, load_modality
from anytime_core.priors import ARDMPrior, build_prior, code_digits
from anytime_core.record import CONFIG_FILE, RUN_FILE, STAGES, RunRecord, Stage, StageRecord, read_record
from anytime_core.training.autoencoder import fit_principal_components, keep_autoencoder, train_autoencoder
from anytime_core.training.batches import ordered_batches
from anytime_core.training.checkpoints import FOLDER as CHECKPOINTS
from anytime_core.training.checkpoints import Checkpoint, Checkpoints, remove_checkpoints
from anytime_core.training.codes import CodesDataset
from anytime_core.training.encoding import write_codes
from anytime_core.training.interruption import Interruption
from anytime_core.training.log import MetricsLog, OnProgress, ignore_progress
from anytime_core.training.prior import train_prior, validate_prior
from anytime_core.training.surroundings import Surroundings
from anytime_core.weights import (
    AUTOENCODER_FILE,
    PRIOR_FILE,
    load_autoencoder,
    load_prior,
    save_autoencoder,
    save_prior,
)

logger = logging.getLogger(__name__)

_LOCK = "training"
_LIBRARIES = ("torch", "torchvision", "torchaudio", "accelerate", "numpy", "safetensors")


def train(
    config: Config,
    folder: Path,
    *,
    stages: Sequence[Stage] = STAGES,
    recipe: str | None = None,
    baseline: str | None = None,
    on_progress: OnProgress = ignore_progress,
    resume: bool = False,
) -> RunRecord:
    """Train the given stages of a run, in order.

    Nothing is written before configuration, device and data have been found good. Checkpoints are written every
    `training.checkpoint_minutes` and at the end of stages, of which the last two are kept. Processes that torchrun or
    accelerate started train one run together.

    Args:
        config: what to train.
        folder: the run folder; made where it is missing, gone on with where it is a run.
        stages: any of `STAGES`; those that come before them must have ended.
        recipe: name of the recipe that `config` came from, for the record; a run that is gone on with keeps its own
            where neither this nor `baseline` is given.
        baseline: name of the baseline that `config` was made of the recipe by, for the record.
        on_progress: called after every step.
        resume: go on with the first of `stages` from its last checkpoint, where there is one. On the CPU the result
            is that of a training that was never stopped, bit by bit.

    Returns:
        The record, with every finished stage.

    Raises:
        InterruptedTrainingError: Ctrl-C or SIGTERM came; there is a checkpoint.
        AnytimeError: of the kind that says what is wrong; finished stages and checkpoints stay.
    """
    training = _Training(config, folder, on_progress)
    with Interruption() as interruption, training.environment(), _only_writer(folder):
        training.check(stages)
        resumed = training.checkpoints(stages[0]).latest() if resume else None
        training.accelerator.wait_for_everyone()  # before the first of them writes what the others look at
        record = training.open(recipe, baseline)
        with MetricsLog(folder) as log:
            for stage in stages:
                # From here on, an older result of this stage and what later stages made of it no longer count.
                kept = {name: record.stages[name] for name in STAGES[: STAGES.index(stage)] if name in record.stages}
                record = record.model_copy(update={"stages": kept})
                training.save(record)
                surroundings = training.surroundings(stage, log, interruption, resumed)
                steps, validation = training.run_stage(stage, surroundings)
                stage_record = StageRecord(steps=steps, seconds=surroundings.seconds, validation=validation)
                record = record.model_copy(update={"stages": {**kept, stage: stage_record}})
                training.save(record)
                training.accelerator.wait_for_everyone()
                resumed = None
                signal = interruption.agreed(training.accelerator.device)
                if signal and stage != stages[-1]:
                    raise InterruptedTrainingError(
                        f"stopped after stage {stage}: go on with anytime train --resume {folder}", signal
                    )
    return record


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the run folder; the first of several processes does it for all."""
    with contextlib.ExitStack() as stack:
        if rank() == 0 and (folder.is_dir() or not folder.exists()):
            try:
                stack.enter_context(locked(folder, _LOCK, f"training {folder}"))
            except OSError as error:
                raise RunError(f"cannot make run folder {folder}: {error.strerror}; choose another --run") from error
        yield


def new_run_folder(root: Path, name: str) -> Path:
    """The first of `root/name-1`, `root/name-2`, ... that does not exist."""
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


@dataclass
class _Training:
    """What the stages share; data, device and models are made when first asked for."""

    config: Config
    folder: Path
    on_progress: OnProgress

    @cached_property
    def modality(self) -> Modality:
        return load_modality(self.config.core.modality)(self.config.modality)

    @cached_property
    def datasets(self) -> Datasets:
        if world_size() == 1:
            return self.modality.datasets()
        with self.accelerator.local_main_process_first():  # which downloads and prepares what the others then find
            return self.modality.datasets()

    @cached_property
    def untrained(self) -> OrderedAutoencoder:
        """What the config describes, for its sizes."""
        return build_autoencoder(self.modality, self.config.core.autoencoder)

    @cached_property
    def device(self) -> torch.device:
        return resolve_device(self.config.core.training.device)

    @cached_property
    def accelerator(self) -> Accelerator:
        dtype = resolve_precision(self.config.core.training.precision, self.device)
        mixed = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "no")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        # accelerate keeps one state per process; a second training in it may use another device or precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(cpu=self.device.type == "cpu", mixed_precision=mixed)

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """The processes of this training know each other, and torch is as deterministic as the config asks."""
        before = torch.are_deterministic_algorithms_enabled()
        if self.config.core.training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
            torch.use_deterministic_algorithms(True)
        try:
            if launched()[1] > 1:
                _ = self.accelerator
            with warnings.catch_warnings():
                # Convolutions of one channel have no one order of strides; several processes then copy, no more.
                warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
                yield
        finally:
            torch.use_deterministic_algorithms(before)
            if world_size() > 1:
                torch.distributed.destroy_process_group()

    def checkpoints(self, stage: Stage) -> Checkpoints:
        """Those of a stage. Where data lies and how fast it is trained may change between them."""
        left_out = {"training", "data", *(() if stage == "prior" else ("prior",))}
        config = {key: value for key, value in self.config.to_dict().items() if key not in left_out}
        return Checkpoints(self.folder, stage, config, 60 * self.config.core.training.checkpoint_minutes)

    def surroundings(
        self, stage: Stage, log: MetricsLog, interruption: Interruption, resumed: Checkpoint | None
    ) -> Surroundings:
        """What a stage runs in, from its start or from a checkpoint."""
        checkpoints = self.checkpoints(stage)
        if resumed is not None:
            checkpoints.last_step = resumed.position.step
            if rank() == 0:
                logger.info("going on with stage %s after step %d", stage, resumed.position.step)
        elif rank() == 0:
            remove_checkpoints(self.folder, stage)
        log.forget(stage, resumed.position.step if resumed else 0)
        on_progress = self.on_progress if rank() == 0 else ignore_progress
        return Surroundings(self.accelerator, log, on_progress, checkpoints, interruption, resumed)

    def save(self, record: RunRecord) -> None:
        """Write the record."""
        if rank() == 0:
            record.save(self.folder)

    @property
    def weights(self) -> Path:
        return self.folder / AUTOENCODER_FILE

    @property
    def previews(self) -> Path:
        return self.folder / "previews"

    @cached_property
    def started(self) -> RunRecord | None:
        """The record of the run that already is in the folder."""
        if (self.folder / RUN_FILE).exists():
            record = read_record(self.folder)
            find_plugin(record.modality)
            if record.modality != self.config.core.modality:
                raise UsageError(
                    f"run {self.folder} is of modality '{record.modality}', the config of "
                    f"'{self.config.core.modality}': choose another --run"
                )
            return record
        if self.folder.exists() and (not self.folder.is_dir() or any(map(_foreign, self.folder.iterdir()))):
            raise UsageError(f"{self.folder} is not empty and not a run: choose another --run")
        return None

    def check(self, stages: Sequence[Stage]) -> None:
        """Everything that can be found wrong before the first file is written."""
        core = self.config.core
        resolve_precision(core.training.precision, self.device)
        for key, size in (
            ("autoencoder", core.training.autoencoder.batch_size),
            ("prior", core.training.prior.batch_size),
        ):
            if key in stages and size % world_size():
                raise ConfigError(
                    f"training.{key}.batch_size={size} cannot be shared by {world_size()} processes: "
                    f"use a multiple of {world_size()}"
                )
        finished = set(self.started.stages) if self.started else set()
        for stage in stages:
            missing = [name for name in STAGES[: STAGES.index(stage)] if name not in finished]
            if missing:
                raise RunError(
                    f"stage {stage} of run {self.folder} needs stage {missing[0]} first: "
                    f"anytime train --run {self.folder} --stage {missing[0]}"
                )
            finished.add(stage)
        if stages[0] != "autoencoder":
            self._check_unchanged()
        if self.untrained.codebook_size is None and any(stage != "autoencoder" for stage in stages):
            raise ConfigError(
                "autoencoder.quantizer.kind=none has continuous codes, which no prior learns: "
                "use vq or fsq, or --stage autoencoder"
            )
        if "prior" in stages:
            if core.prior.width % core.prior.heads:
                raise ConfigError(f"prior.width={core.prior.width} is not a multiple of prior.heads={core.prior.heads}")
            code_length = self.untrained.code_length
            if (core.prior.code_length or 1) > code_length:
                raise ConfigError(f"prior.code_length={core.prior.code_length} is more than the {code_length} codes")
            _ = code_digits(core.prior, core.autoencoder.quantizer, self.untrained.codebook_size or 0)
            if core.prior.class_conditional is True and not self.classes:
                raise ConfigError("prior.class_conditional=true needs data with labels: use auto or false")
        if stages[0] == "autoencoder":
            _ = self.modality.metrics()
        _ = self.codes(self.untrained) if stages[0] == "prior" else self.datasets
        if stages[0] == "autoencoder" and core.autoencoder.kind == "pca":
            samples = len(self.datasets.train)
            if self.untrained.code_length > samples:
                raise ConfigError(
                    f"{self.untrained.code_length} principal components need as many training samples, found "
                    f"{samples}: set autoencoder.code_length={samples} or less"
                )

    def _check_unchanged(self) -> None:
        """The autoencoder of an existing run is what the config describes; its data may have moved."""
        trained, _ = load_autoencoder(self.weights)
        recorded = self.started.config if self.started else {}
        # A run of an earlier version says nothing of what could not be chosen yet.
        recorded_autoencoder = {**AutoencoderConfig().model_dump(mode="json"), **recorded.get("autoencoder", {})}
        config = self.config.to_dict()
        same_sections = (recorded.get("modality"), recorded_autoencoder) == (config["modality"], config["autoencoder"])
        if not same_sections or _shapes(self.untrained) != _shapes(trained):
            raise ConfigError(
                f"the config describes another autoencoder than that of {self.folder}: leave modality, networks and "
                "autoencoder as they are, or train from stage autoencoder into another --run"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, from the run where it has got that far, so that stage prior needs no data."""
        if self.started is not None and "codes" in self.started.stages:
            return self.started.classes
        return self.datasets.classes

    def codes(self, autoencoder: OrderedAutoencoder) -> tuple[CodesDataset, CodesDataset]:
        """Training and validation codes that `autoencoder` could have written."""
        train_codes, validation_codes = (
            CodesDataset(
                self.folder / "codes",
                part,
                code_length=autoencoder.code_length,
                codebook_size=autoencoder.codebook_size,
                classes=len(self.classes) or None,
            )
            for part in ("train", "validation")
        )
        return train_codes, validation_codes

    def open(self, recipe: str | None, baseline: str | None) -> RunRecord:
        """Make the run folder and write the files that say what it is."""
        core = self.config.core
        if self.started and recipe is None and baseline is None:
            recipe, baseline = self.started.recipe, self.started.baseline
        plugin = find_plugin(core.modality)
        if rank() == 0:
            for written in (self.folder, self.folder / CHECKPOINTS, self.previews):
                remove_partial_files(written)
            write_text(self.folder / CONFIG_FILE, self.config.to_yaml())
        record = RunRecord(
            created=self.started.created
            if self.started
            else datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            modality=core.modality,
            plugin={"distribution": plugin.distribution, "version": plugin.version},
            recipe=recipe,
            baseline=baseline,
            seed=core.seed,
            code_length=self.untrained.code_length,
            codebook_size=self.untrained.codebook_size,
            classes=self.classes,
            stages=self.started.stages if self.started else {},
            libraries=library_versions(),
            config=self.config.to_dict(),
        )
        self.save(record)
        return record

    def run_stage(self, stage: Stage, surroundings: Surroundings) -> tuple[int, dict[str, Any]]:
        """Run one stage; returns its steps and what validation says of its result."""
        stage_methods: dict[Stage, Callable[[Surroundings], tuple[int, dict[str, Any]]]] = {
            "autoencoder": self._autoencoder_stage,
            "codes": self._codes_stage,
            "prior": self._prior_stage,
        }
        return stage_methods[stage](surroundings)

    def _autoencoder_stage(self, surroundings: Surroundings) -> tuple[int, dict[str, Any]]:
        core = self.config.core
        torch.manual_seed(core.seed)
        autoencoder = build_autoencoder(self.modality, core.autoencoder)
        if core.autoencoder.kind == "pca":
            fit_principal_components(autoencoder, self.datasets.train, core.training.workers)
        make = train_autoencoder if core.autoencoder.kind == "ordered" else keep_autoencoder
        steps = make(
            autoencoder,
            self.modality,
            self.datasets,
            core,
            surroundings,
            keep=lambda: save_autoencoder(self.weights, autoencoder, self.config),
            previews=self.previews,
        )
        self.accelerator.wait_for_everyone()
        best = load_autoencoder(self.weights)[0].to(self.accelerator.device)
        curve = reconstruction_curve(
            best,
            {"loss": self.modality.reconstruction_loss, **self.modality.metrics()},
            ordered_batches(self.datasets.validation, core.training.codes.batch_size, workers=core.training.workers),
            validated_lengths(best.code_length),
        )
        if rank() == 0:
            plot_curve(curve, self.previews / "quality.png")
        return steps, {
            "codes": list(curve.lengths),
            "reconstruction": {name: [round(value, 6) for value in values] for name, values in curve.values.items()},
            "codebook_use": curve.codebook_use,
            "samples": curve.samples,
        }

    def _codes_stage(self, surroundings: Surroundings) -> tuple[int, dict[str, Any]]:
        core = self.config.core
        steps = write_codes(
            load_autoencoder(self.weights)[0].to(self.accelerator.device),
            self.modality,
            self.datasets,
            core.training.codes,
            self.folder / "codes",
            surroundings,
            seed=core.seed,
            workers=core.training.workers,
        )
        return steps, {}

    def _prior_stage(self, surroundings: Surroundings) -> tuple[int, dict[str, Any]]:
        core = self.config.core
        autoencoder = load_autoencoder(self.weights)[0]
        train_codes, validation_codes = self.codes(autoencoder)
        conditional = core.prior.class_conditional is not False and train_codes.labels is not None
        length = core.prior.code_length or autoencoder.code_length
        torch.manual_seed(core.seed)
        assert autoencoder.codebook_size is not None
        vectors = autoencoder.quantizer.code_vectors() if core.prior.code_vectors else None
        prior = build_prior(
            core.prior,
            code_length=length,
            codebook_size=autoencoder.codebook_size,
            classes=len(self.classes) if conditional else 0,
            code_vectors=vectors[:length] if vectors is not None and vectors.ndim == 3 else vectors,
            digits=code_digits(core.prior, core.autoencoder.quantizer, autoencoder.codebook_size),
        )
        path = self.folder / PRIOR_FILE
        train_prior(
            prior,
            train_codes,
            validation_codes,
            core.training.prior,
            surroundings,
            seed=core.seed,
            keep=lambda: save_prior(path, prior, core.prior),
        )
        self.accelerator.wait_for_everyone()
        best = load_prior(path).to(self.accelerator.device)
        result = validate_prior(best, validation_codes, limit=None, batch_size=core.training.prior.batch_size)
        validation: dict[str, Any] = {
            "bits_per_code": round(result.bits_per_code, 4),
            "standard_error": round(result.standard_error, 4),
            "bits_per_position": [round(value, 4) for value in result.bits_per_position.tolist()],
            "samples": result.samples,
        }
        if isinstance(best, ARDMPrior):
            steps = (best.losses() / math.log(2)).tolist()
            validation["bits_per_step"] = [[round(value, 4) for value in stage] for stage in steps]
        return core.training.prior.steps, validation


def _foreign(path: Path) -> bool:
    """Whether a file in a run folder is no trace of a training that begins in it, or died before it had."""
    return not path.name.startswith((f".{_LOCK}.", PARTIAL_PREFIX))


def _shapes(autoencoder: OrderedAutoencoder) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in autoencoder.state_dict().items()}


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "anytime-toolkit": anytime_core.__version__, **versions}
