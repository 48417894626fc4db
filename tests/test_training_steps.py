"""Steps of a training: captured ones do what others do, nothing in them waits for a GPU, and data is kept on one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import AGNOSTIC, tiny_config
from safetensors.torch import load_file
from small_priors import VARIANTS, eight_cells, small
from test_batches import Damaged, Gathered, Numbers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import anytime_core.capture
from anytime_audio import spectra
from anytime_audio.config import AudioConfig
from anytime_audio.modality import AudioModality
from anytime_core.autoencoder import build_autoencoder
from anytime_core.config import AutoencoderConfig, TruncationConfig
from anytime_core.damaged import remembering_damaged
from anytime_core.distributed import SynchronizedBatchNorm, synchronize_norms
from anytime_core.errors import AnytimeError, UsageError
from anytime_core.modality import Datasets, Modality
from anytime_core.priors.gru.model import GRULayer
from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.base import CodeSpec, Quantizer
from anytime_core.record import STAGES
from anytime_core.training import device_batches, step
from anytime_core.training.autoencoder import OrderedLoss
from anytime_core.training.batches import ShuffledBatches
from anytime_core.training.device_batches import DeviceBatches
from anytime_core.training.log import Progress
from anytime_core.training.train import train_stages
from anytime_image.config import ImageConfig
from anytime_image.modality import ImageModality

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
SHORT = (
    "training.checkpoint_minutes=0",
    "training.autoencoder.steps=20",
    "training.autoencoder.final_samples=32",
    "training.codes.samples=128",
    "training.prior.steps=8",
    *(
        f"training.{stage}.{key}"
        for stage in ("autoencoder", "prior")
        for key in ("batch_size=8", "validation_samples=32")
    ),
    # Everything that draws random numbers, or keeps a state.
    "data.flip=true",
    "data.shift=1",
    "autoencoder.truncation.warmup=0.4",
    "autoencoder.truncation.balance=true",
    "prior.dropout=0.2",
    "prior.label_dropout=0.2",
)


def weights(run: Path) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.nan_to_num()
        for name in ("autoencoder", "prior")
        if (run / f"{name}.safetensors").exists()
        for key, value in load_file(run / f"{name}.safetensors").items()
    }


def same(one: Path, other: Path) -> bool:
    """Whether two runs have learned the same; of the second, only as far as the first was trained."""
    first, second = weights(one), weights(other)
    assert first.keys() <= second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def captures(recorded_graphs: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was captured; steps are recorded and replayed."""
    made, capture = [], anytime_core.capture.capture

    def counting(*arguments: Any, **options: Any) -> Any:
        captured = capture(*arguments, **options)
        made.append(options["what"])
        return captured

    monkeypatch.setattr(anytime_core.capture, "capture", counting)
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose steps were done as they are, by the optimiser of GPUs."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anytime_core.capture, "can_capture", lambda device: True)
        train_stages(tiny_config(*SHORT, "training.capture=false"), folder)
    return folder


@pytest.mark.parametrize(
    "overrides",
    [(), (*AGNOSTIC, "prior.base=4"), ("autoencoder.quantizer.kind=fsq", "autoencoder.truncation.decode=share")],
    ids=["vq, transformer", "ardm", "fsq"],
)
def test_captured_steps_learn_what_others_learn(overrides, captures, plain, tmp_path):
    train_stages(tiny_config(*SHORT, *overrides, "training.capture=true"), tmp_path / "run")
    if overrides:
        plain = tmp_path / "plain"
        train_stages(tiny_config(*SHORT, *overrides, "training.capture=false"), plain)
    assert len(captures) >= 2
    assert same(tmp_path / "run", plain)


class Died(BaseException):
    pass


def dying_at(stage: str, number: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.step) == (stage, number):
            raise Died

    return on_progress


@pytest.mark.parametrize(("stage", "number"), [("autoencoder", 6), ("autoencoder", 14), ("prior", 6)])
def test_a_captured_training_goes_on_as_if_it_had_not_been_stopped(stage, number, captures, plain, tmp_path):
    with pytest.raises(Died):
        train_stages(tiny_config(*SHORT), tmp_path / "run", on_progress=dying_at(stage, number))
    left = STAGES[STAGES.index(stage) :]
    train_stages(tiny_config(*SHORT), tmp_path / "run", stages=left, resume=True)
    assert captures
    assert same(tmp_path / "run", plain)


