"""Samples into files by threads: their order, what they wait for, errors, and samples that are still on their way."""

from __future__ import annotations

import io
import json
import resource
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import anytime_core.jobs.writing
import anytime_core.sampling.sampler
from anytime_core.budget import Budget
from anytime_core.errors import AnytimeError, PluginError
from anytime_core.jobs.contents import contents_by
from anytime_core.jobs.ledger import Ledger
from anytime_core.jobs.output import Added
from anytime_core.jobs.sampling import write_samples
from anytime_core.jobs.tar_output import member
from anytime_core.jobs.writing import SampleWriter
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.pending import PendingSamples
from anytime_core.sampling.samples import Origin, Samples

BATCH, LONGEST = 8, 20.0


class Arrived:
    """Moments of a GPU that has done everything."""

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: Any) -> float:
        return 1.0


class Kept:
    """Keeps the indices of samples in the order in which they come."""

    parallel = True

    def __init__(self, prepare: Callable[[Samples], None] = lambda samples: None) -> None:
        self.indices, self.work = list[int](), prepare

    def prepare(self, samples: Samples, grown: Mapping[int, Tensor]) -> list[int]:
        self.work(samples)
        return list(samples.indices)

    def add(self, prepared: int) -> Added:
        self.indices.append(prepared)
        return Added(str(prepared), {str(prepared): 1})


def batch(number: int, *, ahead: bool) -> PendingSamples:
    indices = tuple(range(number * BATCH, (number + 1) * BATCH))
    ones = torch.ones(BATCH, 1, dtype=torch.int64)
    origin = Origin(None, Budget(1.0), SamplingOptions())
    samples = Samples(torch.zeros(BATCH, 2), ones, ones[:, 0], None, indices, 1, {}, origin)
    moments: Any = (Arrived(), Arrived(), Arrived())
    return PendingSamples(samples, moments if ahead else None)


def batches(number: int, begun: list[int], *, ahead: bool) -> Iterator[PendingSamples]:
    for one in range(number):
        begun.append(one)
        yield batch(one, ahead=ahead)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[..., SampleWriter]]:
    ledger = Ledger(tmp_path)
    yield lambda output, threads=3: SampleWriter(
        output, ledger, (), grow=lambda samples: {}, single=True, threads=threads
    )
    ledger.close()


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("ahead", [False, True])
def test_samples_come_in_their_order_however_long_each_takes(writer, tmp_path, threads, ahead):
    output = Kept(lambda samples: time.sleep(0.002 * (samples.indices[0] % 3)))
    with writer(output, threads) as open_writer:
        written = list(open_writer.written(batches(4, [], ahead=ahead)))
        told = [json.loads(entry)["index"] for entry in open_writer.ledger.entries()]
    assert output.indices == told == [index for one in written for index in one.samples.indices]
    assert output.indices == list(range(4 * BATCH))


@pytest.mark.parametrize(("ahead", "drawn"), [(True, [0, 1]), (False, [0])])
def test_no_batch_is_begun_while_too_many_wait_to_be_written(writer, ahead, drawn):
    """With a GPU one batch may wait while the next is drawn; without, each is written before the next is drawn."""
    goes_on, begun = threading.Event(), list[int]()
    output = Kept(lambda samples: None if goes_on.wait(LONGEST) else pytest.fail("nothing went on"))
    with writer(output) as open_writer:
        rest = open_writer.written(batches(5, begun, ahead=ahead))
        first = threading.Thread(target=lambda: next(rest))
        first.start()
        first.join(0.1)
        assert first.is_alive()
        assert begun == drawn
        goes_on.set()
        first.join(LONGEST)
        assert (begun, output.indices) == (drawn, list(range(BATCH)))
        assert len(list(rest)) == 4


@pytest.mark.parametrize("ahead", [False, True])
def test_the_first_error_in_the_order_of_samples_is_raised_and_all_threads_end(writer, ahead):
    def fail(samples: Samples) -> None:
        if samples.indices[0] >= BATCH:
            time.sleep(0.05 if samples.indices[0] == BATCH else 0.0)
            raise OSError(f"sample {samples.indices[0]}")

    output = Kept(fail)
    with pytest.raises(OSError, match=f"sample {BATCH}$"), writer(output) as open_writer:
        list(open_writer.written(batches(5, [], ahead=ahead)))
    assert output.indices == list(range(BATCH))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anytime-files")]


