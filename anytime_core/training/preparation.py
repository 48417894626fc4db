"""A training before its first step: config, data, device and run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import Config
from anytime_core.damaged import remembering_damaged, say_damaged, with_damaged
from anytime_core.data.files import PARTIAL_PREFIX
from anytime_core.devices import local_rank, resolve_device, resolve_precision
from anytime_core.discovery.plugins import find_modality, load_modality
from anytime_core.display import shown
from anytime_core.distributed import launched, rank, world_size
from anytime_core.errors import ConfigError, UsageError
from anytime_core.found import Found
from anytime_core.in_training import LOCK
from anytime_core.modality import Datasets, Modality
from anytime_core.priors.base import Prior
from anytime_core.priors.blame import blaming
from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.base import CodeSpec
from anytime_core.record import AUTOENCODER_FILE, RUN_FILE, RunRecord, Stage, read_record
from anytime_core.spelling import argument
from anytime_core.training.checkpoints import Checkpoint, Checkpoints, remove_checkpoints
from anytime_core.training.codes import CodesDataset
from anytime_core.training.frozen import was_begun
from anytime_core.training.interruption import Interruption
from anytime_core.training.log import MetricsLog, OnProgress, ignore_progress
from anytime_core.training.smallest_batch import refuse_single_values
from anytime_core.training.surroundings import Surroundings
from anytime_core.training.trainable import make_autoencoder, make_prior

logger = logging.getLogger(__name__)


@dataclass
class Preparation:
    """What the stages of a training share. Data, device and models are made when first needed.

    Attributes:
        config: what to train.
        folder: the run folder.
        stages: the stages that are asked for, in order.
        on_progress: called after every step.
        autoencoder: the run whose autoencoder and codes a new run takes; None: it makes its own.
    """

    config: Config
    folder: Path
    stages: Sequence[Stage]
    on_progress: OnProgress
    autoencoder: Path | None = None

    @cached_property
    def modality(self) -> Modality:
        """The modality, configured."""
        return load_modality(self.config.core.modality)(self.config.modality)

    @cached_property
    def datasets(self) -> Datasets:
        """The data; what the config left to the data is then settled."""
        if world_size() == 1:
            datasets = self.modality.datasets()
        else:
            with self.accelerator.local_main_process_first():  # it downloads and prepares what the others then find
                datasets = self.modality.datasets()
        if datasets.settled is not None:
            self.config = dataclasses.replace(self.config, modality=datasets.settled)
        return remembering_damaged(datasets)

    def say_damaged(self) -> None:
        """Log which data could not be read, if any was read."""
        if "datasets" in vars(self):
            say_damaged(self.datasets)

    @cached_property
    def untrained(self) -> OrderedAutoencoder:
        """The autoencoder of the config, untrained, for its sizes."""
        try:
            return make_autoencoder(self.modality, self.config.core.autoencoder)
        except ValueError as error:
            refuse_single_values(error)
            raise

    @cached_property
    def device(self) -> torch.device:
        """The device of the training; each of several processes has its own.

        Raises:
            UsageError: there is no such device, or it is the GPU of another process.
        """
        device = resolve_device(self.config.core.training.device)
        if device.type == "cuda" and launched()[1] > 1 and device.index != local_rank():
            raise UsageError(
                f"device '{device}' is not that of process {local_rank()} of this machine, and processes that train "
                "together cannot share a device: use auto or cuda"
            )
        return device

    @cached_property
    def accelerator(self) -> Accelerator:
        """Device, precision and processes."""
        dtype = resolve_precision(self.config.core.training.precision, self.device)
        mixed = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "no")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        # accelerate keeps one state per process, but a second training in it may use another device or precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        with _variable("ACCELERATE_TORCH_DEVICE", str(self.device)):  # else it chooses one itself, or without index
            return Accelerator(cpu=self.device.type == "cpu", mixed_precision=mixed)

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Within the block, the processes of this training form a group, and torch is as deterministic as configured.

        A process group that the caller has formed is used and left as it is.
        """
        before = torch.are_deterministic_algorithms_enabled()
        theirs = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.config.core.training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
            torch.use_deterministic_algorithms(True)
        try:
            if launched()[1] > 1:
                _ = self.accelerator
            with warnings.catch_warnings():
                # Convolutions of one channel have several orders of strides; several processes then only copy.
                warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
                yield
        finally:
            torch.use_deterministic_algorithms(before)
            # Also the group of a single process, which accelerate forms under torchrun.
            if torch.distributed.is_available() and torch.distributed.is_initialized() and not theirs:
                torch.distributed.destroy_process_group()

    def checkpoints(self, stage: Stage) -> Checkpoints:
        """The checkpoints of a stage. The place of the data and the settings of training may change between them."""
        left_out = {"training", "data", *(() if stage == "prior" else ("prior",))}
        everything, settings = self.config.to_dict(), self.config.core.training
        config = {key: value for key, value in everything.items() if key not in left_out}
        if stage == "codes":  # these settings say which rows its steps have written
            config["training.codes"] = everything["training"]["codes"]
        steps = {"autoencoder": settings.autoencoder.steps, "prior": settings.prior.steps}.get(stage)
        return Checkpoints(self.folder, stage, config, 60 * settings.checkpoint_minutes, steps)

    def surroundings(
        self, stage: Stage, log: MetricsLog, interruption: Interruption, resumed: Checkpoint | None
    ) -> Surroundings:
        """The surroundings of a stage, from its start or from a checkpoint."""
        checkpoints = self.checkpoints(stage)
        if resumed is not None:
            checkpoints.last_step = resumed.position.step
            if rank() == 0:
                logger.info("going on with stage %s after step %d", stage, resumed.position.step)
        elif rank() == 0:
            remove_checkpoints(self.folder, stage)
        log.forget(stage, resumed.position.step if resumed else 0)
        on_progress = self.on_progress if rank() == 0 else ignore_progress
        return Surroundings(
            self.accelerator,
            log,
            on_progress,
            checkpoints,
            interruption,
            self.config.core.training.capture,
            resumed,
        )

    def save(self, record: RunRecord) -> None:
        """Write the record."""
        if rank() == 0:
            record.save(self.folder)

    @property
    def weights(self) -> Path:
        """The path of the autoencoder's weights."""
        return self.folder / AUTOENCODER_FILE

    @property
    def previews(self) -> Path:
        """The folder for pictures of the training."""
        return self.folder / "previews"

    @cached_property
    def started(self) -> RunRecord | None:
        """The record of the run that is in the folder already, None if there is none."""
        if (self.folder / RUN_FILE).exists():
            record = read_record(self.folder)
            find_modality(record.modality)
            if record.modality != self.config.core.modality:
                raise UsageError(
                    f"run {self.folder} is of modality '{record.modality}', the config of "
                    f"'{self.config.core.modality}': choose another {argument('run')}"
                )
            return record
        if self.folder.exists() and (not self.folder.is_dir() or _holds_foreign_files(self.folder)):
            raise UsageError(f"{self.folder} is not empty and not a run: choose another {argument('run')}")
        return None

    @cached_property
    def basis(self) -> Path:
        """The run folder with the finished stages that the first stage needs: this one's, or that of another run."""
        return self.folder if self.started is not None or self.autoencoder is None else self.autoencoder

    @cached_property
    def basis_record(self) -> RunRecord | None:
        """The record of `basis`, None if there is none yet."""
        return self.started if self.basis == self.folder else read_record(self.basis)

    def check_labels(self, *, labelled: bool) -> None:
        """Raise ConfigError if the prior is to be conditional and its codes have no labels."""
        if self.config.core.prior.class_conditional is True and not labelled:
            raise ConfigError(
                f"prior.class_conditional=true needs labels, but {shown(self.basis / 'codes/train-labels.npy')} is "
                f"missing: write codes again with {argument('stage', 'codes')} and {argument('force', True)}, or use "
                "auto or false"
            )

    @cached_property
    def prior_weights(self) -> int:
        """The number of the prior's weights. A plugin's prior is tried out, as its faults should show early."""
        kind = self.config.core.prior.kind
        with blaming(kind), torch.random.fork_rng(devices=[]):
            prior = self.prior(self.untrained, labelled=bool(self.classes))
            if PRIORS.plugin(kind) is not None:
                codes = torch.randint(prior.codebook_size, (2, prior.code_length))
                _ = prior(codes, torch.zeros(2, dtype=torch.int64) if prior.classes else None)
        return sum(weight.numel() for weight in prior.parameters())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels. Stage prior takes them from the run, so that it needs no data."""
        if self.stages[0] == "prior" and self.basis_record is not None:
            return self.basis_record.classes
        return self.datasets.classes

    @property
    def found(self) -> Found | None:
        """What was found in the data. Stage prior takes it from the run."""
        if self.stages[0] == "prior":
            return self.basis_record.found if self.basis_record is not None else None
        return with_damaged(self.datasets.counted(), self.datasets)

    def prior(self, autoencoder: OrderedAutoencoder, *, labelled: bool) -> Prior:
        """The prior of the config, untrained, for the codes of `autoencoder`; see `make_prior`."""
        self.check_labels(labelled=labelled)
        config = self.config.core.prior
        classes = len(self.classes) if labelled and config.class_conditional is not False else 0
        spec = autoencoder.spec.narrowed(config.code_length, classes)
        return make_prior(config, spec, prior_vectors(autoencoder, spec))

    def codes(self, autoencoder: OrderedAutoencoder, part: str) -> CodesDataset:
        """The codes of part `train` or `validation`. Raises RunError if `autoencoder` cannot have written them."""
        return CodesDataset(
            self.basis / "codes",
            part,
            code_length=autoencoder.code_length,
            codebook_size=autoencoder.codebook_size,
            classes=len(self.classes) or None,
        )

    @property
    def prior_reads_data(self) -> bool:
        """Whether stage prior encodes training samples itself, as no file has their codes."""
        return self.config.core.training.codes.online


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable within the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _holds_foreign_files(folder: Path) -> bool:
    """Whether files in a folder are not from a training that is starting in it or was killed while starting."""
    own = (f".{LOCK}.", PARTIAL_PREFIX)
    return not was_begun(folder) and not all(path.name.startswith(own) for path in folder.iterdir())


def prior_vectors(autoencoder: OrderedAutoencoder, spec: CodeSpec) -> Tensor | None:
    """The table of code vectors for a prior of the codes `spec`; None if codes are continuous."""
    if spec.size is None:
        return None
    vectors = autoencoder.quantizer.code_vectors()
    return vectors[: spec.length] if vectors.ndim == 3 else vectors
