"""The plugin contract: what a modality offers to core, and the only place where core says what a sample is.

A plugin never sees budgets, codes, quantizers or priors, and core never looks inside a sample. [C, *S] is the shape of
the latent map of a sample: C channels, S its spatial shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from anytime_core.found import ClassCount, Found

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

API_VERSION = 1
"""Version of this contract. Additions keep it; a plugin built for another version is named and not loaded."""

GROUP = "anytime.modalities"
"""Entry-point group under which distributions declare their modalities."""

FILE_TOLERANCE = 0.01
"""How much a sample may change when it is written and read again, in units of [-1, 1].

It is a little more than a step of 8 bits. A modality whose files are coarser, or whose `read` processes them again,
states its own value as `file_tolerance`.
"""


class SampleDataset(Protocol):
    """A map-style data set. Item i is `{"x": Tensor}`, with `"label"` (int) if it is known.

    An item that cannot be read raises DataError each time; core leaves it out and counts it.

    A data set that gathers many items faster than one by one may add `batch(indices) -> {"x": [B, ...], "label": [B]}`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Datasets:
    """What a modality trains and validates on.

    Attributes:
        train: training samples.
        validation: validation samples, disjoint from `train`.
        classes: names of the labels 0, 1, ...; empty if the data has no labels.
        found: what was found where the data was looked for; None: core counts.
        settled: the modality's config, with the values that it left to the data filled in, such as which grey is white,
            so that a run keeps them; None if there are none.
    """

    train: SampleDataset
    validation: SampleDataset
    classes: tuple[str, ...] = ()
    found: Found | None = None
    settled: BaseModel | None = None

    def counted(self) -> Found:
        """What the modality found, or mere numbers if it does not say."""
        if self.found is not None:
            return self.found
        train, validation = _labels(self.train), _labels(self.validation)
        classes: dict[str, ClassCount | None] = dict.fromkeys(self.classes)
        if train is not None and validation is not None:
            classes = {name: ClassCount(train[number], validation[number]) for number, name in enumerate(self.classes)}
        return Found(train=len(self.train), validation=len(self.validation), classes=classes)


def _labels(dataset: SampleDataset) -> Counter[int] | None:
    """How often each label stands in a set that holds its `labels`; None for one that only its items would tell."""
    labels = getattr(dataset, "labels", None)
    if labels is None or isinstance(labels, str) or not hasattr(labels, "__len__") or len(labels) != len(dataset):
        return None
    return Counter(labels.tolist() if hasattr(labels, "tolist") else labels)


@dataclass(frozen=True)
class PreviewRow:
    """One row of a preview: a caption such as `60 %` and samples [B, *sample_shape]."""

    caption: str
    x: Tensor


class UserFile(Protocol):
    """A user's file as one or more samples in order, so that it can be longer than a sample and than memory."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __iter__(self) -> Iterator[Tensor]:
        """The samples, each [*sample_shape], read as they are asked for."""
        ...

    def write(self, x: Iterable[Tensor], path: Path) -> None:
        """Write samples [*sample_shape], in the order and number of those that iterating gives, as one file."""
        ...


@runtime_checkable
class OpensFiles(Protocol):
    """A modality whose files may hold more than one sample adds this method; others only `read` and `write`."""

    def open_file(self, path: Path) -> UserFile:
        """A user's file. Raises DataError naming it if it cannot be read to its end."""
        ...


Restored = Literal["size", "rate"]
"""The property of a user's file that a modality can restore: its size, or the number of its values per second."""


@runtime_checkable
class RestoresFiles(Protocol):
    """A modality that brings files to one size or rate, and can restore it in reconstructions, adds this.

    `anytime reconstruct --original-size` or `--keep-rate` uses it, according to `restores`.
    """

    restores: ClassVar[Restored]

    def open_to_restore(self, path: Path) -> UserFile:
        """A user's file whose `write` restores its size or rate; its samples are those of `open_file` or `read`.

        Raises DataError naming the file if it cannot be read to its end.
        """
        ...


@dataclass(frozen=True)
class Extractor:
    """Features by which sets of samples are compared.

    Attributes:
        description: what it is and where its weights come from; it stands beside every number that it gives.
        features: samples [B, *sample_shape] -> F features each, [B, F] float32 on the same device. A row depends on its
            sample alone.
        scores: names of the features if each has a meaning of its own, such as a predicted opinion score; else empty.
    """

    description: str
    features: Callable[[Tensor], Tensor]
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightsSource:
    """Where an extractor may take its weights from.

    Attributes:
        file: the file that the user names, for an extractor that takes one.
        download: whether it may download the weights.
    """

    file: Path | None = None
    download: bool = False


