"""Run folders: the public API on top of what one training produced.

A run holds `run.json` (`anytime_core.record`), `config.yaml`, `autoencoder.safetensors` and `prior.safetensors`
(`anytime_core.weights`), `codes/*.npy`, `metrics.jsonl`, `tensorboard/` and `previews/`.

Letters: B batch, N code length, n a prefix length.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.devices import resolve_device
from anytime_core.errors import RunError, UsageError, nearest
from anytime_core.modality import Modality
from anytime_core.priors import TransformerPrior
from anytime_core.record import RUN_FILE, STAGES, RunRecord, latest_run, read_record
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.engines import ENGINES, OnCode
from anytime_core.sampling.noise import gumbel_noise
from anytime_core.sampling.samples import Samples
from anytime_core.weights import AUTOENCODER_FILE, PRIOR_FILE, load_autoencoder, load_prior, require_plugin

_BATCH = 64


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
            label: class name or number, a name first where a string is both; None takes each class in turn.
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
        if isinstance(label, str) and label in classes:
            return classes.index(label)
        known = f"the classes are {', '.join(classes)}"
        if isinstance(label, str) and not label.isdecimal():
            raise UsageError(f"no class '{label}'{nearest(label, classes)}: {known}")
        if not 0 <= int(label) < prior.classes:
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
    require_plugin(record.modality, path / RUN_FILE)
    place = resolve_device(device)
    weights = path / AUTOENCODER_FILE
    if "autoencoder" not in record.stages or not weights.exists():
        raise RunError(
            f"run {path} has no autoencoder yet: train it with anytime train --run {path} --stage autoencoder"
        )
    autoencoder, modality = load_autoencoder(weights)
    prior = load_prior(path / PRIOR_FILE).to(place) if "prior" in record.stages else None
    return Run(path, record, modality, autoencoder.to(place), prior, place)
