"""The plugin contract: what a modality offers to core, and the only place where core says what a sample is.

A plugin never sees budgets, codes, quantizers or priors; core never looks inside a sample. Letters: B batch, C channels
of the latent map, S its spatial shape.
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
"""By how much a sample that is written and read again may differ from itself, in units of [-1, 1].

A little more than a step of 8 bits; a modality whose files are coarser, or whose `read` prepares them anew, states its
own as `file_tolerance`.
"""


class SampleDataset(Protocol):
    """A map-style data set. Item i is `{"x": Tensor}`, and `"label"` (int) where it is known.

    An item that cannot be read raises DataError, each time: core leaves it out and counts it.

    A set that can gather many items faster than one by one may add `batch(indices) -> {"x": [B, ...], "label": [B]}`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Datasets:
    """What a modality trains and validates on.

    Attributes:
        train: training samples.
        validation: validation samples, disjoint from `train`.
        classes: names of the labels 0, 1, ..., empty where the data has no labels.
        found: what lies where the data was looked for; None leaves core to count.
        settled: the modality's config with values filled in that it left to the data, such as which grey is white, so
            that a run keeps them; None where there are none.
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
        """Number of samples."""
        ...

    def __iter__(self) -> Iterator[Tensor]:
        """The samples, each [*sample_shape], read as they are asked for."""
        ...

    def write(self, x: Iterable[Tensor], path: Path) -> None:
        """Write as many samples [*sample_shape] as iterating gives, in that order, as one file."""
        ...


@runtime_checkable
class OpensFiles(Protocol):
    """A modality whose files may hold more than one sample adds this method; others are asked to `read` and `write`."""

    def open_file(self, path: Path) -> UserFile:
        """A user's file. Raises DataError naming it if it cannot be read to its end."""
        ...


Restored = Literal["size", "rate"]
"""What of the form of a user's file a modality can give back: how large it is, or how many values a second it has."""


@runtime_checkable
class RestoresFiles(Protocol):
    """A modality that brings files to one size or rate, and can give reconstructions back as the files were, adds this.

    It is asked for by `anytime reconstruct --original-size` or `--keep-rate`, whichever `restores` names.
    """

    restores: ClassVar[Restored]

    def open_to_restore(self, path: Path) -> UserFile:
        """A user's file whose `write` gives back its size or rate; its samples are those of `open_file` or `read`.

        Raises DataError naming a file that cannot be read to its end.
        """
        ...


@dataclass(frozen=True)
class Extractor:
    """Features by which sets of samples are compared.

    Attributes:
        description: what it is and where its weights come from; every number that it gives says this.
        features: samples [B, *sample_shape] -> [B, F] float32 on the same device, each row of its sample alone.
        scores: names of the features where each means something by itself, such as a predicted opinion score; else
            empty.
    """

    description: str
    features: Callable[[Tensor], Tensor]
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightsSource:
    """Where an extractor may take its weights from.

    Attributes:
        file: that the user names, for an extractor that takes one.
        download: whether it may download them.
    """

    file: Path | None = None
    download: bool = False


@dataclass(frozen=True)
class OfferedExtractor:
    """An extractor that a modality has, not loaded yet.

    Attributes:
        load: raises UsageError naming the way out where a package or weights are missing, and never puts another
            network in their place.
        default: whether it is used where the user names none; it then needs neither weights nor extras.
        takes_weights: whether the user may name a file of its weights.
    """

    load: Callable[[WeightsSource], Extractor]
    default: bool = False
    takes_weights: bool = False


@runtime_checkable
class HasExtractors(Protocol):
    """A modality that offers feature extractors adds this."""

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """Extractors by name; `classifier` is core's own."""
        ...


@runtime_checkable
class HasFeatureNetwork(Protocol):
    """A modality that knows a small network to tell its classes apart adds this; others are judged by an encoder."""

    def feature_network(self) -> nn.Module:
        """An untrained network x [B, *sample_shape] -> features [B, F], which core trains as a classifier.

        It follows from the data's form alone, so that runs of different networks are judged by the same one.
        """
        ...


@runtime_checkable
class ShowsGrowth(Protocol):
    """A modality that has a way to show how a sample grows with its codes adds this."""

    def write_growth(self, steps: Sequence[Tensor], stem: Path) -> None:
        """Write files named `stem` and a suffix that show `steps`, a sample [*sample_shape] from ever more codes."""
        ...


@runtime_checkable
class Modality(Protocol):
    """A kind of data, configured: the entry point names a class, and core makes `cls(config)`.

    Class attributes state what it is before any configuration; every method works on samples `x`, float32 of
    `sample_shape`, values in [-1, 1]. What a modality may have besides: `file_tolerance` (`FILE_TOLERANCE`),
    `open_file` (`OpensFiles`), `write_growth` (`ShowsGrowth`), `feature_network` (`HasFeatureNetwork`), `extractors`
    (`HasExtractors`). `anytime plugins check NAME` tries all of it.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    api_version: ClassVar[int]
    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the files that samples can be written to, such as `.png`, the default first."""
    Config: ClassVar[type[BaseModel]]
    """A pydantic model whose every field has a default and a description."""

    def __init__(self, config: Any, /) -> None: ...

    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without a batch axis."""
        ...

    def datasets(self) -> Datasets:
        """Training and validation data. Raises DataError where it is missing, empty or unreadable."""
        ...

    def encoder(self) -> nn.Module:
        """A network x [B, *sample_shape] -> latent map [B, C, *S]."""
        ...

    def decoder(self, channels: int) -> nn.Module:
        """A network [B, channels, *S] -> x [B, *sample_shape]; core decides what the channels are."""
        ...

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Differentiable loss of each sample, [B]."""
        ...

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Named measures of quality, each fn(x_hat, x) -> [B]."""
        ...

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A random view of each sample of a batch; `x` itself where the modality or its config has none."""
        ...

    def read(self, path: Path) -> Tensor:
        """The sample [*sample_shape] in a user's file. Raises DataError naming the file."""
        ...

    def write(self, x: Tensor, path: Path) -> None:
        """Write one sample [*sample_shape] to `path`, in the format that its suffix, one of `suffixes`, says."""
        ...

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write rows of samples as one PNG picture to `path`."""
        ...
