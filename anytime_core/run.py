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
from anytime_core.display import listed, shown
from anytime_core.errors import RunError, UsageError, nearest
from anytime_core.in_training import in_training
from anytime_core.locations import user_path
from anytime_core.modality import Modality
from anytime_core.priors import ARDMPrior, Prior, TransformerPrior
from anytime_core.record import RUN_FILE, STAGES, RunRecord, latest_run, read_record
from anytime_core.relocation import relocated
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.call_sampler import CallSampler
from anytime_core.sampling.code_sampler import CodeSampler
from anytime_core.sampling.deadline import COSTS_FILE, Costs
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.engines import CALL_ENGINES, ENGINES, CallEngine, Engine
from anytime_core.sampling.sampler import OnCode, Sampler, SamplingOptions
from anytime_core.sampling.samples import Prefix, Samples
from anytime_core.weights import AUTOENCODER_FILE, PRIOR_FILE, load_autoencoder, load_prior, require_plugin

_NUMBERED = "index:"
"""Start of a label that is the number of a class."""


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
    prior: Prior | None
    device: torch.device
    prepared: dict[tuple[int, object], int] = field(default_factory=dict, repr=False)
    _engines: dict[tuple[str, str], Engine] = field(default_factory=dict, repr=False)
    _call_engines: dict[tuple[str, str], CallEngine] = field(default_factory=dict, repr=False)

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
        guidance: float = 1.0,
        engine: str = "auto",
        precision: str = "float32",
        calls: int | None = None,
        plan: str = "optimal",
    ) -> Samples:
        """Draw `num` new samples.

        Args:
            num: how many.
            budget: a share of the codes (0.6, `"60%"`), a number of codes (`"42codes"`), a deadline for this call
                (`"200ms"`), `"adaptive"`, or a `Budget`.
            seed: sample i of a seed is the same in every call, whatever `num` is.
            label: name of a class, or its number, in text `index:3`; None takes each class in turn.
            temperature, top_k, top_p, guidance: see `Filter`.
            engine, precision, calls, plan: see `SamplingOptions`.

        Raises:
            RunError: the run has no prior yet.
            UsageError: an argument out of range.
        """
        filtering = Filter(temperature, top_k, top_p, guidance)
        options = SamplingOptions(seed, label, filtering, engine, precision, calls=calls, plan=plan)
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
            calls=max(part.calls for part in parts),
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
        return self.sampler(options).batches(indices, Budget.parse(budget), on_code=on_code)

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
        sampler = self.sampler(options)
        if budgets is None:
            return sampler.stream(range(num), None)
        lengths = [Budget.parse(budget).codes(sampler.prior.code_length) for budget in budgets]
        if not lengths:
            raise UsageError("no budget to give samples at: name at least one, or None for every code")
        return sampler.stream(range(num), lengths)

    def complete(
        self,
        codes: Tensor,
        known: Tensor,
        *,
        label: int | str | Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Samples:
        """Draw the codes that are not known, given those that are.

        An order-agnostic prior can be given any codes of each sample; one that writes code after code, its first ones.

        Args:
            codes: [B, n], n the prior's code length or fewer, of which all that follow are unknown; what stands where
                nothing is known is not looked at.
            known: [B, n] bool.
            label: name or number of the class of all samples, in text `index:3`, or numbers [B].
            options: how codes are drawn; the noise is that of the samples 0..B-1.

        Returns:
            Samples of all the codes that the prior models.

        Raises:
            RunError: the run has no prior yet.
            UsageError: codes or labels that the prior cannot be given.
        """
        prior = self.require_prior()
        if codes.ndim != 2 or codes.shape != known.shape or known.dtype != torch.bool or not len(codes):
            raise UsageError(
                f"codes {tuple(codes.shape)} and known {tuple(known.shape)} are not [B, n] numbers and [B, n] booleans"
            )
        missing = prior.code_length - codes.shape[1]
        if missing < 0:
            raise UsageError(f"{codes.shape[1]} codes are more than the {prior.code_length} that the prior models")
        codes = F.pad(codes.long().masked_fill(~known, 0), (0, missing))
        if not ((codes >= 0) & (codes < prior.codebook_size)).all():
            raise UsageError(f"codes are not in 0..{prior.codebook_size - 1}")
        labels = label if isinstance(label, Tensor) else None
        if labels is None and prior.classes:
            number = self.label_number(label if not isinstance(label, Tensor) else None)
            if number is None:
                names = listed([shown(name) for name in self.record.classes])
                raise UsageError(f"the prior of run {self.folder} needs a label: {names}")
            labels = torch.full((len(codes),), number)
        if labels is not None and (not prior.classes or labels.shape != codes.shape[:1]):
            raise UsageError(f"labels {tuple(labels.shape)} are not one for each of {len(codes)} samples of this run")
        if labels is not None and not ((labels >= 0) & (labels < prior.classes)).all():
            raise UsageError(f"labels {labels.tolist()} are not all in 0..{prior.classes - 1}")
        return self.sampler(options).complete(codes, F.pad(known, (0, missing)), labels)

    def sampler(self, options: SamplingOptions | None = None) -> Sampler:
        """The sampler that the prior needs. Raises RunError where there is none, UsageError for a wrong option."""
        kind = CallSampler if isinstance(self.require_prior(), ARDMPrior) else CodeSampler
        return kind(self, options or SamplingOptions())

    def engine(self, name: str, precision: str) -> Engine:
        """An engine for a prior that writes code after code, made when first asked for.

        Raises:
            UsageError: it cannot run this prior here.
        """
        if (name, precision) not in self._engines:
            prior = self.require_prior()
            assert isinstance(prior, TransformerPrior)
            self._engines[name, precision] = ENGINES[name](prior, precision)
        return self._engines[name, precision]

    def call_engine(self, name: str, precision: str) -> CallEngine:
        """An engine for an order-agnostic prior, made when first asked for.

        Raises:
            UsageError: it cannot run this prior here.
        """
        if name not in CALL_ENGINES:
            raise UsageError(
                f"engine '{name}' draws one code after another, which the prior of run {self.folder} does not: use "
                f"auto, {', '.join(CALL_ENGINES)}"
            )
        if (name, precision) not in self._call_engines:
            prior = self.require_prior()
            assert isinstance(prior, ARDMPrior)
            self._call_engines[name, precision] = CALL_ENGINES[name](prior, precision)
        return self._call_engines[name, precision]

    @cached_property
    def costs(self) -> Costs:
        """What decoding and writing took in calls with a deadline."""
        return Costs(self.folder / COSTS_FILE, self.device)

    def refuse_data_folder(self, folder: Path) -> None:
        """Raise UsageError where `folder` is that of the data, for which what is written there would be taken."""
        root = self.record.found.root if self.record.found is not None else None
        if root is not None and folder.resolve() == root.resolve():
            raise UsageError(
                f"{shown(folder)} is where the data of run {shown(self.folder)} lies: choose another --out"
            )

    def require_prior(self) -> Prior:
        """The prior. Raises RunError naming the way out where the run has none yet."""
        if self.prior is None:
            missing = next(stage for stage in STAGES if stage not in self.record.stages)
            if (training := in_training(self.folder)) is not None:
                raise RunError(f"run {self.folder} is in training: {training}; it has a prior when that is done")
            raise RunError(
                f"run {self.folder} has no prior yet: go on with anytime train --run {self.folder} --stage {missing}"
            )
        return self.prior

    def label_number(self, label: int | str | None) -> int | None:
        """The number of a class given by its name, by its number, or in text by its number as `index:3`.

        Text is a name first: of classes named 1 and 2, `2` is the one so named, whatever its number.

        Raises:
            UsageError: the prior is unconditional, or there is no such class.
        """
        if label is None:
            return None
        classes = self.record.classes
        prior = self.require_prior()
        if prior.classes == 0:
            raise UsageError(
                f"label '{shown(label)}' has no meaning here: run {self.folder} has an unconditional prior"
            )
        if label in classes:
            return classes.index(str(label))
        known = f"the classes are {listed([shown(name) for name in classes])}"
        number = label if isinstance(label, int) else _number(label)
        if number is None:
            raise UsageError(
                f"no class '{shown(label)}'{nearest(str(label), classes)}: {known}, by number {_NUMBERED}0 to "
                f"{_NUMBERED}{prior.classes - 1}"
            )
        if not 0 <= number < prior.classes:
            raise UsageError(f"label {label} is not in 0..{prior.classes - 1}: {known}")
        return number


def load(folder: str | Path | None = None, *, device: str = "auto", settings: Sequence[str] = ()) -> Run:
    """Open a run.

    Args:
        folder: the run folder, `~` for a home folder; None takes the latest one in `runs/`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        settings: where its data lies by now, such as `data.root=DIR`, where that is asked for.

    Raises:
        RunError: missing, without an autoencoder, damaged, or of a newer format.
        PluginError: its modality does not work.
        UsageError: no such device, or settings of something else.
    """
    path = latest_run(Path("runs")) if folder is None else user_path(folder)
    record = read_record(path)
    require_plugin(record.modality, path / RUN_FILE)
    place = resolve_device(device)
    weights = path / AUTOENCODER_FILE
    if "autoencoder" not in record.stages or not weights.exists():
        if (training := in_training(path)) is not None:
            raise RunError(f"run {path} is in training: {training}; it can be opened when stage autoencoder is done")
        raise RunError(
            f"run {path} has no autoencoder yet: train it with anytime train --run {path} --stage autoencoder"
        )
    autoencoder, modality = load_autoencoder(weights)
    prior = load_prior(path / PRIOR_FILE).to(place) if "prior" in record.stages else None
    _check_same(path, record, modality, autoencoder, prior)
    if settings:
        modality = relocated(record, settings)
    return Run(path, record, modality, autoencoder.to(place), prior, place)


def _number(label: str) -> int | None:
    """What a label such as `index:3` says; None for any other text."""
    number = label.removeprefix(_NUMBERED)
    return int(number) if number != label and number.isascii() and number.isdecimal() and len(number) < 10 else None


def _check_same(
    folder: Path, record: RunRecord, modality: Modality, autoencoder: OrderedAutoencoder, prior: Prior | None
) -> None:
    """Raise RunError where the files of a run are not of one training: sizes that differ would end far from here."""
    told: dict[str, tuple[object, object]] = {
        "modality": (record.modality, modality.name),
        "code length": (record.code_length, autoencoder.code_length),
        "codebook size": (record.codebook_size, autoencoder.codebook_size),
    }
    if prior is not None:
        told["codebook size of the prior"] = (record.codebook_size, prior.codebook_size)
        told["code length of the prior"] = (min(record.code_length, prior.code_length), prior.code_length)
        told["number of classes"] = (len(record.classes) if prior.classes else 0, prior.classes)
    for what, (recorded, held) in told.items():
        if recorded != held:
            raise RunError(
                f"{folder / RUN_FILE} does not fit the weights beside it: {what} {recorded}, where they have {held}; "
                "put back the files that belong together, or train another with anytime train"
            )
