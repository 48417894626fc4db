"""What the contract of modality plugins demands, check by check.

Each check is `(subject, empty folder) -> None` and raises AssertionError, whose message says what is wrong, where the
modality fails it. Letters: B batch, C channels of the latent map, S its spatial shape.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
import random
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from pydantic import BaseModel
from safetensors.torch import load, save
from torch import Tensor, nn

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, CoreConfig
from anytime_core.config_parsing import parse_config
from anytime_core.errors import DataError
from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.modality import (
    API_VERSION,
    FILE_TOLERANCE,
    Datasets,
    HasExtractors,
    HasFeatureNetwork,
    Modality,
    OpensFiles,
    PreviewRow,
    SampleDataset,
    ShowsGrowth,
    WeightsSource,
)

_BATCH = 4
_LOOKED_AT = 64
"""Items of a data set that are looked at."""
_TRAINING_STEPS = 30
_CLOSE = 1e-4
_METHODS = (
    "sample_shape",
    "datasets",
    "encoder",
    "decoder",
    "reconstruction_loss",
    "metrics",
    "augment",
    "read",
    "write",
    "preview",
)


@dataclass
class Subject:
    """What is checked, and what its checks share, made when first asked for.

    Attributes:
        modality: the class that the entry point names.
        config: of its sections.
    """

    modality: Any
    config: dict[str, Any]

    def make(self) -> Modality:
        """A new object of the modality."""
        return self.modality(self.modality.Config.model_validate(self.config))

    @cached_property
    def made(self) -> Modality:
        """The modality, configured."""
        return self.make()

    @cached_property
    def datasets(self) -> Datasets:
        """Its data."""
        return self.made.datasets()

    @cached_property
    def x(self) -> Tensor:
        """Some training samples, [B, *sample_shape]."""
        return _samples(self.datasets.train, _BATCH)

    @cached_property
    def autoencoder_config(self) -> AutoencoderConfig:
        """Of the autoencoder that checks build around the modality's networks."""
        return CoreConfig().autoencoder

    def autoencoder(self) -> OrderedAutoencoder:
        """A freshly initialised one."""
        torch.manual_seed(0)
        return build_autoencoder(self.made, self.autoencoder_config)


Function = Callable[[Subject, Path], None]
CHECKS: dict[str, Function] = {}
"""Checks by name, in the order in which one meets what they are about."""


def _check(function: Function) -> Function:
    CHECKS[function.__name__.replace("_", "-")] = function
    return function


# What a modality says of itself


@_check
def metadata(subject: Subject, folder: Path) -> None:
    """The class says its name, description, api_version and the suffixes of its files, and has every method."""
    cls = subject.modality
    assert isinstance(cls, type), f"the entry point names {cls!r}, which is no class"
    name = getattr(cls, "name", None)
    assert isinstance(name, str), f"its name is {name!r}, not a string"
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", name), f"its name is {name!r}: use a to z, 0 to 9, - and _"
    description = getattr(cls, "description", None)
    assert isinstance(description, str), f"its description is {description!r}, not a string"
    assert description.strip(), "its description is empty"
    assert "\n" not in description, f"its description is {description!r}, more than one line"
    version = getattr(cls, "api_version", None)
    assert version == API_VERSION, f"api_version is {version!r}, this toolkit needs {API_VERSION}"
    suffixes = getattr(cls, "suffixes", None)
    assert isinstance(suffixes, tuple), f"suffixes are {suffixes!r}, not a tuple"
    assert suffixes, "suffixes are empty: name at least one, such as .npy"
    wrong = [suffix for suffix in suffixes if not re.fullmatch(r"\.[a-z0-9.]+", str(suffix))]
    assert not wrong, f"suffixes {wrong} are not of the form .npy"
    missing = [method for method in _METHODS if not callable(getattr(cls, method, None))]
    assert not missing, f"it has no {', '.join(missing)}"


@_check
def config_fields_are_described(subject: Subject, folder: Path) -> None:
    """`Config` is a pydantic model that needs no arguments; every field has a default and a description."""
    config = subject.modality.Config
    assert isinstance(config, type), f"Config is {config!r}, no class"
    assert issubclass(config, BaseModel), f"Config is {config!r}, no pydantic model"
    taken = sorted(set(config.model_fields) & set(CoreConfig.model_fields))
    assert not taken, f"fields {taken} of Config are names of core's own sections"
    for key, field in _fields(config):
        assert not field.is_required(), f"config field {key} has no default"
        assert (field.description or "").strip(), f"config field {key} has no description"


