"""Run folders: the public API on top of what one training produced.

A run holds `run.json` (`anytime_core.record`), `config.yaml`, `autoencoder.safetensors` and `prior.safetensors`
(`anytime_core.weights`), `codes/*.npy`, `metrics.jsonl`, `tensorboard/` and `previews/`.

Letters: B batch, N code length, n a prefix length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.devices import resolve_device
from anytime_core.errors import RunError, UsageError, nearest
from anytime_core.modality import Modality
from anytime_core.priors import TransformerPrior
from anytime_core.record import RUN_FILE, STAGES, RunRecord, latest_run, read_record
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.deadline import COSTS_FILE, Costs
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.engines import ENGINES, Engine
from anytime_core.sampling.sampler import OnCode, Sampler, SamplingOptions
from anytime_core.sampling.samples import Prefix, Samples
from anytime_core.weights import AUTOENCODER_FILE, PRIOR_FILE, load_autoencoder, load_prior, require_plugin


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
        prepared: batch sizes and engines that calls with a deadline are ready for, with the threads that decode best.
    """

    folder: Path
    record: RunRecord
    modality: Modality
    autoencoder: OrderedAutoencoder
    prior: TransformerPrior | None
    device: torch.device
    prepared: dict[tuple[int, Engine], int] = field(default_factory=dict, repr=False)
    _engines: dict[tuple[str, str], Engine] = field(default_factory=dict, repr=False)

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
        precision: str = "float32",
    ) -> Samples:
        """Draw `num` new samples.

        Args:
            num: how many.
            budget: a share of the codes (0.6, `"60%"`), a number of codes (`"42codes"`), a deadline for this call
                (`"200ms"`), `"adaptive"`, or a `Budget`.
            seed: sample i of a seed is the same in every call, whatever `num` is.
            label: class name or number, a name first where a string is both; None takes each class in turn.
            temperature, top_k, top_p: see `Filter`.
            engine, precision: see `SamplingOptions`.

        Raises:
            RunError: the run has no prior yet.
            UsageError: an argument out of range.
        """
        options = SamplingOptions(seed, label, Filter(temperature, top_k, top_p), engine, precision)
        parts = list(self.sample_batches(range(num), budget, options))
        if not parts:
            raise UsageError(f"number of samples {num} is not at least 1")
        longest = max(part.codes.shape[1] for part in parts)
        labels = [part.labels for part in parts if part.labels is not None]
        return Samples(
            x=torch.cat([part.x for part in parts]),
            codes=torch.cat([F.pad(part.codes, (0, longest - part.codes.shape[1])) for part in parts]),
            lengths=torch.cat([part.lengths for part in parts]),
            labels=torch.cat(labels) if labels else None,
            indices=tuple(range(num)),
            seconds={name: sum(part.seconds[name] for part in parts) for name in parts[0].seconds},
        )

    def sample_batches(
        self,
        indices: Sequence[int],
        budget: float | str | Budget = 1.0,
        options: SamplingOptions | None = None,
        *,
        on_code: OnCode = lambda drawn: False,
    ) -> Iterator[Samples]:
        """Draw the samples with the given global indices, a batch at a time, in constant memory; see `sample`.

        Args:
            indices: global sample indices; a sample follows from the seed and its index alone.
            budget: for the call as a whole, which ends with the last batch.
            options: how codes are drawn.
            on_code: called after each code of each batch with the number of codes drawn of it; true stops there and
                decodes what is drawn.
        """
        return Sampler(self, options or SamplingOptions()).batches(indices, Budget.parse(budget), on_code=on_code)

    def stream(
        self,
        num: int = 1,
        budgets: Sequence[float | str | Budget] | None = None,
        options: SamplingOptions | None = None,
    ) -> Iterator[Prefix]:
        """Draw `num` samples together and give what there is of them again and again, each time with more codes.

        Args:
            num: how many, as one batch.
            budgets: shares or numbers of codes after which to give them; None: after every code.
            options: how codes are drawn.

        Yields:
            Growing prefixes, each decoded only where its `x` is asked for. Stop at any time.
        """
        if num < 1:
            raise UsageError(f"number of samples {num} is not at least 1")
        sampler = Sampler(self, options or SamplingOptions())
        if budgets is None:
            return sampler.stream(range(num), None)
        lengths = [Budget.parse(budget).codes(sampler.prior.code_length) for budget in budgets]
        if not lengths:
            raise UsageError("no budget to give samples at: name at least one, or None for every code")
        return sampler.stream(range(num), lengths)

    def engine(self, name: str, precision: str) -> Engine:
        """An engine for the prior, made when first asked for. Raises UsageError where it cannot run it."""
        if (name, precision) not in self._engines:
            self._engines[name, precision] = ENGINES[name](self.require_prior(), precision)
        return self._engines[name, precision]

    @cached_property
    def costs(self) -> Costs:
        """What decoding and writing took in calls with a deadline."""
        return Costs(self.folder / COSTS_FILE, self.device)

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
