"""Two processes on the CPU give what one gives: batches, normalisation, codebooks, steps, codes, logs, going on."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import tiny_config
from safetensors.torch import load_file
from torch import Tensor, nn

from anytime_core.config import Config
from anytime_core.distributed import SynchronizedBatchNorm, from_first, joined, own_share, summed, synchronize_norms
from anytime_core.errors import ConfigError, InterruptedTrainingError
from anytime_core.quantizers.vq import VectorQuantizer
from anytime_core.record import STAGES, read_record
from anytime_core.training import fit as fit_module
from anytime_core.training.batches import ShuffledBatches
from anytime_core.training.log import Progress
from anytime_core.training.train import train_stages

PROCESSES = 2
STEPS = 4


def config() -> Config:
    """Nothing in it is augmented or dropped at random, which each process does for itself."""
    return tiny_config(
        *(
            f"training.{stage}.{key}"
            for stage in ("autoencoder", "prior")
            for key in (f"steps={STEPS}", "batch_size=16", "validations=2", "validation_samples=32")
        ),
        "training.checkpoint_minutes=0",
        "training.codes.batch_size=500",
        "prior.layers=1",
        "prior.dropout=0",
        "autoencoder.truncation.balance=true",
        "autoencoder.truncation.warmup=0",
    )


def online() -> Config:
    """The same, and the prior makes its codes itself."""
    same = config()
    same.core.training.codes.__dict__["online"] = True
    return same


# What the processes do. Everything random is seeded alike in one and in two processes.


def normalised(x: Tensor) -> dict[str, Tensor]:
    """A batch normalisation's output, running statistics and gradients on this process's share of `x`."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, affine=False)))
    synchronize_norms(network)
    own = own_share(x).clone().requires_grad_()
    y = network(own)
    (y * torch.linspace(-1, 1, y.shape[-1])).square().sum().backward()
    gradients = {name: summed(value.grad) for name, value in network.named_parameters() if value.grad is not None}
    return {"y": joined(y.detach()), "x.grad": joined(own.grad), **network.state_dict(), **gradients}


def quantized(z: Tensor, *, shared: bool) -> dict[str, Tensor]:
    """A codebook that has followed five batches, the first by k-means, of which this process saw its share."""
    torch.manual_seed(dist.get_rank() if dist.is_initialized() else 0)
    quantizer = VectorQuantizer(z.shape[2], z.shape[3], size=12, shared=shared, decay=0.5, dead_threshold=0.5)
    kept = torch.ones(z.shape[1:3], dtype=torch.bool)
    kept[::3, 1:] = False
    with torch.no_grad():
        quantizer.codebook.copy_(from_first(quantizer.codebook.clone()))  # as DDP does
    for batch in z:
        quantizer(own_share(batch), own_share(kept))
    return quantizer.state_dict()


class Numbers(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.tensor(index)}


def seen(done: int = 0) -> list[Tensor]:
    batches = ShuffledBatches(Numbers(), 8, seed=3, workers=0, done=done)
    return [joined(batch["x"]) for batch, _ in zip(batches, range(7 - done), strict=False)]


def values() -> dict[str, Any]:
    """Everything that needs no run, as this process sees it."""
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(5, 24, 3, 4, generator=generator)
    return {
        "normalised": normalised(torch.randn(8, 3, 4, 5, generator=generator) * 3 + 1),
        "shared": quantized(z, shared=True),
        "per position": quantized(z, shared=False),
        "batches": seen(),
        "later batches": seen(done=3),
    }


def _launched(rank: int, port: int, scenario: Callable[[int, Path], None], folder: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(PROCESSES))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = str(True)  # as torchrun does: whoever starts us has the store
    torch.set_num_threads(1)
    scenario(rank, folder)


def launch(scenario: Callable[[int, Path], None], folder: Path) -> None:
    """`scenario` in processes of their own. Let it form one process group: gloo may fail to form another after it."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    mp.spawn(_launched, (store.port, scenario, folder), nprocs=PROCESSES)


def train_once(rank: int, folder: Path) -> None:
    spoken: list[Progress] = []
    train_stages(config(), folder / "together", on_progress=spoken.append)
    (folder / f"spoken-{rank}.json").write_text(json.dumps([(one.stage, one.step) for one in spoken]))
    (folder / f"left-{rank}.json").write_text(json.dumps(dist.is_initialized()))


def train_in_a_group(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo")
    torch.save(values(), folder / f"values-{rank}.pt")
    train_stages(config(), folder / "codes", stages=["codes", "prior"], force=True)
    train_stages(config(), folder / "shared", stages=["prior"], autoencoder=folder / "codes")
    train_stages(online(), folder / "online", stages=["prior"], autoencoder=folder / "codes")

    fit_module._REPORT_EVERY = 2
    train_step = fit_module._Fit._step

    def signalling(self: Any, batch: Any, step: int) -> Any:
        if step == 1 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(self, batch, step)

    fit_module._Fit._step = signalling  # type: ignore[method-assign]
    try:
        train_stages(config(), folder / "stopped", stages=["autoencoder"])
    except InterruptedTrainingError as error:
        (folder / f"stopped-{rank}.txt").write_text(f"{error.exit_status}: {error}")
    fit_module._Fit._step = train_step  # type: ignore[method-assign]
    train_stages(config(), folder / "resumed", stages=["autoencoder"], resume=True)

    odd = config()
    odd.core.training.prior.__dict__["batch_size"] = 15
    try:
        train_stages(odd, folder / "odd")
    except ConfigError as error:
        (folder / f"odd-{rank}.txt").write_text(str(error))
    dist.destroy_process_group()  # which must still be there


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process trained, and one that it stopped after two steps."""
    folder = tmp_path_factory.mktemp("alone")
    train_stages(config(), folder / "run")

    class Died(BaseException):
        pass

    def die(progress: Progress) -> None:
        if progress.step == 3:
            raise Died

    with pytest.raises(Died):
        train_stages(config(), folder / "stopped", on_progress=die)
    return folder