@_check
def config_survives_json_and_yaml(subject: Subject, folder: Path) -> None:
    """A config is the same after JSON and after YAML, and refuses keys that it does not know."""
    config = subject.modality.Config.model_validate(subject.config)
    dumped = config.model_dump(mode="json")
    for language, again in (("JSON", json.loads(json.dumps(dumped))), ("YAML", yaml.safe_load(yaml.safe_dump(dumped)))):
        assert subject.modality.Config.model_validate(again) == config, f"the config is another one after {language}"
    try:
        subject.modality.Config.model_validate({**dumped, "no_such_section": 1})
    except ValueError:
        return
    raise AssertionError("Config takes keys that it does not know: derive it from anytime_core.config.Section")


@_check
def recipes_are_valid(subject: Subject, folder: Path) -> None:
    """Every YAML file in the package's folder `recipes` is a config of this modality; its first line says what for."""
    package = sys.modules[subject.modality.__module__.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    for path in sorted(path for folder in folders for path in folder.glob("recipes/*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# "), f"recipe {path.name} does not begin with a line such as '# What it trains'"
        data = yaml.safe_load(text)
        found = data.get("modality", CoreConfig().modality)
        assert found == subject.modality.name, f"recipe {path.name} is of modality {found!r}"
        parse_config(data, subject.modality.Config)


@_check
def importing_is_cheap(subject: Subject, folder: Path) -> None:
    """Importing the module of the entry point imports neither torch nor data; both can wait until they are used."""
    code = f"import sys, {subject.modality.__module__}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=60,
    )
    assert done.returncode == 0, f"importing it in a new process fails: {done.stderr.strip()[-500:]}"
    printed = done.stdout.strip().splitlines()
    assert printed == ["False"], (
        "importing it imports torch: import in methods what needs it, and for annotations under TYPE_CHECKING"
        if printed[-1:] == ["True"] and len(printed) == 1
        else f"importing it prints {done.stdout.strip()[:200]!r}"
    )


# Data


@_check
def items_are_samples(subject: Subject, folder: Path) -> None:
    """Items hold `x`, float32 of `sample_shape`, finite, in [-1, 1], and `label` where there are classes."""
    shape, datasets = tuple(subject.made.sample_shape()), subject.datasets
    assert all(isinstance(size, int) and size > 0 for size in shape), f"sample_shape() is {shape}"
    for part, dataset in (("train", datasets.train), ("validation", datasets.validation)):
        assert len(dataset) > 0, f"the {part} set is empty"
        for index in _spread(len(dataset), _LOOKED_AT):
            item = dataset[index]
            x, where = item["x"], f"item {index} of the {part} set"
            assert isinstance(x, Tensor), f"x of {where} is {type(x).__name__}, no tensor"
            assert x.dtype == torch.float32, f"x of {where} is {x.dtype}, not float32"
            assert tuple(x.shape) == shape, f"x of {where} has shape {tuple(x.shape)}, sample_shape() is {shape}"
            assert x.isfinite().all(), f"x of {where} is not finite"
            assert x.abs().max() <= 1, f"x of {where} reaches {x.abs().max().item():.4g}, beyond [-1, 1]"
            if datasets.classes:
                assert "label" in item, f"{where} has no label, and there are classes"
                label = int(item["label"])
                assert 0 <= label < len(datasets.classes), f"label {label} of {where} is none of {datasets.classes}"
    names = datasets.classes
    assert len(set(names)) == len(names), f"classes {names} are not all different"


@_check
def data_are_the_same_each_time(subject: Subject, folder: Path) -> None:
    """The same config gives the same items in the same order, and asking twice for one gives it twice."""
    again = subject.make().datasets()
    for part, first, second in (
        ("train", subject.datasets.train, again.train),
        ("validation", subject.datasets.validation, again.validation),
    ):
        assert len(first) == len(second), f"the {part} set has {len(first)} items, then {len(second)}"
        for index in _spread(len(first), 16):
            same = torch.equal(first[index]["x"], second[index]["x"])
            assert same, f"item {index} of the {part} set is another one in a second object"
            assert torch.equal(first[index]["x"], first[index]["x"]), f"item {index} of the {part} set changes"


@_check
def validation_is_held_out(subject: Subject, folder: Path) -> None:
    """No validation sample is a training sample, and items differ from each other."""
    train, validation = subject.datasets.train, subject.datasets.validation
    held_out = {_content(validation[index]["x"]) for index in _spread(len(validation), _LOOKED_AT)}
    assert len(held_out) > 1 or len(validation) == 1, "all validation samples are the same"
    learned = (_content(train[index]["x"]) for index in _spread(len(train), 50 * _LOOKED_AT))
    shared = sum(content in held_out for content in learned)
    assert not shared, f"{shared} training samples are validation samples too"


@_check
def batches_are_items(subject: Subject, folder: Path) -> None:
    """Where a data set has `batch(indices)`, its rows are the items."""
    for dataset in (subject.datasets.train, subject.datasets.validation):
        gather = getattr(dataset, "batch", None)
        if gather is None:
            continue
        indices = _spread(len(dataset), 5)[::-1]
        batch = gather(indices)
        for row, index in enumerate(indices):
            assert torch.equal(batch["x"][row], dataset[index]["x"]), (
                f"row {row} of batch({indices}) is not item {index}"
            )
            if "label" in batch:
                assert int(batch["label"][row]) == int(dataset[index]["label"]), f"label {row} is not that of {index}"


@_check
def workers_can_have_it(subject: Subject, folder: Path) -> None:
    """Modality and data sets can be pickled, as data workers need it, and give the same items then."""
    try:
        made, train = pickle.loads(pickle.dumps((subject.made, subject.datasets.train)))
    except Exception as error:
        raise AssertionError(f"it cannot be pickled: {type(error).__name__}: {error}") from error
    assert torch.equal(train[0]["x"], subject.datasets.train[0]["x"]), "a pickled data set has other items"
    assert made.sample_shape() == subject.made.sample_shape()


@_check
def augmenting_gives_samples(subject: Subject, folder: Path) -> None:
    """`augment` gives a batch of samples again, follows from the generator alone, and leaves its input as it is."""
    x = subject.x.clone()
    first, second = (subject.made.augment(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(x, subject.x), "augment changes its input"
    assert first.shape == x.shape, f"augment makes {tuple(first.shape)} of {tuple(x.shape)}"
    assert first.dtype == x.dtype, f"augment makes {first.dtype} of {x.dtype}"
    assert first.isfinite().all(), "augment gives values that are not finite"
    assert first.abs().max() <= 1 + _CLOSE, f"augment reaches {first.abs().max().item():.4g}, beyond [-1, 1]"
    assert torch.equal(first, second), "augment gives another view with the same generator"


# Networks


@_check
def encoder_and_decoder_agree(subject: Subject, folder: Path) -> None:
    """The encoder gives [B, C, *S], the decoder takes such maps with any number of channels and gives samples."""
    with torch.no_grad():
        latent = subject.made.encoder().eval()(subject.x)
        assert latent.ndim >= 3, f"the encoder gives {tuple(latent.shape)}, not [B, C, *S] with at least one S"
        assert len(latent) == len(subject.x), f"the encoder makes {len(latent)} maps of {len(subject.x)} samples"
        for channels in (latent.shape[1], 2 * latent.shape[1], latent.shape[1] + 1):
            h = torch.randn(len(latent), channels, *latent.shape[2:])
            x = subject.made.decoder(channels).eval()(h)
            assert x.shape == subject.x.shape, (
                f"decoder({channels}) gives {tuple(x.shape)}, not {tuple(subject.x.shape)}"
            )
            assert x.isfinite().all(), f"decoder({channels}) gives values that are not finite"
    assert subject.autoencoder().code_length == latent.shape[1]


@_check
def rows_do_not_mix(subject: Subject, folder: Path) -> None:
    """In evaluation mode each row of a batch is what it would be alone."""
    with torch.no_grad():
        for name, network, x in _networks(subject):
            network.eval()
            together, alone = network(x), torch.cat([network(row.unsqueeze(0)) for row in x])
            worst = (together - alone).abs().max().item()
            assert worst < _CLOSE * max(1.0, together.abs().max().item()), f"the {name} differs by {worst:.3g} alone"


@_check
def gradients_reach_both(subject: Subject, folder: Path) -> None:
    """The loss moves every parameter of encoder and decoder."""
    autoencoder = subject.autoencoder()
    lengths = torch.full((len(subject.x),), autoencoder.code_length)
    out = autoencoder(subject.x, [lengths])
    (subject.made.reconstruction_loss(out.x_hat[0], subject.x).mean() + out.quantizer_loss.mean()).backward()
    for part in ("encoder", "decoder"):
        for name, parameter in getattr(autoencoder, part).named_parameters():
            assert parameter.grad is not None, f"no gradient reaches {part}.{name}"
            assert parameter.grad.isfinite().all(), f"the gradient of {part}.{name} is not finite"
        grads = [parameter.grad.abs().max() for parameter in getattr(autoencoder, part).parameters()]
        assert not grads or max(grads) > 0, f"the gradient of the {part} is 0"


@_check
def evaluation_is_deterministic(subject: Subject, folder: Path) -> None:
    """In evaluation mode encoder and decoder give the same twice, and change nothing of themselves."""
    with torch.no_grad():
        for name, network, x in _networks(subject):
            network.eval()
            before = {key: value.clone() for key, value in network.state_dict().items()}
            assert torch.equal(network(x), network(x)), f"the {name} gives something else the second time"
            changed = [key for key, value in network.state_dict().items() if not torch.equal(value, before[key])]
            assert not changed, f"the {name} changes its {', '.join(changed)} in evaluation mode"


@_check
def weights_survive_safetensors(subject: Subject, folder: Path) -> None:
    """State goes through safetensors into freshly made networks, strictly, and they are the same function then."""
    first, second = subject.autoencoder(), build_autoencoder(subject.make(), subject.autoencoder_config)
    state = {name: tensor.contiguous() for name, tensor in first.state_dict().items()}
    second.load_state_dict(load(save(state)), strict=True)
    lengths = torch.full((len(subject.x),), first.code_length)
    with torch.no_grad():
        decoded = [one.eval().decode_vectors(one.encode_vectors(subject.x), lengths) for one in (first, second)]
    assert torch.equal(*decoded), "networks with the same weights differ: something is in no parameter and no buffer"


@_check
def training_lowers_the_loss(subject: Subject, folder: Path) -> None:
    """A few training steps on one batch lower the reconstruction loss."""
    autoencoder = subject.autoencoder()
    x = _samples(subject.datasets.train, 4 * _BATCH)
    lengths = [torch.full((len(x),), autoencoder.code_length)]
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=2e-3)
    losses = []
    for _ in range(_TRAINING_STEPS):
        out = autoencoder(x, lengths)
        loss = subject.made.reconstruction_loss(out.x_hat[0], x).mean()
        optimizer.zero_grad()
        (loss + out.quantizer_loss.mean()).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], f"after {_TRAINING_STEPS} steps the loss is {losses[-1]:.4g}, first {losses[0]:.4g}"


# Losses and metrics


@_check
def loss_is_lower_for_closer(subject: Subject, folder: Path) -> None:
    """The loss is [B], finite, differentiable, the same for a row alone, and lower the closer a sample is."""
    x = subject.x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    far, near = (x + noise).clamp(-1, 1), (x + 0.05 * noise).clamp(-1, 1)
    losses = [subject.made.reconstruction_loss(x_hat, x) for x_hat in (far, near, x)]
    for loss in losses:
        assert loss.shape == (len(x),), f"the loss has shape {tuple(loss.shape)}, not ({len(x)},)"
        assert loss.isfinite().all(), "the loss is not finite"
    means = [loss.mean().item() for loss in losses]
    assert means[0] > means[1] >= means[2], f"far, near and equal samples have losses {means}"
    alone = torch.cat([subject.made.reconstruction_loss(*pair) for pair in zip(near.split(1), x.split(1), strict=True)])
    torch.testing.assert_close(alone, losses[1], rtol=1e-3, atol=_CLOSE)


@_check
def metrics_are_best_at_identity(subject: Subject, folder: Path) -> None:
    """Each metric is [B], finite, and best where a sample equals its original."""
    x = subject.x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    compared = [x, (x + 0.05 * noise).clamp(-1, 1), (x + noise).clamp(-1, 1)]
    metrics = subject.made.metrics()
    assert metrics, "metrics() is empty"
    for name, metric in metrics.items():
        values = [metric(x_hat, x) for x_hat in compared]
        for value in values:
            assert value.shape == (len(x),), f"metric {name} has shape {tuple(value.shape)}, not ({len(x)},)"
            assert value.isfinite().all(), f"metric {name} is not finite"
        equal, near, far = (value.double().mean().item() for value in values)
        rising, falling = equal <= near <= far and equal < far, equal >= near >= far and equal > far
        assert rising or falling, (
            f"metric {name} is {equal:.4g} for equal, {near:.4g} for near, {far:.4g} for far samples"
        )


# Files


@_check
def files_are_read_as_written(subject: Subject, folder: Path) -> None:
    """A sample that is written and read again is itself within `file_tolerance`, in the default format."""
    tolerance = getattr(subject.modality, "file_tolerance", FILE_TOLERANCE)
    suffix = subject.modality.suffixes[0]
    for number, x in enumerate(subject.x):
        path = folder / f"{number}{suffix}"
        subject.made.write(x.clone(), path)
        again = subject.made.read(path)
        assert again.dtype == torch.float32, f"read() gives {again.dtype}, not float32"
        assert again.shape == x.shape, f"read() gives {tuple(again.shape)} for a sample of {tuple(x.shape)}"
        worst = (again - x).abs().max().item()
        assert worst <= tolerance, f"a {suffix} file differs by {worst:.4g} from what was written"


@_check
def every_suffix_is_written(subject: Subject, folder: Path) -> None:
    """`write` makes a file for each of the suffixes, of values beyond [-1, 1] too, and nothing else."""
    for suffix in subject.modality.suffixes:
        path = folder / f"x{suffix}"
        subject.made.write(subject.x[0] * 3, path)
        assert path.exists(), f"write() made no {path.name}"
        assert path.stat().st_size, f"write() made an empty {path.name}"
    others = sorted({path.name for path in folder.iterdir()} - {f"x{suffix}" for suffix in subject.modality.suffixes})
    assert not others, f"write() made {', '.join(others)} too"


@_check
def damaged_files_are_named(subject: Subject, folder: Path) -> None:
    """A missing, an empty and a damaged file are each refused with a DataError that names it."""
    suffix = subject.modality.suffixes[0]
    missing, empty, damaged = (folder / f"{name}{suffix}" for name in ("missing", "empty", "damaged"))
    empty.touch()
    damaged.write_bytes(bytes(random.Random(0).randrange(256) for _ in range(300)))
    for path in (missing, empty, damaged):
        try:
            subject.made.read(path)
        except DataError as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(f"a {path.stem} file raises {type(error).__name__}, not DataError: {error}") from error
        else:
            raise AssertionError(f"a {path.stem} file is read without an error")
        assert path.name in message, f"the error for {path.name} does not name it: {message}"


@_check
def previews_are_pictures(subject: Subject, folder: Path) -> None:
    """`preview` writes a PNG of one row or several, with and without captions, also where rows differ in length."""
    x = subject.x
    for number, rows in enumerate(
        ([PreviewRow("", x[:1])], [PreviewRow("original", x), PreviewRow("60 %", x[:2]), PreviewRow("", x)])
    ):
        path = folder / f"preview{number}.png"
        subject.made.preview(rows, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n"), f"preview() wrote no PNG to {path.name}"


@_check
def optional_parts_work(subject: Subject, folder: Path) -> None:
    """What the modality offers beyond its duties does what the contract says of it."""
    made, x = subject.made, subject.x
    if isinstance(made, OpensFiles):
        path = folder / f"user{subject.modality.suffixes[0]}"
        made.write(x[0], path)
        file = made.open_file(path)
        parts = list(file)
        assert len(parts) == len(file) > 0, f"open_file() says {len(file)} samples and gives {len(parts)}"
        assert all(part.shape == x[0].shape for part in parts), "open_file() gives samples of another shape"
        file.write(iter(parts), folder / f"copy{subject.modality.suffixes[0]}")
        assert (folder / f"copy{subject.modality.suffixes[0]}").stat().st_size, (
            "write() of an opened file wrote nothing"
        )
    if isinstance(made, ShowsGrowth):
        (folder / "growth").mkdir()
        made.write_growth(list(x[:3]), folder / "growth" / "stem")
        names = [path.name for path in (folder / "growth").iterdir()]
        assert names, "write_growth() wrote nothing"
        assert all(name.startswith("stem") for name in names), f"write_growth() wrote {names}, not named after the stem"
    if isinstance(made, HasFeatureNetwork):
        features = made.feature_network().eval()(x)
        assert features.ndim == 2, f"feature_network() gives {tuple(features.shape)}, not [B, F]"
        assert len(features) == len(x), f"feature_network() makes {len(features)} rows of {len(x)} samples"
    if isinstance(made, HasExtractors):
        offered = made.extractors()
        assert CLASSIFIER not in offered, f"extractor {CLASSIFIER!r} is core's own"
        for name, one in offered.items():
            if one.default:
                extractor = one.load(WeightsSource())
                features = extractor.features(x)
                assert features.ndim == 2, f"extractor {name} gives {tuple(features.shape)}, not [B, F]"
                assert features.dtype == torch.float32, f"extractor {name} gives {features.dtype}, not float32"
                alone = extractor.features(x[1:2])
                torch.testing.assert_close(alone, features[1:2], rtol=1e-3, atol=1e-3)
                assert extractor.description.strip(), f"extractor {name} has no description"


# Manners


@_check
def nothing_global_is_touched(subject: Subject, folder: Path) -> None:
    """Data, networks and losses leave global seeds alone, and open neither network connections nor a GPU."""
    gpu = torch.cuda.is_initialized()
    threads = torch.get_num_threads()
    with _no_network(), _same_seeds():
        made = subject.make()
        datasets = made.datasets()
        x = _samples(datasets.train, 2)
        made.augment(x, torch.Generator().manual_seed(0))
        for metric in made.metrics().values():
            metric(x, x)
        made.reconstruction_loss(x, x)
        made.write(x[0], folder / f"x{subject.modality.suffixes[0]}")
        made.preview([PreviewRow("", x)], folder / "preview.png")
    assert torch.cuda.is_initialized() == gpu, "it opens the GPU by itself"
    assert torch.get_num_threads() == threads, "it changes torch's number of threads"


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("it opens a network connection")

    with mock.patch.object(socket.socket, "connect", refuse), mock.patch.object(socket, "create_connection", refuse):
        yield


@contextlib.contextmanager
def _same_seeds() -> Iterator[None]:
    def states() -> tuple[object, ...]:
        return random.getstate(), pickle.dumps(np.random.get_state()), bytes(torch.get_rng_state().numpy())

    before = states()
    yield
    changed = [
        name
        for name, first, second in zip(("random", "numpy.random", "torch"), before, states(), strict=True)
        if first != second
    ]
    assert not changed, f"it uses the global generator of {', '.join(changed)}: make one of its own with a seed"


def _networks(subject: Subject) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Encoder and decoder with something to put in."""
    torch.manual_seed(0)
    encoder = subject.made.encoder()
    with torch.no_grad():
        latent = encoder.eval()(subject.x)
    yield "encoder", encoder, subject.x
    yield "decoder", subject.made.decoder(latent.shape[1]), torch.randn(latent.shape)


def _samples(dataset: SampleDataset, number: int) -> Tensor:
    return torch.stack([dataset[index]["x"] for index in _spread(len(dataset), number)])


def _spread(size: int, number: int) -> list[int]:
    """At most `number` indices over the whole set, which may be sorted by class."""
    number = min(size, number)
    return [position * size // number for position in range(number)]


def _content(x: Tensor) -> bytes:
    return x.contiguous().numpy().tobytes()


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field by its dotted key, those of sections within it too."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        for section in _sections_of(field.annotation):
            yield from _fields(section, f"{prefix}{name}.")


def _sections_of(annotation: Any) -> Sequence[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    inner = getattr(annotation, "__args__", ())
    return list(itertools.chain.from_iterable(_sections_of(part) for part in inner))