def test_where_there_may_be_no_more_threads_one_does_all(writer, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    output, worked = Kept(lambda samples: worked.add(threading.current_thread())), set[threading.Thread]()
    with writer(output) as open_writer:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        list(open_writer.written(batches(3, [], ahead=True)))
    assert output.indices == list(range(3 * BATCH))
    assert worked == {threading.current_thread()}


class SlowPipe:
    """In place of a GPU's: samples arrive when they are waited for, and not before."""

    def __init__(self, device: torch.device) -> None:
        self.copies = list[tuple[Tensor, Tensor]]()

    def moment(self) -> Any:
        return _Arrival(self.copies.pop() if self.copies else None)

    def copied(self, x: Tensor) -> Tensor:
        copy = torch.full_like(x, torch.nan)
        self.copies.append((copy, x))
        return copy


class _Arrival(Arrived):
    def __init__(self, copying: tuple[Tensor, Tensor] | None) -> None:
        self.copying = copying

    def synchronize(self) -> None:
        if self.copying is not None:
            copy, x = self.copying
            copy.copy_(x)


@pytest.mark.parametrize("form", [{}, {"pack": True}, {"suffix": "npz"}, {"progressive": True}], ids=str)
def test_samples_that_are_still_on_their_way_become_the_same_files(tiny_run, tmp_path, monkeypatch, form):
    options = SamplingOptions(batch_size=16, engine="eager")
    write_samples(tiny_run, tmp_path / "expected", range(70), 1.0, options, **form)
    monkeypatch.setattr(anytime_core.sampling.sampler, "pipe_from", SlowPipe)
    monkeypatch.setattr(anytime_core.jobs.writing, "usable_cores", lambda: 3)
    record = write_samples(tiny_run, tmp_path / "out", range(70), 1.0, options, **form)
    contents = [
        {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "samples.json"}
        for folder in (tmp_path / "expected", tmp_path / "out")
    ]
    assert contents[0] == contents[1]
    assert record["seconds"]["decode"] == pytest.approx(0.005)


def test_a_job_that_is_stopped_writes_what_is_on_its_way_and_what_was_begun(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(anytime_core.sampling.sampler, "pipe_from", SlowPipe)
    monkeypatch.setattr(anytime_core.jobs.writing, "usable_cores", lambda: 3)
    seen = list[int]()
    record = write_samples(
        tiny_run,
        tmp_path / "out",
        range(70),
        1.0,
        SamplingOptions(batch_size=16, engine="eager"),
        stopped=lambda: len(seen) > 20,
        on_drawn=lambda done, drawn: seen.append(drawn),
    )
    assert (record["num"], record["interrupted"]) == (48, True)
    assert len(list((tmp_path / "out").glob("0*.png"))) == 48


def test_memory_that_is_used_up_while_samples_are_decoded_ahead_is_told_with_the_way_out(tiny_run, monkeypatch):
    def fail(codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(anytime_core.sampling.sampler, "pipe_from", SlowPipe)
    sampler = tiny_run.sampler(SamplingOptions(batch_size=16, engine="eager"))
    monkeypatch.setattr(sampler.source, "decode_on_device", fail)
    with pytest.raises(AnytimeError, match=r"^drawing 16 samples at a time: out of memory.* --batch-size"):
        next(sampler.pending_batches(range(40), Budget(1.0)))


@pytest.mark.parametrize(
    ("contents", "returned"),
    [
        ([b"a"], "1 contents instead of the bytes of 2 files"),
        ([b"a"] * 3, "3 contents instead of the bytes of 2 files"),
        (None, "NoneType instead of a list with the bytes of 2 files"),
        ([b"a", "b"], "'b' for b.png instead of its bytes"),
        ([b"", b"b"], "b'' for a.png instead of its bytes"),
        ([b"a", memoryview(b"b")], "<memory at .* for b.png instead of its bytes"),
    ],
)
def test_contents_that_are_not_those_of_files_are_refused_by_name(tiny_run, tmp_path, monkeypatch, contents, returned):
    monkeypatch.setattr(type(tiny_run.modality), "contents", lambda self, x, names: contents)
    files = contents_by(tiny_run.modality, tmp_path)
    with pytest.raises(PluginError, match=f"^modality 'image': contents returned {returned}$"):
        files.write(torch.zeros(2, *tiny_run.modality.sample_shape()), ["a.png", "b.png"])
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_disk_takes_only_a_part_of_is_an_error(tiny_run, tmp_path):
    files, x = contents_by(tiny_run.modality, tmp_path), torch.zeros(1, *tiny_run.modality.sample_shape())
    (size,) = files.write(x, ["whole.png"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.write(x, ["part.png"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["000000001.png", "ü.json", "n" * 100, "n" * 101], ids=len)
@pytest.mark.parametrize("size", [0, 1, 511, 512, 70_000])
def test_members_of_shards_are_those_of_tarfile(name, size):
    entry, expected = tarfile.TarInfo(name), io.BytesIO()
    entry.size = size
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(b"x" * size))
        length = tar.offset
    assert member(name, b"x" * size) == expected.getvalue()[:length]


@pytest.mark.gpu
def test_what_a_gpu_draws_ahead_are_the_samples_of_the_run(tmp_path, tiny_folder):
    from anytime_core.run import load

    run = load(tiny_folder, device="cuda")
    options = SamplingOptions(batch_size=16, engine="eager", precision="float32")
    sampler = run.sampler(options)
    pending = list(sampler.pending_batches(range(40), Budget(1.0)))
    assert all(one.moments is not None for one in pending)
    ahead = [one.wait() for one in pending]
    for samples, expected in zip(ahead, sampler.batches(range(40), Budget(1.0)), strict=True):
        torch.testing.assert_close(samples.x, expected.x)
        assert samples.codes.equal(expected.codes)
        assert min(samples.seconds.values()) > 0