@pytest.fixture(scope="module")
def together(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left: values-R.pt, the runs `together`, `codes`, `stopped`, `resumed`, and what they said."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(alone / "run", folder / "codes")
    shutil.copytree(alone / "stopped", folder / "resumed")
    launch(train_once, folder)
    launch(train_in_a_group, folder)
    return folder


def read(folder: Path, rank: int) -> dict[str, Any]:
    return torch.load(folder / f"values-{rank}.pt", weights_only=True)


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=2e-4, atol=2e-5) for name in one)


def test_batches_together_are_those_of_one_process(together):
    for key in ("batches", "later batches"):
        for rank in range(PROCESSES):
            assert torch.equal(torch.stack(read(together, rank)[key]), torch.stack(values()[key]))
    assert torch.equal(torch.stack(values()["later batches"]), torch.stack(values()["batches"][3:]))


def test_batches_are_normalised_together(together):
    expected = values()["normalised"]
    for rank in range(PROCESSES):
        assert close(read(together, rank)["normalised"], expected)


def test_one_process_normalises_as_torch_does(monkeypatch):
    x = torch.randn(6, 3, 5)
    ours, torchs = SynchronizedBatchNorm(3), nn.BatchNorm1d(3)
    assert torch.equal(ours(x), torchs(x))
    assert close(ours.state_dict(), torchs.state_dict())


@pytest.mark.parametrize("kind", ["shared", "per position"])
def test_codebooks_are_the_same_in_all_processes_and_those_of_one(together, kind):
    expected = values()[kind]
    for rank in range(PROCESSES):
        found = read(together, rank)[kind]
        assert all(torch.equal(found[name], expected[name]) for name in expected), kind
    assert expected["started"].all()


FREE = ("encoder.0.bias", "decoder.0.bias", "decoder.0.weight", "running_mean")
"""A constant before a normalisation has no gradient but rounding, which Adam makes a step of."""


def weights(run: Path) -> dict[str, Tensor]:
    """Weights, codebook, statistics and what the codebook follows, without what is free."""
    state = load_file(run / "autoencoder.safetensors")
    return {name: value for name, value in state.items() if not name.endswith(FREE)}


def test_an_autoencoder_trained_together_is_that_of_one_process(alone, together):
    expected = weights(alone / "run")
    assert {"encoder.0.weight", "encoder.1.running_var", "decoder.3.weight", "quantizer.ema_sums"} < set(expected)
    assert close(weights(together / "together"), expected)


def test_a_prior_trained_together_is_that_of_one_process(alone, together):
    # Of the same codes: one more or less, which rounding may make of an autoencoder, would make another prior.
    found, expected = (load_file(folder / "prior.safetensors") for folder in (together / "codes", alone / "run"))
    assert close(found, expected)


def test_processes_train_a_prior_on_the_files_of_another_run(together):
    shared, theirs = read_record(together / "shared"), read_record(together / "codes")
    assert shared.stages["prior"].digest == theirs.stages["prior"].digest
    assert (together / "shared/codes/train.npy").samefile(together / "codes/codes/train.npy")


def test_processes_that_encode_while_the_prior_learns_make_the_prior_of_one(alone, together):
    found, expected = (load_file(folder / "prior.safetensors") for folder in (together / "online", alone / "run"))
    assert close(found, expected)


def test_the_process_group_is_gone_after_the_training_that_formed_it(together):
    assert [json.loads((together / f"left-{rank}.json").read_text()) for rank in range(PROCESSES)] == [False, False]


def test_codes_are_written_once_and_whole(alone, together):
    names = sorted(path.name for path in (alone / "run" / "codes").iterdir())
    assert names == ["train-labels.npy", "train.npy", "validation-labels.npy", "validation.npy"]
    assert sorted(path.name for path in (together / "codes" / "codes").iterdir()) == names
    for name in names:
        assert (together / "codes" / "codes" / name).read_bytes() == (alone / "run" / "codes" / name).read_bytes()


def test_only_the_first_process_speaks_and_logs(alone, together):
    first, second = (json.loads((together / f"spoken-{rank}.json").read_text()) for rank in range(PROCESSES))
    assert second == []
    assert [stage for stage in STAGES if any(stage == one[0] for one in first)] == list(STAGES)
    ours, theirs = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (together / "together", alone / "run")
    )
    assert [(line["stage"], line["step"]) for line in ours] == [(line["stage"], line["step"]) for line in theirs]
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_signal_to_any_process_stops_all_at_one_step(together):
    for rank in range(PROCESSES):
        assert (together / f"stopped-{rank}.txt").read_text().startswith("143: stopped at step 2 of stage autoencoder")
    assert (together / "stopped" / "checkpoints" / "autoencoder-00000002.safetensors").exists()


def test_two_processes_go_on_from_a_checkpoint_of_one(alone, together):
    assert close(weights(together / "resumed"), weights(alone / "run"))


def test_one_process_goes_on_from_a_checkpoint_of_two(alone, together, tmp_path):
    shutil.copytree(together / "stopped", tmp_path / "run")
    train_stages(config(), tmp_path / "run", stages=["autoencoder"], resume=True)
    assert close(weights(tmp_path / "run"), weights(alone / "run"))


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(together):
    for rank in range(PROCESSES):
        assert "training.prior.batch_size=15" in (together / f"odd-{rank}.txt").read_text()
    assert not (together / "odd").exists()