def test_a_training_of_plain_steps_goes_on_with_captured_ones(tmp_path, request):
    with pytest.raises(Died):
        train_stages(tiny_config(*SHORT), tmp_path / "run", on_progress=dying_at("autoencoder", 6))
    captures = request.getfixturevalue("captures")
    train_stages(tiny_config(*SHORT), tmp_path / "run", stages=["autoencoder"], resume=True)
    assert captures


def waiting_loss(modality: ImageModality, x_hat: Tensor, x: Tensor) -> Tensor:
    losses = (x_hat - x).square().flatten(1).mean(1)
    return losses * (2.0 if losses.mean().item() < 0 else 1.0)


def test_a_step_that_cannot_be_captured_is_said_once_and_trains(captures, plain, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(ImageModality, "reconstruction_loss", waiting_loss)
    train_stages(tiny_config(*SHORT), tmp_path / "run", stages=["autoencoder"])
    (line,) = [record.getMessage() for record in caplog.records if "CUDA graph" in record.getMessage()]
    assert line.startswith("stage autoencoder trains step by step")
    assert "_local_scalar_dense" in line
    assert captures == []
    assert same(tmp_path / "run", plain)
    with pytest.raises(AnytimeError, match=r"^stage autoencoder, training.capture=true: .*set training.capture=false"):
        train_stages(tiny_config(*SHORT, "training.capture=true"), tmp_path / "required", stages=["autoencoder"])


def test_capturing_is_refused_where_there_are_no_graphs(tmp_path):
    with pytest.raises(UsageError, match=r"^training.capture=true needs a CUDA device, not 'cpu': use auto or false$"):
        train_stages(tiny_config("training.capture=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_captures_without_memory_make_room_and_then_go_on_without(captures, plain, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(device_batches, "room", lambda device: 2**30)
    attempts = []

    def full(work: Any, device: torch.device, beside: Any) -> Any:
        attempts.append(device)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(anytime_core.capture, "_captured", full)
    monkeypatch.setattr(step, "_WARM_UP", 7)  # the data is kept by then
    train_stages(tiny_config(*SHORT), tmp_path / "run", stages=["autoencoder"])
    assert len(attempts) == 2
    assert "the data no longer fits on cpu" in caplog.text
    assert "lower training.autoencoder.batch_size=8" in caplog.text
    assert same(tmp_path / "run", plain)


def test_a_step_without_memory_makes_room_and_is_done_again(captures, plain, monkeypatch, tmp_path, caplog):
    """Here in the first steps with two decodings, which need more than those before."""
    monkeypatch.setattr(device_batches, "room", lambda device: 2**30)
    call, failures = OrderedLoss.__call__, iter([True, True])

    def full(self: OrderedLoss, autoencoder: nn.Module, x: Tensor, lengths: Tensor) -> Any:
        if len(lengths) == 2 and next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return call(self, autoencoder, x, lengths)

    monkeypatch.setattr(OrderedLoss, "__call__", full)
    train_stages(tiny_config(*SHORT), tmp_path / "run", stages=["autoencoder"])
    assert "the data no longer fits on cpu" in caplog.text
    assert same(tmp_path / "run", plain)


# Nothing waits for the device.


class _Watch(TorchDispatchMode):
    """Raise for copies between host and device; tensors without numbers raise by themselves where one is looked at."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("_to_copy", "copy_") and isinstance(result, Tensor):
            assert {one.device for one in args if isinstance(one, Tensor)} == {result.device}, f"{func} waits"
        return result


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU whose tensors have no numbers. What is moved there by `transfer` does not wait."""

    def moved(values: Tensor, device: torch.device) -> Tensor:
        return torch.empty_like(values, device=device)

    def filters(frequencies: int, low: float, high: float, bands: int, *arguments: Any, **options: Any) -> Tensor:
        return torch.empty(frequencies, bands)

    monkeypatch.setattr("anytime_core.transfer.to_device", moved)
    monkeypatch.setattr("torchaudio.functional.melscale_fbanks", filters)  # which looks whether a band is empty
    with FakeTensorMode():
        yield
    for kept in (spectra.mel_filters, spectra._window):
        kept.cache_clear()


def on_gpu(module: nn.Module) -> nn.Module:
    """The module, as if it were there. Its quantizers have started."""
    for part in module.modules():
        if isinstance(part, Quantizer) and hasattr(part, "started"):
            part._all_started = True
        for name, value in part._parameters.items():
            part._parameters[name] = None if value is None else nn.Parameter(_alike(value))
        for name, value in part._buffers.items():
            part._buffers[name] = None if value is None else _alike(value)
    return module.train()


def _alike(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=GPU)


def image(**sections: Any) -> ImageModality:
    data = {"name": "digits", "flip": True, "shift": 1}
    return ImageModality(
        ImageConfig.model_validate({"data": data, "network": {"channels": 8, "widths": [8]}} | sections)
    )


def audio(**sections: Any) -> AudioModality:
    data = {"rate": 8000, "length": 2048, "shift": 64}
    loss = {"log_mel": 1.0, "stft": 1.0, "mse": 1.0, "l1": 1.0}
    return AudioModality(AudioConfig.model_validate({"data": data, "loss": loss} | sections))


MODALITIES: dict[str, Callable[[], Modality]] = {
    "image": image,
    "image, residual, groups": lambda: image(
        loss="l1", network={"kind": "residual", "channels": 8, "widths": [8], "encoder_norm": "group"}
    ),
    "audio, spectral": lambda: audio(
        network={"kind": "spectral", "channels": 8, "width": 8, "depth": 1, "hop": 64, "window": 128}
    ),
    "audio, wave": lambda: audio(
        network={"kind": "wave", "channels": 8, "widths": [4, 4], "stride": 4, "kernel": 9, "post_filter": 16}
    ),
    "audio, residual": lambda: audio(
        network={"kind": "residual", "channels": 8, "widths": [4, 4], "strides": [4, 2], "depth": 1}
    ),
}
QUANTIZERS = [
    {"kind": "vq", "size": 16},
    {"kind": "vq", "size": 16, "shared": False},
    {"kind": "vq", "size": 16, "update": "gradient"},
    {"kind": "fsq", "levels": [3, 3]},
    {"kind": "none"},
]
BATCH = 6


def assert_nothing_waits(work: Callable[[], Tensor]) -> None:
    """Do it twice: the first time, tables may be moved to the device, where they stay."""
    work()
    with _Watch():
        assert work().device == GPU


def autoencoder_step(modality: Modality, quantizer: dict[str, Any], decode: str) -> Callable[[], Callable[[], Tensor]]:
    """Moves an autoencoder to a GPU and returns a step of it."""
    autoencoder = build_autoencoder(modality, AutoencoderConfig.model_validate({"quantizer": quantizer}))
    truncation = TruncationConfig(warmup=0.0, decode=decode, balance=True)

    def moved() -> Callable[[], Tensor]:
        on_gpu(autoencoder)
        loss = OrderedLoss(modality, truncation, autoencoder.code_length, 10, seed=0, device=GPU)
        x = torch.empty(BATCH, *modality.sample_shape(), device=GPU)
        lengths = torch.empty(1 if decode == "share" else 2, BATCH, dtype=torch.int64, device=GPU)
        return lambda: loss(autoencoder, modality.augment(x, torch.Generator()), lengths)["loss"]

    return moved


@pytest.mark.parametrize("name", MODALITIES)
def test_no_modality_waits_for_the_device_in_a_step(name, request):
    moved = autoencoder_step(MODALITIES[name](), QUANTIZERS[0], "both")
    request.getfixturevalue("gpu")
    assert_nothing_waits(moved())


@pytest.mark.parametrize("decode", ["both", "share"])
@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=str)
def test_no_quantizer_waits_for_the_device_in_a_step(quantizer, decode, request):
    moved = autoencoder_step(image(), quantizer, decode)
    request.getfixturevalue("gpu")
    assert_nothing_waits(moved())


@pytest.mark.parametrize(
    ("kind", "section"),
    [(kind, section) for kind in PRIORS.built_in for section in [{}, *VARIANTS[kind]]],
    ids=str,
)
def test_no_prior_waits_for_the_device_in_a_step(kind, section, request, monkeypatch):
    monkeypatch.setattr(GRULayer, "_fused", GRULayer._unrolled)  # cuDNN's recurrence cannot run without a GPU
    cls = PRIORS.section_of(kind)
    dropouts = {name: 0.1 for name in ("dropout", "label_dropout") if name in cls.model_fields}
    config = cls.model_validate({"kind": kind, **dropouts, **small(kind), **section})
    prior = PRIORS[kind](
        config, CodeSpec(length=5, size=6, dim=3, radices=(2, 3), classes=3, **eight_cells(kind)), torch.randn(6, 3)
    )
    draws = prior.draws(BATCH)
    request.getfixturevalue("gpu")
    on_gpu(prior)
    codes, labels = (torch.empty(BATCH, *shape, dtype=torch.int64, device=GPU) for shape in ((5,), ()))
    drawn = {name: _alike(value) for name, value in draws.items()}
    assert_nothing_waits(lambda: prior(codes, labels, *([drawn] if drawn else [])))


def test_what_waits_is_found(gpu):
    x = torch.empty(3, device=GPU)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        x.sum().item()
    with _Watch(), pytest.raises(AssertionError, match="waits"):
        torch.tensor([1.0, 2.0, 3.0], device=GPU)


# Data on the device.


def values(batches: Any, number: int) -> list[list[float]]:
    return [batch["x"].tolist() for batch in itertools.islice(iter(batches), number)]


def kept_batches(batches: ShuffledBatches, number: int, *, release_after: int | None = None) -> list[list[float]]:
    """Batches of which items are kept from the second on."""
    held, found = DeviceBatches(batches, CPU), []
    for batch in itertools.islice(iter(held), number):
        found.append(batch["x"].tolist())
        if len(found) == 1:
            held.keep()
        if len(found) == release_after:
            assert held.release()
    return found


class Counted(Damaged):
    """It counts how often each item is read."""

    def __init__(self, size: int, bad: set[int]) -> None:
        super().__init__(size, bad)
        self.reads = [0] * size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.reads[index] += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("release_after", [None, 5, 20])
@pytest.mark.parametrize("done", [0, 7])
@pytest.mark.parametrize("make", [lambda: Numbers(37), lambda: Gathered(37), lambda: Damaged(37, {1, 5, 9, 30})])
def test_kept_items_make_the_batches_that_others_make(monkeypatch, make, done, release_after):
    monkeypatch.setattr(device_batches, "room", lambda device: 2**20)
    loaded, kept = (
        ShuffledBatches(remembering_damaged(Datasets(make(), Numbers(2))).train, 4, seed=3, workers=0, done=done)
        for _ in range(2)
    )
    assert kept_batches(kept, 40, release_after=release_after) == values(loaded, 40)


def test_items_are_read_once_if_all_of_them_fit(monkeypatch):
    reads = {}
    for room in (37 * 4, 37 * 4 - 1):
        monkeypatch.setattr(device_batches, "room", lambda device, room=room: room)
        dataset = Counted(37, set())
        kept_batches(ShuffledBatches(dataset, 4, seed=0, workers=0), 90)
        reads[room] = dataset.reads
    assert max(reads[37 * 4]) <= 2  # those of the first batch, before anything was kept
    assert min(reads[37 * 4 - 1]) > 2


def test_a_training_on_kept_data_is_that_on_loaded_data(monkeypatch, tmp_path):
    for name, room in (("loaded", 0), ("kept", 2**30)):
        monkeypatch.setattr(device_batches, "room", lambda device, room=room: room)
        longer = ("training.autoencoder.steps=40", "training.autoencoder.batch_size=64")
        train_stages(tiny_config(*SHORT, *longer), tmp_path / name, stages=["autoencoder"])
    assert same(tmp_path / "kept", tmp_path / "loaded")


def test_processes_on_gpus_normalise_by_torch(monkeypatch):
    for backend, kind in (("nccl", nn.SyncBatchNorm), ("gloo", SynchronizedBatchNorm)):
        network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Sequential(nn.BatchNorm2d(3)))
        before = {name: value.clone() for name, value in network.state_dict().items()}
        monkeypatch.setattr("torch.distributed.get_backend", lambda backend=backend: backend)
        monkeypatch.setattr("anytime_core.distributed.world_size", lambda: 2)
        synchronize_norms(network)
        assert type(network[1][0]) is kind
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.gpu
@pytest.mark.parametrize("overrides", [(), (*AGNOSTIC, "prior.base=4"), ("autoencoder.quantizer.kind=fsq",)], ids=str)
def test_steps_on_a_gpu_are_captured_and_data_is_kept_there(overrides, tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr(DeviceBatches, "release", released.append)
    record = train_stages(
        tiny_config(
            *SHORT,
            *overrides,
            "training.device=cuda",
            "training.precision=auto",
            "training.autoencoder.steps=400",
            "training.prior.steps=60",
            "training.capture=true",
        ),
        tmp_path / "run",
    )
    validation = record.finished["autoencoder"].validation
    assert validation.reconstruction["loss"][-1] < validation.mean_sample["loss"]
    assert not released