@dataclass(frozen=True)
class OfferedExtractor:
    """An extractor that a modality offers, not loaded yet.

    Attributes:
        load: loads it. Raises UsageError naming the way out if a package or weights are missing, and never puts another
            network in their place.
        default: whether it is used if the user names none; it then needs neither weights nor extras.
        takes_weights: whether the user may name a file of its weights.
    """

    load: Callable[[WeightsSource], Extractor]
    default: bool = False
    takes_weights: bool = False


@runtime_checkable
class HasExtractors(Protocol):
    """A modality that offers feature extractors adds this."""

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """The extractors by name. The name `classifier` is core's own."""
        ...


@runtime_checkable
class HasFeatureNetwork(Protocol):
    """A modality that has a small network to tell its classes apart adds this; for others, core uses their encoder."""

    def feature_network(self) -> nn.Module:
        """An untrained network x [B, *sample_shape] -> features [B, F], which core trains as a classifier.

        It depends on the shape of the data alone, so that the same network judges runs of different networks.
        """
        ...


@runtime_checkable
class ShowsGrowth(Protocol):
    """A modality that can show how a sample grows with its codes adds this."""

    def write_growth(self, steps: Sequence[Tensor], stem: Path) -> None:
        """Write files `stem` plus a suffix that show `steps`, one sample [*sample_shape] from more and more codes."""
        ...


@runtime_checkable
class WritesInMemory(Protocol):
    """A modality that can write files in memory adds this; those of others are written to the disk one by one."""

    def contents(self, x: Tensor, names: Sequence[str]) -> list[bytes]:
        """What `write` would write of samples [B, *sample_shape] to files of these B names.

        Several threads call it at a time, each with other samples. An error or a warning names the file.
        """
        ...


@runtime_checkable
class NeedsViews(Protocol):
    """A modality whose training samples may be of use only as what `augment` makes of them adds this."""

    def needs_views(self) -> str:
        """The setting that makes it so, such as `data.binarize=dynamic`; empty if samples are good as they are."""
        ...


@runtime_checkable
class Modality(Protocol):
    """A kind of data, configured: the entry point names a class, and core makes `cls(config)`.

    Class attributes hold for any configuration. Every method works on samples `x`, float32 of `sample_shape` with
    values in [-1, 1]. A modality may also have `file_tolerance` (`FILE_TOLERANCE`), `open_file` (`OpensFiles`),
    `contents` (`WritesInMemory`), `write_growth` (`ShowsGrowth`), `feature_network` (`HasFeatureNetwork`),
    `extractors` (`HasExtractors`), `needs_views` (`NeedsViews`) and `value_networks`
    (`value_networks.HasValueNetworks`). `anytime plugins check NAME` checks all of it.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    api_version: ClassVar[int]
    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the files that samples can be written to, such as `.png`; the default is first."""
    Config: ClassVar[type[BaseModel]]
    """A pydantic model. Each of its fields has a default and a description."""

    def __init__(self, config: Any, /) -> None: ...

    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without a batch axis."""
        ...

    def datasets(self) -> Datasets:
        """Training and validation data. Raises DataError if it is missing, empty or unreadable."""
        ...

    def encoder(self) -> nn.Module:
        """A network x [B, *sample_shape] -> latent map [B, C, *S]."""
        ...

    def decoder(self, channels: int) -> nn.Module:
        """A network [B, channels, *S] -> x [B, *sample_shape]; core decides what the channels are."""
        ...

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The differentiable loss of each sample, [B]."""
        ...

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Named measures of quality, each fn(x_hat, x) -> [B]."""
        ...

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A random view of each sample of a batch; `x` itself if the modality or its config has none."""
        ...

    def read(self, path: Path) -> Tensor:
        """The sample [*sample_shape] in a user's file. Raises DataError naming the file."""
        ...

    def write(self, x: Tensor, path: Path) -> None:
        """Write one sample [*sample_shape] to `path`, in the format of its suffix, which is one of `suffixes`."""
        ...

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write rows of samples as one PNG picture to `path`."""
        ...
