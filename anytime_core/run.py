"""Run folders: what one training produced, and the public API on top of it.

A run holds `run.json` (a `RunRecord`), `config.yaml`, `autoencoder.safetensors` and `prior.safetensors` (each with its
config in the metadata), `codes/*.npy`, `metrics.jsonl`, `tensorboard/` and `previews/`. Nothing that is read back is a
pickle, and no file names anything that is imported.

Letters: B batch, N code length, n a prefix length.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, Config, CoreConfig, PriorConfig, parse_config, read_yaml
from anytime_core.devices import resolve_device
from anytime_core.errors import RunError, UsageError, nearest
from anytime_core.files import replacing, write_json
from anytime_core.modality import Modality
from anytime_core.plugins import find_plugin, load_modality
from anytime_core.priors import TransformerPrior, build_prior
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.engines import ENGINES, OnCode
from anytime_core.sampling.noise import gumbel_noise
from anytime_core.sampling.samples import Samples

FORMAT_VERSION = 1
"""Version of the run folder's layout. Runs of a newer one are refused, those of an older one are read."""

Stage = Literal["autoencoder", "codes", "prior"]
_Metadata = TypeVar("_Metadata", bound=BaseModel)
STAGES: tuple[Stage, ...] = ("autoencoder", "codes", "prior")

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
_BATCH = 64
_OTHER_RUN = "see anytime runs list, or train another with anytime train"
_SAME_STAGE = "train that stage again with --stage"


class StageRecord(BaseModel):
    """A finished stage: its cost and what validation said."""

    steps: int
    seconds: float
    validation: dict[str, Any] = Field(default_factory=dict)


class RunRecord(BaseModel):
    """What `run.json` says."""

    format_version: int = FORMAT_VERSION
    created: str
    modality: str
    plugin: dict[str, str]
    recipe: str | None
    seed: int
    code_length: int
    codebook_size: int | None
    classes: tuple[str, ...]
    stages: dict[Stage, StageRecord] = Field(default_factory=dict)
    libraries: dict[str, str]
    config: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write `run.json` of a run folder."""
        write_json(folder / RUN_FILE, self.model_dump(mode="json"))


def read_record(folder: Path) -> RunRecord:
    """The record of a run folder.

    Raises:
        RunError: the folder is missing, no run, damaged, or of a newer format.
    """
    path = folder / RUN_FILE
    if not folder.is_dir():
        raise RunError(f"no run at {folder}; {_OTHER_RUN}")
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run, as it has no {RUN_FILE}; {_OTHER_RUN}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}; {_OTHER_RUN}") from error
    return _validated(RunRecord, data, path, _OTHER_RUN)


def list_runs(root: Path) -> list[Path]:
    """Run folders directly below `root`, the latest last."""
    folders = [path.parent for path in root.glob(f"*/{RUN_FILE}")]
    return sorted(folders, key=lambda folder: ((folder / RUN_FILE).stat().st_mtime_ns, folder.name))


def latest_run(root: Path) -> Path:
    """The run below `root` that was written last. Raises RunError where there is none."""
    runs = list_runs(root)
    if not runs:
        raise RunError(f"no run in {root}: train one with anytime train, or name one with --run DIR")
    return runs[-1]


class AutoencoderMetadata(BaseModel):
    """What `autoencoder.safetensors` says of itself."""

    format_version: int = FORMAT_VERSION
    modality: str
    modality_config: dict[str, Any]
    autoencoder: AutoencoderConfig


class PriorMetadata(BaseModel):
    """What `prior.safetensors` says of itself."""

    format_version: int = FORMAT_VERSION
    prior: PriorConfig
    code_length: int = Field(ge=1)
    codebook_size: int = Field(ge=2)
    classes: int = Field(ge=0)


def save_weights(path: Path, module: nn.Module, metadata: BaseModel) -> None:
    """Write a module's state as safetensors with `metadata` as JSON, at once."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(state, temporary, {"anytime": metadata.model_dump_json()})


