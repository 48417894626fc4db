"""Run folders: the public API on top of what one training produced.

A run holds `run.json` (`anytime_core.record`), `config.yaml`, `autoencoder.safetensors` and `prior.safetensors`
(`anytime_core.weights`), `codes/*.npy`, `metrics.jsonl`, `tensorboard/` and `previews/`.

n is a prefix length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anytime_core.arguments import (
    Media,
    Numbers,
    checked_codes,
    checked_known,
    checked_lengths,
    checked_samples,
    is_sequence,
    sample_indices,
)
from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.budget import SHARE_OR_CODES, Budget, Spending
from anytime_core.data.locations import user_path
from anytime_core.devices import resolve_device
from anytime_core.display import shown
from anytime_core.errors import AnytimeError, RunError, UsageError
from anytime_core.in_training import in_training
from anytime_core.labels import ClassLabels, Label, Labels
from anytime_core.modality import Modality
from anytime_core.priors.base import Prior
from anytime_core.quantities import whole_number
from anytime_core.record import RunRecord, latest_run
from anytime_core.relocation import relocated
from anytime_core.run_files import open_run_files
from anytime_core.sampling import open_sampler
from anytime_core.sampling.adaptive import measured_gains
from anytime_core.sampling.deadline import COSTS_FILE, Costs
from anytime_core.sampling.engines import Engines
from anytime_core.sampling.options import SamplingOptions, changed_options
from anytime_core.sampling.sampler import OnCode, Sampler
from anytime_core.sampling.samples import Prefix, Samples, joined
from anytime_core.sampling.source import Source


@dataclass(repr=False)
class Run:
    """A trained model, opened.

    >>> run = load("runs/image-digits-1", device="cpu")
    >>> run
    Run(runs/image-digits-1, image, 16 codes of 64, 10 classes, transformer prior, cpu)
    >>> samples = run.sample(16, budget=0.5)  # half of the codes of 16 new samples
    >>> codes = run.encode(samples.x)  # the most important first
    >>> coarse = run.decode(codes, length=2)  # whole samples from their first 2 codes

    Attributes:
        folder: the run folder.
        record: what `run.json` says.
        modality: the configured plugin.
        autoencoder: in evaluation mode.
        prior: in evaluation mode; None if stage `prior` is not finished, or if its plugin does not work.
        device: the device of both.
        absent: why there is no prior although its stage is finished; None if that is not so.
    """

    folder: Path
    record: RunRecord
    modality: Modality
    autoencoder: OrderedAutoencoder
    prior: Prior | None
    device: torch.device
    absent: AnytimeError | None = None

    @property
    def code_length(self) -> int:
        """N."""
        return self.autoencoder.code_length

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by number; empty if the data has no labels.

        >>> run.classes[:3]
        ('0', '1', '2')
        """
        return self.record.classes

    def __repr__(self) -> str:
        size = self.autoencoder.codebook_size
        parts = [
            shown(str(self.folder)),
            self.record.modality,
            f"{self.code_length} codes of {size}" if size is not None else f"{self.code_length} continuous codes",
            f"{len(self.classes)} classes" if self.classes else "no classes",
            self._shown_prior(),
            str(self.device),
        ]
        return f"Run({', '.join(parts)})"

    def __fspath__(self) -> str:
        """Its folder: a run can be given wherever the path of a run folder is taken."""
        return str(self.folder)

    def _shown_prior(self) -> str:
        if self.prior is None:
            return "no prior yet" if self.absent is None else "a prior whose plugin does not work"
        return f"{self.prior.kind} prior"

    @torch.inference_mode()
    def encode(self, x: Media) -> Tensor:
        """Codes of samples, the most important ones first.

        >>> run.encode(samples.x).shape
        torch.Size([16, 16])
        >>> run.encode(np.zeros((1, 8, 8))).shape  # one sample
        torch.Size([1, 16])

        Args:
            x: [B, *sample_shape] in [-1, 1], a tensor, array or list; one sample; or paths of files that hold one each.

        Returns:
            [B, N] int64.

        Raises:
            UsageError: samples have another shape, type or range, or the codes of the run are continuous.
            DataError: a file cannot be read.
        """
        self._require_codebook("encode")
        return self.autoencoder.encode(checked_samples(x, self.modality).to(self.device)).cpu()

    @torch.inference_mode()
    def decode(self, codes: Numbers, length: int | Numbers | None = None) -> Tensor:
        """Whole samples from the first of their codes.

        >>> run.decode(samples.codes, length=2).shape
        torch.Size([16, 1, 8, 8])

        Args:
            codes: [B, n] whole numbers with n <= N, a tensor, array or list, or [n] for one sample.
            length: how many of them to use, one number or [B], in 1..n; None: all.

        Returns:
            [B, *sample_shape].

        Raises:
            UsageError: codes are not in the codebook or are more than N, or a length is out of range.
        """
        return self._decode_on_device(codes, length).cpu()

    @torch.inference_mode()
    def _decode_on_device(self, codes: Numbers, length: int | Numbers | None = None) -> Tensor:
        """See `decode`; samples stay on the device, which may still be at work on them."""
        given = checked_codes(codes, self.code_length, self._require_codebook("decode"))
        if length is not None:
            length = checked_lengths(length, *given.shape)
        kept = length.to(self.device) if isinstance(length, Tensor) else length
        return self.autoencoder.decode(given.to(self.device), kept)

    @torch.inference_mode()
    def reconstruct(self, x: Media, budget: float | str | Budget = 1.0) -> Tensor:
        """Encode and decode samples, keeping as many codes as `budget` buys.

        >>> run.reconstruct(samples.x, budget=0.25).shape
        torch.Size([16, 1, 8, 8])

        Args:
            x: as for `encode`.
            budget: a share of the codes (0.6, `"60%"`) or a number of them (12, `"12codes"`).

        Returns:
            [B, *sample_shape].

        Raises:
            UsageError: samples or budget have no meaning here.
            DataError: a file cannot be read.
        """
        length = Budget.parse(budget, self.coding).codes(self.code_length)
        given = checked_samples(x, self.modality).to(self.device)
        if self.autoencoder.codebook_size is None:
            lengths = torch.full((len(given),), length, device=self.device)
            return self.autoencoder.decode_vectors(self.autoencoder.encode_vectors(given), lengths).cpu()
        return self.autoencoder.decode(self.autoencoder.encode(given), length).cpu()

    def sample(
        self,
        num: int | None = None,
        budget: float | str | Budget = 1.0,
        *,
        labels: Mapping[Label, int] | None = None,
        **options: Any,
    ) -> Samples:
        """Draw `num` new samples.

        >>> run.sample(4, budget=0.5, seed=1)
        Samples(4 of shape [1, 8, 8], 8 codes each, 4 classes)
        >>> run.sample(4, budget="3codes", label="7").labels
        tensor([7, 7, 7, 7])

        Args:
            num: how many; 16, or as many as `labels` counts.
            budget: a share of the codes (0.6, `"60%"`), a number of codes (12, `"12codes"`), a deadline for this call
                (`"200ms"`), `"adaptive"`, or a `Budget`.
            labels: how many of each class, in place of `num` and `label`.
            options: any of `SamplingOptions`, by name: sample i of a `seed` is the same in every call, whatever `num`
                is; `label` is the name of a class, or its number; `temperature`, `top_k`, `top_p` and `guidance` shape
                what is drawn; `engine`, `precision`, `batch_size`, `calls` and `plan` say how.

        Raises:
            RunError: the run has no prior yet.
            UsageError: an argument is out of range or unknown.
        """
        if labels is not None and not (isinstance(labels, Mapping) and labels):
            raise UsageError(
                f"labels {labels!r} do not say how many samples of each class: give a dictionary such as "
                "{'cat': 10, 'dog': 5}, or one class for all as label"
            )
        counts = tuple((labels or {}).items())
        chosen = changed_options(None, labels=counts, **options)
        if counts and num is not None:
            raise UsageError(f"number of samples {num} and counts of labels are both given: leave one of them out")
        wanted = sum(count for _, count in counts) if counts else 16 if num is None else num
        wanted = whole_number("number of samples", wanted, "in 1..10^12", 1, 10**12)
        return joined(list(self.sample_batches(range(wanted), budget, chosen)))

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
            on_code: called after each code of each batch with the number of codes drawn; if it returns true, drawing
                stops and what is drawn is decoded.
        """
        sampler = self.sampler(options)
        return sampler.batches(sample_indices(indices), Budget.parse(budget, sampler.spending), on_code=on_code)

    def stream(
        self,
        num: int = 1,
        budgets: float | str | Budget | Sequence[float | str | Budget] | None = None,
        options: SamplingOptions | None = None,
        **changes: Any,
    ) -> Iterator[Prefix]:
        """Draw `num` samples together, and yield them again and again, each time with more codes.

        >>> [prefix.codes.shape[1] for prefix in run.stream(2, [0.25, 1.0])]
        [4, 16]

        Args:
            num: how many, as one batch.
            budgets: one or more shares or numbers of codes at which to yield them; None: after every code.
            options: how codes are drawn.
            changes: any of `SamplingOptions`, by name, that differ from `options`.

        Yields:
            Growing prefixes, each decoded only if its `x` is asked for. Stop at any time.
        """
        num = whole_number("number of samples", num, "in 1..10^12", 1, 10**12)
        sampler = self.sampler(changed_options(options, **changes))
        if budgets is None:
            return sampler.stream(range(num), None)
        several: list[Any] = list(budgets) if is_sequence(budgets) else [budgets]
        length = self.require_prior().code_length
        lengths = [Budget.parse(budget, Spending(length, SHARE_OR_CODES)).codes(length) for budget in several]
        if not lengths:
            raise UsageError("no budget to give samples at: give at least one, or None for every code")
        return sampler.stream(range(num), lengths)

    def complete(
        self,
        codes: Numbers,
        known: Numbers,
        *,
        label: Labels | None = None,
        options: SamplingOptions | None = None,
        **changes: Any,
    ) -> Samples:
        """Draw the unknown codes, given the known ones.

        An order-agnostic prior can be given any codes of each sample, a causal one only the first codes.

        >>> known = torch.ones(16, 2, dtype=torch.bool)
        >>> run.complete(samples.codes[:, :2], known, label=samples.labels)
        Samples(16 of shape [1, 8, 8], 16 codes each, 10 classes)

        Args:
            codes: [B, n] whole numbers, or [n] for one sample. If n is less than the prior's code length, later codes
                are unknown. The values of unknown codes do not matter.
            known: booleans of the same shape.
            label: name or number of the class of all samples, in text `index:3`; or a sequence with one for each.
            options: how codes are drawn; the noise is the noise of samples 0..B-1.
            changes: any of `SamplingOptions`, by name, that differ from `options`.

        Returns:
            Samples with all the codes that the prior models.

        Raises:
            RunError: the run has no prior yet.
            UsageError: the prior cannot be given these codes or labels.
        """
        prior = self.require_prior()
        given = checked_known(known)
        numbers = checked_codes(codes, prior.code_length, prior.codebook_size, given)
        missing = prior.code_length - numbers.shape[1]
        labels = self._labels.numbers(label, len(numbers))
        sampler = self.sampler(changed_options(options, **changes))
        return sampler.complete(F.pad(numbers, (0, missing)), F.pad(given, (0, missing)), labels)

    def sampler(self, options: SamplingOptions | None = None) -> Sampler:
        """The sampler that the prior needs. Raises RunError if there is none, UsageError for a wrong option."""
        return open_sampler(self._source, changed_options(options))

    @cached_property
    def _source(self) -> Source:
        """What samplers share: the prior's engines, and what they have prepared."""
        prior = self.require_prior()
        return Source(
            run=self,
            folder=self.folder,
            prior=prior,
            decode=lambda codes, lengths=None: self.decode(codes, lengths),
            decode_on_device=self._decode_on_device,
            labels=self._labels,
            costs=self.costs,
            gains=lambda: measured_gains(self.record, prior.code_length),
            device=self.device,
            engines=Engines(prior, self.folder),
        )

    @cached_property
    def costs(self) -> Costs:
        """The times of decoding and writing in calls with a deadline."""
        return Costs(self.folder / COSTS_FILE, self.device)

    @property
    def drawn_length(self) -> int:
        """How many codes new samples can have: those that the prior models, N if there is no prior yet."""
        return self.code_length if self.prior is None else self.prior.code_length

    @property
    def coding(self) -> Spending:
        """The budgets that have a meaning for encoding and decoding."""
        return Spending(self.code_length, SHARE_OR_CODES)

    def prefix_in_words(self, codes: int) -> str:
        """What samples of `codes` codes are if they are not whole samples, coarser, for people; empty if they are.

        >>> run.prefix_in_words(4)
        ''
        """
        return self.autoencoder.prefix if codes < self.code_length else ""

    def _require_codebook(self, what: str) -> int:
        """K. Raises UsageError, saying that the run cannot `what`, if codes are continuous."""
        size = self.autoencoder.codebook_size
        if size is None:
            raise UsageError(
                f"run {self.folder} cannot {what}: its codes are continuous and have no numbers; use run.reconstruct"
            )
        return size

    def require_prior(self) -> Prior:
        """The prior. Raises RunError, or PluginError, naming the way out if the run has none that works."""
        if self.absent is not None:
            raise self.absent
        if self.prior is None:
            if (training := in_training(self.folder)) is not None:
                raise RunError(f"run {self.folder} is in training: {training}; it has a prior when that is done")
            raise RunError(f"run {self.folder} has no prior yet: go on with anytime train --run {self.folder}")
        return self.prior

    def label_number(self, label: Label | None) -> int | None:
        """The number of a class given by its name, by its number, or in text by its number as `index:3`.

        >>> run.label_number("7"), run.label_number("index:3"), run.label_number(3)
        (7, 3, 3)

        Raises:
            UsageError: the prior is unconditional, or there is no such class.
        """
        return self._labels.number(label)

    @property
    def _labels(self) -> ClassLabels:
        return ClassLabels(self.classes, self.require_prior().classes > 0, self.folder)


def load(folder: str | os.PathLike[str] | None = None, *, device: str = "auto", settings: Sequence[str] = ()) -> Run:
    """Open a run.

    >>> load("runs/image-digits-1", device="cpu").code_length
    16

    Args:
        folder: the run folder, or a run; `~` is a home folder. None: the latest one in `runs/`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        settings: where its data is now if it has moved, such as `data.root=DIR`.

    Raises:
        RunError: the run is missing, has no autoencoder, is damaged, or is of a newer format.
        PluginError: its modality does not work.
        UsageError: there is no such device, or a setting is not about the place of the data.
    """
    path = latest_run(Path("runs"), "folder") if folder is None else user_path(folder)
    files = open_run_files(path)
    place = resolve_device(device)
    modality = relocated(files.record, settings) if settings else files.modality
    prior = None if files.prior is None else files.prior.to(place)
    return Run(path, files.record, modality, files.autoencoder.to(place), prior, place, files.absent)