def read_weights(path: Path, metadata: type[_Metadata]) -> tuple[dict[str, Tensor], _Metadata]:
    """State and metadata of a file that `save_weights` wrote. Raises RunError where it is damaged or too new."""
    try:
        with safe_open(path, framework="pt") as file:
            data = json.loads((file.metadata() or {})["anytime"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}; {_SAME_STAGE}") from error
    return state, _validated(metadata, data, path, _SAME_STAGE)


def _validated(model: type[_Metadata], data: Any, path: Path, way_out: str) -> _Metadata:
    """`data` read from `path` as a `model`. Raises RunError where it is damaged or of a newer format."""
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise RunError(f"{path} is damaged: it has no format_version; {way_out}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {version}, newer than the {FORMAT_VERSION} this version reads: "
            "update with pip install --upgrade anytime-toolkit"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path} is damaged: {place}: {first['msg'].lower()}; {way_out}") from error


def save_autoencoder(path: Path, autoencoder: OrderedAutoencoder, config: Config) -> None:
    """Write the autoencoder with its modality's and its own config: the file is enough to load it."""
    save_weights(
        path,
        autoencoder,
        AutoencoderMetadata(
            modality=config.core.modality,
            modality_config=config.modality.model_dump(mode="json"),
            autoencoder=config.core.autoencoder,
        ),
    )


def load_autoencoder(path: Path) -> tuple[OrderedAutoencoder, Modality]:
    """The autoencoder of a file, in evaluation mode, with its modality.

    Raises:
        RunError: the file is damaged, or its modality is not installed.
        PluginError: its modality does not work.
    """
    state, metadata = read_weights(path, AutoencoderMetadata)
    _require_plugin(metadata.modality, path)
    cls = load_modality(metadata.modality)
    try:
        modality = cls(cls.Config.model_validate(metadata.modality_config))
        autoencoder = build_autoencoder(modality, metadata.autoencoder)
        autoencoder.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    return autoencoder.eval(), modality


def _require_plugin(modality: str, path: Path) -> None:
    try:
        find_plugin(modality)
    except UsageError as error:
        raise RunError(f"{path} needs a plugin: {error}; install it, see anytime plugins list") from error


def save_prior(path: Path, prior: TransformerPrior, config: PriorConfig) -> None:
    """Write the prior with its config and sizes: the file is enough to load it."""
    save_weights(
        path,
        prior,
        PriorMetadata(
            prior=config,
            code_length=prior.code_length,
            codebook_size=prior.codebook_size,
            classes=prior.classes,
        ),
    )


def load_prior(path: Path) -> TransformerPrior:
    """The prior of a file, in evaluation mode. Raises RunError where the file is damaged."""
    state, metadata = read_weights(path, PriorMetadata)
    try:
        prior = build_prior(
            metadata.prior,
            code_length=metadata.code_length,
            codebook_size=metadata.codebook_size,
            classes=metadata.classes,
            code_vectors=state.get("vectors"),
        )
        prior.load_state_dict(state)
    except (RuntimeError, ValueError, IndexError) as error:
        raise _damaged(path, error) from error
    return prior.eval()


def _damaged(path: Path, error: Exception) -> RunError:
    lines = [line.strip() for line in str(error).splitlines()]
    return RunError(f"{path} does not hold what its metadata say: {' '.join(lines[:2])}; {_SAME_STAGE}")


@dataclass
class Run:
    """A trained model, opened.

    Attributes:
        folder: the run folder.
        record: what `run.json` says.
        modality: the configured plugin.
        autoencoder: in evaluation mode.
        prior: in evaluation mode, None where stage `prior` has not ended.
        device: where both live.
    """

    folder: Path
    record: RunRecord
    modality: Modality
    autoencoder: OrderedAutoencoder
    prior: TransformerPrior | None
    device: torch.device

    @property
    def code_length(self) -> int:
        """N."""
        return self.autoencoder.code_length

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Tensor:
        """Codes [B, N] int64 of samples [B, *sample_shape] in [-1, 1]."""
        return self.autoencoder.encode(x.to(self.device)).cpu()

    @torch.inference_mode()
    def decode(self, codes: Tensor, length: int | Tensor | None = None) -> Tensor:
        """Samples from the first `length` codes (one number or [B]; None: all) of `codes` [B, n], n <= N."""
        return self.autoencoder.decode(codes.to(self.device), length).cpu()

    def reconstruct(self, x: Tensor, budget: float | str | Budget = 1.0) -> Tensor:
        """Samples [B, *sample_shape] through the autoencoder, keeping as many codes as `budget` buys."""
        length = Budget.parse(budget).codes(self.code_length)
        if self.autoencoder.codebook_size is None:
            with torch.inference_mode():
                vectors = self.autoencoder.encode_vectors(x.to(self.device))
                return self.autoencoder.decode_vectors(vectors, torch.full((len(x),), length, device=self.device)).cpu()
        return self.decode(self.encode(x), length)

    def sample(
        self,
        num: int = 16,
        budget: float | str | Budget = 1.0,
        *,
        seed: int = 0,
        label: int | str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        engine: str = "auto",
    ) -> Samples:
        """Draw `num` new samples.

        Args:
            num: how many.
            budget: a share of the codes (0.6, `"60%"`), a number of codes (`"42codes"`) or a `Budget`.
            seed: sample i of a seed is the same in every call, whatever `num` is.
            label: class name or number; None takes each class in turn.
            temperature, top_k, top_p: see `Filter`.
            engine: `auto` or a name in `ENGINES`.

        Raises:
            RunError: the run has no prior yet.
            UsageError: an argument out of range.
        """
        parts = list(
            self.sample_batches(
                range(num),
                budget,
                seed=seed,
                label=label,
                filtering=Filter(temperature, top_k, top_p),
                engine=engine,
            )
        )
        if not parts:
            raise UsageError(f"number of samples {num} is not at least 1")
        labels = [part.labels for part in parts if part.labels is not None]
        return Samples(
            x=torch.cat([part.x for part in parts]),
            codes=torch.cat([part.codes for part in parts]),
            labels=torch.cat(labels) if labels else None,
            indices=tuple(range(num)),
            seconds={name: sum(part.seconds[name] for part in parts) for name in parts[0].seconds},
        )

    def sample_batches(
        self,
        indices: Sequence[int],
        budget: float | str | Budget = 1.0,
        *,
        seed: int = 0,
        label: int | str | None = None,
        filtering: Filter | None = None,
        engine: str = "auto",
        batch_size: int = _BATCH,
        on_code: OnCode | None = None,
    ) -> Iterator[Samples]:
        """Draw the samples with the given global indices, a batch at a time; see `sample`.

        Args:
            indices: global sample indices; a sample follows from the seed and its index alone.
            filtering: changes to the prior's distribution.
            batch_size: samples a batch.
            on_code: called after each code of each batch with the number of codes drawn of it; true stops there and
                decodes what is drawn.
        """
        prior = self.require_prior()
        if engine != "auto" and engine not in ENGINES:
            raise UsageError(f"no engine '{engine}'{nearest(engine, ENGINES)}: use auto, {', '.join(ENGINES)}")
        if not 0 <= seed < 2**63:
            raise UsageError(f"seed {seed} is not in 0..2^63-1")
        draw = ENGINES["eager" if engine == "auto" else engine]
        length = Budget.parse(budget).codes(prior.code_length)
        fixed = self.label_number(label)
        for first in range(0, len(indices), batch_size):
            batch = indices[first : first + batch_size]
            started = time.perf_counter()
            labels = None
            if prior.classes:
                labels = torch.tensor([index % prior.classes if fixed is None else fixed for index in batch])
            noise = gumbel_noise(seed, batch, length, prior.codebook_size)
            codes = draw(
                prior,
                None if labels is None else labels.to(self.device),
                noise.to(self.device),
                filtering or Filter(),
                on_code or (lambda drawn: False),
            ).cpu()
            drawn = time.perf_counter()
            x = self.decode(codes)
            yield Samples(
                x=x,
                codes=codes,
                labels=labels,
                indices=tuple(batch),
                seconds={"codes": drawn - started, "decode": time.perf_counter() - drawn},
            )

    def require_prior(self) -> TransformerPrior:
        """The prior. Raises RunError naming the way out where the run has none yet."""
        if self.prior is None:
            missing = next(stage for stage in STAGES if stage not in self.record.stages)
            raise RunError(
                f"run {self.folder} has no prior yet: go on with anytime train --run {self.folder} --stage {missing}"
            )
        return self.prior

    def label_number(self, label: int | str | None) -> int | None:
        """The number of a class given by name or number.

        Raises:
            UsageError: the prior is unconditional, or there is no such class.
        """
        if label is None:
            return None
        classes = self.record.classes
        prior = self.require_prior()
        if prior.classes == 0:
            raise UsageError(f"label '{label}' has no meaning here: run {self.folder} has an unconditional prior")
        if str(label) in classes:
            return classes.index(str(label))
        known = f"the classes are {', '.join(classes)}"
        if not str(label).isdigit():
            raise UsageError(f"no class '{label}'{nearest(str(label), classes)}: {known}")
        if int(label) >= prior.classes:
            raise UsageError(f"label {label} is not in 0..{prior.classes - 1}: {known}")
        return int(label)


def load(folder: str | Path | None = None, *, device: str = "auto") -> Run:
    """Open a run.

    Args:
        folder: the run folder; None takes the latest one in `runs/`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        RunError: missing, without an autoencoder, damaged, or of a newer format.
        PluginError: its modality does not work.
        UsageError: no such device.
    """
    path = latest_run(Path("runs")) if folder is None else Path(folder)
    record = read_record(path)
    _require_plugin(record.modality, path / RUN_FILE)
    place = resolve_device(device)
    weights = path / "autoencoder.safetensors"
    if "autoencoder" not in record.stages or not weights.exists():
        raise RunError(
            f"run {path} has no autoencoder yet: train it with anytime train --run {path} --stage autoencoder"
        )
    autoencoder, modality = load_autoencoder(weights)
    prior = load_prior(path / "prior.safetensors").to(place) if "prior" in record.stages else None
    return Run(path, record, modality, autoencoder.to(place), prior, place)


def read_config(folder: Path) -> Config:
    """The config that a run was trained with. Raises RunError or ConfigError where it is missing or damaged."""
    data = read_yaml(folder / CONFIG_FILE)
    name = data.get("modality", CoreConfig().modality)
    return parse_config(data, load_modality(str(name)).Config)
