"""Samples to files: `samples.json`, tar shards, jobs that are killed and go on, and calls with a deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import tiny_config
from PIL import Image

import anytime_core.data.files
import anytime_core.jobs.tar_output
import anytime_core.run as run_module
from anytime_cli import progress
from anytime_core.budget import Budget
from anytime_core.errors import UsageError
from anytime_core.jobs.ledger import Ledger
from anytime_core.jobs.sampling import write_samples
from anytime_core.run import Run, load
from anytime_core.sampling.adaptive import Gains, measured_gains
from anytime_core.sampling.options import SamplingOptions
from anytime_core.training.train import train_stages
from anytime_image.modality import ImageModality

Write = Callable[..., dict[str, Any]]

NUM, BATCH, CODES = 150, 16, 8
PREVIEWED = 64
"""Samples after which the preview is drawn, and from which every batch ends with a mark."""
IN_MEMORY = "anytime_core.jobs.contents.WritesInMemory"
ARRAYS = {"suffix": "npz"}
FORMS = pytest.mark.parametrize(
    ("pack", "progressive"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["files", "tar", "progressive files", "progressive tar"],
)

EVERY_FORM = pytest.mark.parametrize(
    "form",
    [{}, {"pack": True}, ARRAYS, *({"progressive": True, **form} for form in ({}, {"pack": True}, ARRAYS))],
    ids=["files", "tar", "arrays", "progressive files", "progressive tar", "progressive arrays"],
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time of these tests would be that; every batch ends with a mark."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(anytime_core.data.files, "_syncfs", lambda: lambda descriptor: None)
    monkeypatch.setattr("anytime_core.jobs.marks._FLUSHING_SHARE", 1)


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of this module's own, as calls leave what they cost in its folder."""
    return load(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("run") / "tiny"), device="cpu")


@pytest.fixture
def fresh(run: Run, tmp_path: Path) -> Run:
    """A run that knows nothing of what its calls cost."""
    ignored = shutil.ignore_patterns("costs.json")
    return load(shutil.copytree(run.folder, tmp_path / "runs" / "fresh", ignore=ignored), device="cpu")


@pytest.fixture
def write(run: Run) -> Write:
    """`write_samples` of the first `num` samples."""

    def write(
        folder: Path,
        num: int = NUM,
        budget: str = "1.0",
        *,
        batch_size: int | None = BATCH,
        indices: Sequence[int] | None = None,
        of: Run = run,
        seed: int = 0,
        label: str | None = None,
        shaping: Mapping[str, float] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        how = SamplingOptions(seed=seed, label=label, engine="eager", batch_size=batch_size, **(shaping or {}))
        return write_samples(of, folder, indices or range(num), budget, how, **options)

    return write


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "samples.json").read_text())


def outcome(folder: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Every file of a folder, of `samples.json` what it says but for the time that it took."""
    record = record_of(folder)
    assert record.pop("seconds")
    return {name: content for name, content in files(folder).items() if name != "samples.json"}, record


def members(folder: Path) -> dict[str, bytes]:
    """The files in all shards of a folder, in their order."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                assert entry.name not in found
                found[entry.name] = tar.extractfile(entry).read()
    return found


class Watch:
    """Progress of a call: how many samples were done before each code, and how many codes the batch had after it."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, drawn: int) -> None:
        self.seen.append((done, drawn))

    @property
    def started_at(self) -> int:
        return self.seen[0][0]


class Disk:
    """The folder in which a job works, copied at chosen moments: a process killed then leaves just that."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.copies = folder, list[Path]()
        folder.mkdir()

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def copy(self) -> None:
        copy = self.folder.with_name(f"{self.folder.name}-{len(self.copies)}")
        shutil.copytree(self.folder, copy)
        assert len(list(copy.glob(".partial-out-*"))) >= 3, "a folder, its lock and who holds it"
        self.copies.append(copy)

    def copy_at(self, *moments: tuple[int, int]) -> Callable[[int, int], None]:
        """To be called on every code: copies when so many samples are done and so many codes drawn of the batch."""

        def on_drawn(done: int, drawn: int) -> None:
            if (done, drawn) in moments:
                self.copy()

        return on_drawn

    def killed(self) -> Path:
        """The output folder of the only copy."""
        (copy,) = self.copies
        return copy / "out"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "job")


@pytest.fixture
def killed(disk: Disk, write: Write) -> Path:
    """Where to call a job again that was killed at its second mark, in the middle of a batch."""
    write(disk.out, on_drawn=disk.copy_at((PREVIEWED + BATCH, 3)))
    return disk.killed()


class NotInMemory:
    """In place of `WritesInMemory`: no modality can do more than its duties."""


Making = Callable[[Callable[[int], None]], contextlib.AbstractContextManager[None]]


@pytest.fixture(params=["in memory", "on the disk"])
def making(request) -> Making:
    """Within the block, a function is called with the number of each file, from 1, when the modality has made it.

    Files are made in memory, by threads, or on the disk, as a modality does that has only its duties.
    """

    @contextlib.contextmanager
    def making(on_file: Callable[[int], None]) -> Iterator[None]:
        numbers = itertools.count(1)
        on_disk, in_memory = ImageModality.write, ImageModality.contents

        def write(self: ImageModality, x: torch.Tensor, path: Path) -> None:
            on_disk(self, x, path)
            on_file(next(numbers))

        def contents(self: ImageModality, x: torch.Tensor, names: Sequence[str]) -> list[bytes]:
            made = in_memory(self, x, names)
            for _ in names:
                on_file(next(numbers))
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("anytime_core.jobs.writing.usable_cores", lambda: 3)
            if request.param == "in memory":
                patch.setattr(ImageModality, "contents", contents)
            else:
                patch.setattr(IN_MEMORY, NotInMemory)
                patch.setattr(ImageModality, "write", write)
            yield

    return making


def raising(error: BaseException, number: int) -> Callable[[int], None]:
    """For `making`: raise an error when so many files are made."""

    def on_file(made: int) -> None:
        if made == number:
            raise error

    return on_file


def partial(folder: Path) -> Path:
    """What a killed job left of the output folder `folder`."""
    (left,) = (path for path in folder.parent.glob(f".partial-{folder.name}-*") if path.is_dir())
    return left


# What is written


def test_samples_json_has_one_line_a_sample_and_every_field(write, run, tmp_path):
    record = write(tmp_path / "out", 20, "60%", seed=3, load_seconds=1.25)
    told = record_of(tmp_path / "out")
    samples = told.pop("samples")
    assert told == record
    assert {name: told[name] for name in ("budget", "codes", "code_length", "calls", "seed", "num", "interrupted")} == {
        "budget": "0.6",
        "codes": 5,
        "code_length": CODES,
        "calls": 5,
        "seed": 3,
        "num": 20,
        "interrupted": False,
    }
    assert (told["run"], told["preview"]) == (str(run.folder), "preview.png")
    assert set(told["seconds"]) == {"load", "codes", "decode", "write"}
    assert told["seconds"]["load"] == 1.25
    assert min(told["seconds"].values()) >= 0
    sizes = [(tmp_path / "out" / f"{index:06d}.png").stat().st_size for index in range(20)]
    assert samples == [
        {"file": f"{index:06d}.png", "index": index, "label": str(index % 10), "codes": 5, "bytes": size}
        for index, size in enumerate(sizes)
    ]
    assert told["files"] == {"preview.png": (tmp_path / "out" / "preview.png").stat().st_size}
    lines = (tmp_path / "out" / "samples.json").read_text().splitlines()
    assert [json.loads(line.strip().removesuffix(",")) for line in lines if '"index"' in line] == samples


@FORMS
def test_the_output_folder_is_untouched_until_the_end(write, tmp_path, pack, progressive):
    out = tmp_path / "out"
    write(out, 2, seed=1, pack=pack)
    (out / "notes.txt").write_bytes(b"mine")
    old, seen = files(out), []
    write(out, 20, pack=pack, progressive=progressive, overwrite=True, on_drawn=lambda *moment: seen.append(files(out)))
    assert seen == [old] * (2 * CODES)
    new = files(out)
    assert new["notes.txt"] == b"mine"
    assert record_of(out)["num"] == 20
    name = "samples-000000.tar" if pack else "000000.png"
    assert new[name] != old[name]
    assert names(tmp_path) == {"out"}


def test_a_new_output_folder_appears_with_everything_in_it(write, tmp_path):
    seen = []
    write(tmp_path / "new" / "out", 20, on_drawn=lambda *moment: seen.append((tmp_path / "new" / "out").exists()))
    assert not any(seen)
    assert names(tmp_path / "new") == {"out"}
    assert names(tmp_path / "new" / "out") == {
        *(f"{index:06d}.png" for index in range(20)),
        "preview.png",
        "samples.json",
    }


def test_the_folder_in_which_one_stands_can_be_the_output_folder(write, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path(), 2)
    assert names(tmp_path / "here") == {"000000.png", "000001.png", "preview.png", "samples.json"}
    assert names(tmp_path) == {"here"}


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000, None])
def test_samples_do_not_depend_on_how_many_are_drawn_together(write, tmp_path, batch_size):
    write(tmp_path / "expected", 80, batch_size=BATCH)
    write(tmp_path / "out", 80, batch_size=batch_size)
    assert outcome(tmp_path / "out") == outcome(tmp_path / "expected")


@FORMS
@pytest.mark.parametrize("parts", [2, 7])
def test_shards_together_are_the_files_of_the_whole_job(write, tmp_path, pack, progressive, parts):
    form = {"pack": pack, "progressive": progressive}
    write(tmp_path / "whole", 20, **form)
    together: dict[str, bytes] = {}
    for part in range(parts):
        write(tmp_path / str(part), indices=range(part, 20, parts), **form)
        found = members(tmp_path / str(part)) if pack else files(tmp_path / str(part), "0*")
        assert not found.keys() & together.keys()
        together |= found
    whole = members(tmp_path / "whole") if pack else files(tmp_path / "whole", "0*")
    assert len(whole) == 20 * ((3 if pack else 1) + progressive * (5 if pack else 5 + 2))
    assert together == whole


def test_any_sequence_of_indices_can_be_drawn_in_its_order(write, tmp_path):
    write(tmp_path / "whole", 20)
    write(tmp_path / "some", indices=[7, 3, 19, 4], batch_size=3)
    assert [entry["index"] for entry in record_of(tmp_path / "some")["samples"]] == [7, 3, 19, 4]
    whole = files(tmp_path / "whole", "0*.png")
    assert files(tmp_path / "some", "0*.png") == {name: whole[name] for name in whole if int(name[:6]) in (3, 4, 7, 19)}


# Tar shards


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five samples a shard."""
    monkeypatch.setattr(anytime_core.jobs.tar_output, "SAMPLES_PER_TAR", 5)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 16])
def test_shards_hold_a_picture_its_class_and_what_it_is_for_each_sample(write, tmp_path, small_shards, batch_size):
    write(tmp_path / "files", 12, "3codes", label="7")
    write(tmp_path / "out", 12, "3codes", label="7", pack=True, batch_size=batch_size)
    assert names(tmp_path / "out") == {
        *(f"samples-00000{number}.tar" for number in range(3)),
        "preview.png",
        "samples.json",
    }
    pictures = files(tmp_path / "files", "0*.png")
    found = members(tmp_path / "out")
    assert list(found) == [f"{index:09d}.{kind}" for index in range(12) for kind in ("png", "json", "cls")]
    for index in range(12):
        assert found[f"{index:09d}.png"] == pictures[f"{index:06d}.png"]
        assert json.loads(found[f"{index:09d}.json"]) == {"index": index, "label": 7, "codes": 3}
        assert found[f"{index:09d}.cls"] == b"7"
    told = [entry["file"] for entry in record_of(tmp_path / "out")["samples"]]
    assert told == [f"samples-00000{index // 5}.tar/{index:09d}.png" for index in range(12)]
    for name in told:
        shard, member = name.split("/")
        with tarfile.open(tmp_path / "out" / shard) as tar:
            assert member in tar.getnames()


def test_the_names_and_numbers_of_the_classes_agree_between_samples_json_and_the_shards(write, run, tmp_path):
    write(tmp_path / "out", 12, pack=True)
    found = members(tmp_path / "out")
    for entry in record_of(tmp_path / "out")["samples"]:
        key = f"{entry['index']:09d}"
        number = json.loads(found[f"{key}.json"])["label"]
        assert run.record.classes[number] == entry["label"]
        assert found[f"{key}.cls"] == str(number).encode()


def test_samples_of_an_unconditional_prior_have_no_class(write, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "unconditional")
    steps = ("training.prior.steps=1", "training.prior.validations=1")
    train_stages(tiny_config("prior.class_conditional=false", *steps), folder, stages=("prior",), force=True)
    write(tmp_path / "out", 3, of=load(folder, device="cpu"), pack=True)
    found = members(tmp_path / "out")
    assert list(found) == [f"{index:09d}.{kind}" for index in range(3) for kind in ("png", "json")]
    assert json.loads(found["000000002.json"]) == {"index": 2, "label": None, "codes": CODES}
    assert [entry["label"] for entry in record_of(tmp_path / "out")["samples"]] == [None] * 3


@pytest.mark.parametrize("progressive", [False, True])
def test_shards_are_the_same_bytes_in_every_call(write, tmp_path, small_shards, progressive):
    for out in ("first", "second"):
        write(tmp_path / out, 12, pack=True, progressive=progressive)
    first, second = (files(tmp_path / out, "*.tar") for out in ("first", "second"))
    assert len(first) == 3
    assert first == second


def test_shards_name_no_user_and_no_time(write, tmp_path):
    write(tmp_path / "out", 2, pack=True)
    with tarfile.open(tmp_path / "out" / "samples-000000.tar") as tar:
        told = {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in tar}
        assert told == {(0, 0, 0, "", "")}


def test_progressive_shards_hold_the_steps_of_a_sample_beside_it(write, tmp_path, small_shards):
    write(tmp_path / "files", 6, progressive=True)
    write(tmp_path / "out", 6, progressive=True, pack=True)
    steps = files(tmp_path / "files", "*codes.png")
    found = members(tmp_path / "out")
    keys = [name.partition(".")[0] for name in found]
    assert [key for key, _ in itertools.groupby(keys)] == [f"{index:09d}" for index in range(6)]
    assert {f"{int(name[:9]):06d}-{name[10:]}": content for name, content in found.items() if "codes" in name} == steps
    assert len(steps) == 6 * 5


def test_shards_of_another_format_hold_files_of_that_format(write, tmp_path):
    write(tmp_path / "out", 2, pack=True, suffix="bmp")
    with Image.open(io.BytesIO(members(tmp_path / "out")["000000001.bmp"])) as picture:
        assert (picture.format, picture.size) == ("BMP", (8, 8))


def test_the_webdataset_library_reads_the_shards(write, tmp_path, small_shards):
    webdataset = pytest.importorskip("webdataset")
    write(tmp_path / "files", 12)
    write(tmp_path / "out", 12, pack=True)
    shards = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [f"{index:09d}" for index in range(12)]
    for index, sample in enumerate(samples):
        assert sample["json"] == {"index": index, "label": index % 10, "codes": CODES}
        assert sample["cls"] == index % 10
        with Image.open(tmp_path / "files" / f"{index:06d}.png") as picture:
            assert sample["png"].convert("L").tobytes() == picture.tobytes()


def test_the_webdataset_library_reads_progressive_shards(write, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    write(tmp_path / "out", 3, pack=True, progressive=True)
    shard = str(tmp_path / "out" / "samples-000000.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [f"{index:09d}" for index in range(3)]
    for sample in samples:
        steps = {name: content for name, content in sample.items() if name.endswith("codes.png")}
        assert len(steps) == 5
        assert steps[f"{CODES}codes.png"] == sample["png"]


# Killed jobs


@EVERY_FORM
def test_a_job_killed_while_it_draws_goes_on_and_ends_as_if_it_had_not_been(write, disk, small_shards, form):
    num, moments = NUM, [(0, 1), (48, CODES), (PREVIEWED, 1), (PREVIEWED + BATCH, 5), (144, CODES)]
    if "progressive" in form:
        num, moments = 82, [(48, CODES), (PREVIEWED, 1), (PREVIEWED + BATCH, CODES)]
    form = {"num": num, **form}
    write(disk.out, **form, on_drawn=disk.copy_at(*moments))
    expected = outcome(disk.out)
    assert expected[1]["num"] == num
    assert len(disk.copies) == len(moments)
    for (done, _), copy in zip(moments, disk.copies, strict=True):
        watch = Watch()
        write(copy / "out", **form, on_drawn=watch)
        assert watch.started_at == (done if done >= PREVIEWED else 0)
        assert outcome(copy / "out") == expected, f"killed when {done} samples were done"
        assert names(copy) == {"out"}


def test_a_packed_job_goes_on_in_the_middle_of_a_shard(write, disk):
    moments = [(done, 2) for done in range(PREVIEWED, NUM, BATCH)]
    write(disk.out, pack=True, on_drawn=disk.copy_at(*moments))
    assert names(disk.out) == {"samples-000000.tar", "preview.png", "samples.json"}
    for moment, copy in zip(moments, disk.copies, strict=True):
        write(copy / "out", pack=True)
        assert outcome(copy / "out") == outcome(disk.out), moment


@pytest.mark.parametrize(("pack", "batch_size"), [(False, 2), (False, 64), (True, 7), (True, 64)])
def test_a_job_killed_while_it_writes_a_batch_goes_on_from_the_batch_before(
    write, disk, monkeypatch, small_shards, pack, batch_size
):
    moments, written = (3, 71, 148), []
    original = ImageModality.write

    def write_in_two_halves(self: ImageModality, x: torch.Tensor, path: Path) -> None:
        written.append(path)
        original(self, x, path)
        if len(written) in moments:
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            disk.copy()
            path.write_bytes(whole)

    with monkeypatch.context() as patch:
        patch.setattr(IN_MEMORY, NotInMemory)
        patch.setattr(ImageModality, "write", write_in_two_halves)
        write(disk.out, pack=pack, batch_size=batch_size)
    assert len(written) == NUM
    for moment, copy in zip(moments, disk.copies, strict=True):
        watch = Watch()
        write(copy / "out", pack=pack, batch_size=batch_size, on_drawn=watch)
        done = (moment - 1) // batch_size * batch_size
        assert watch.started_at == (done if done >= PREVIEWED else 0)
        assert outcome(copy / "out") == outcome(disk.out), f"killed while writing file {moment}"
        assert names(copy) == {"out"}


def test_the_same_command_goes_on_with_a_killed_process(anytime, run, tmp_path, monkeypatch):
    arguments = ("sample", "--run", str(run.folder), "--num", "100", "--batch-size", "8", "--device", "cpu", "--pack")
    program = f"""
import os, signal, sys
from anytime_cli.main import main
from anytime_image.modality import ImageModality

def contents_until_killed(self, x, names):
    if "000000076.png" in names:
        os.kill(os.getpid(), signal.SIGKILL)
    return contents(self, x, names)

contents = ImageModality.contents
ImageModality.contents = contents_until_killed
sys.argv = ["anytime", *{arguments!r}, "--out", "out"]
main()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert partial(tmp_path / "out").is_dir()
    done = []

    @contextlib.contextmanager
    def bar(activity: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda samples, total: done.append(samples)

    assert anytime(*arguments, "--out", "expected").status == 0
    with monkeypatch.context() as patch:
        patch.setattr(progress, "bar", bar)
        assert anytime(*arguments, "--out", "out").status == 0
    assert done[0] == 72
    assert outcome(tmp_path / "out") == outcome(tmp_path / "expected")
    assert names(tmp_path) == {"out", "expected"}


def test_a_job_can_be_killed_again_and_again(write, disk):
    write(disk.out, pack=True)
    again = Disk(disk.folder.with_name("again"))
    write(again.out, pack=True, on_drawn=again.copy_at((PREVIEWED, 2)))
    starts = []
    for moment in ((80, 7), (80, 8), (112, 1), (144, 1)):
        watch, killed = Watch(), again.copies[-1]
        again.folder, before = killed, again.folder
        again.copies.clear()
        write(killed / "out", pack=True, on_drawn=lambda *now, at=moment, w=watch: (w(*now), again.copy_at(at)(*now)))
        starts.append(watch.started_at)
        shutil.rmtree(before)
    write(again.killed(), pack=True)
    assert starts == [64, 80, 80, 112]
    assert outcome(again.killed()) == outcome(disk.out)


@pytest.mark.parametrize("pack", [False, True], ids=["files", "tar"])
def test_a_job_killed_while_samples_json_is_written_has_nothing_left_to_draw(
    write, disk, monkeypatch, small_shards, pack
):
    original = Ledger.entries

    def entries(self: Ledger) -> Iterator[str]:
        for number, entry in enumerate(original(self)):
            if number == 100:
                disk.copy()
            yield entry

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "entries", entries)
        write(disk.out, pack=pack)
    watch = Watch()
    write(disk.killed(), pack=pack, on_drawn=watch)
    assert watch.seen == []
    assert outcome(disk.killed()) == outcome(disk.out)
    assert names(disk.killed().parent) == {"out"}


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("pack", [False, True], ids=["files", "tar"])
def test_a_job_killed_while_its_files_are_flushed_or_moved_can_be_called_again(
    write, disk, monkeypatch, small_shards, pack, function
):
    disk.out.mkdir()
    monkeypatch.setattr(anytime_core.data.files, "_FLUSHED_ONE_BY_ONE", 1000)
    original, calls = getattr(os, function), []

    def copy_late(*arguments: Any) -> None:
        original(*arguments)
        calls.append(arguments)
        if len(calls) == 20:
            disk.copy()

    with monkeypatch.context() as patch:
        patch.setattr(os, function, copy_late)
        write(disk.out, pack=pack)
    assert len(calls) > 20
    write(disk.killed(), pack=pack)
    assert outcome(disk.killed()) == outcome(disk.out)
    assert names(disk.killed().parent) == {"out"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("pack", [False, True], ids=["files", "tar"])
def test_a_job_that_failed_after_a_mark_goes_on_from_there(write, tmp_path, making, small_shards, pack, error):
    with making(raising(error, 100)), pytest.raises(type(error)):
        write(tmp_path / "job" / "out", pack=pack)
    assert names(tmp_path / "job") == {partial(tmp_path / "job" / "out").name}
    watch = Watch()
    write(tmp_path / "job" / "out", pack=pack, on_drawn=watch)
    assert watch.started_at == 96
    assert names(tmp_path / "job") == {"out"}
    write(tmp_path / "expected", pack=pack)
    assert outcome(tmp_path / "job" / "out") == outcome(tmp_path / "expected")


@FORMS
@pytest.mark.parametrize("number", [1, 5, 40])
def test_an_error_before_the_first_mark_leaves_nothing(write, tmp_path, making, pack, progressive, number):
    error = OSError(errno.ENOSPC, "No space left on device")
    with making(raising(error, number)), pytest.raises(OSError, match="No space left"):
        write(tmp_path / "new" / "out", pack=pack, progressive=progressive)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("anytime-files")]
    assert names(tmp_path) == set()


OTHERS: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "number": {"num": 149},
    "indices": {"indices": range(1, 151)},
    "indices but the first two": {"indices": [0, 1, *range(100, 248)]},
    "step": {"indices": range(0, 300, 2)},
    "budget": {"budget": "3codes"},
    "adaptive budget": {"budget": "adaptive"},
    "label": {"label": "3"},
    "temperature": {"shaping": {"temperature": 0.5}},
    "top-k": {"shaping": {"top_k": 3}},
    "top-p": {"shaping": {"top_p": 0.5}},
    "format": {"suffix": "bmp"},
    "progressive": {"progressive": True},
    "tar": {"pack": True},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_job_with_other_arguments_starts_anew(write, tmp_path, killed, other):
    watch = Watch()
    write(killed, **other, on_drawn=watch)
    assert watch.started_at == 0
    write(tmp_path / "expected", **other)
    assert outcome(killed) == outcome(tmp_path / "expected")


def test_a_job_of_a_run_that_was_trained_again_starts_anew(write, run, killed):
    again = dataclasses.replace(run, record=run.record.model_copy(update={"created": "2001-01-01T00:00:00+00:00"}))
    watch = Watch()
    write(killed, of=again, on_drawn=watch)
    assert watch.started_at == 0


def test_a_job_for_another_folder_starts_anew(write, killed):
    watch = Watch()
    write(killed.with_name("other"), on_drawn=watch)
    assert watch.started_at == 0
    write(killed, on_drawn=(again := Watch()))
    assert again.started_at == PREVIEWED + BATCH


def test_a_killed_job_can_go_on_in_other_batches(write, disk, killed):
    watch = Watch()
    write(killed, batch_size=5, on_drawn=watch)
    assert watch.started_at == PREVIEWED + BATCH
    assert outcome(killed) == outcome(disk.out)


def test_seconds_of_a_killed_job_count_too(write, killed):
    progress = partial(killed) / "progress.jsonl"
    lines = [json.loads(line) for line in progress.read_text().splitlines()]
    lines[-1]["seconds"] = {"load": 1000.0, "codes": 2000.0, "decode": 3000.0, "write": 4000.0}
    progress.write_text("".join(json.dumps(line) + "\n" for line in lines))
    seconds = write(killed, load_seconds=5.0)["seconds"]
    assert seconds["load"] == 5.0
    assert (seconds["codes"] > 2000, seconds["decode"] > 3000, seconds["write"] > 4000) == (True, True, True)


@pytest.mark.parametrize("part", ["{", '{"done": 96, "most": 8, "seco', '{"done": 96}'])
def test_a_part_of_a_line_at_the_end_of_the_progress_is_passed_over(write, disk, killed, part):
    with (partial(killed) / "progress.jsonl").open("a") as file:
        file.write(part.removesuffix("}"))
    watch = Watch()
    write(killed, on_drawn=watch)
    assert watch.started_at == PREVIEWED + BATCH
    assert outcome(killed) == outcome(disk.out)


def test_after_a_part_of_a_line_later_marks_count(write, disk, killed):
    with (partial(killed) / "progress.jsonl").open("a") as file:
        file.write('{"done": 96, "mo')
    second = Disk(killed.parent.with_name("second"))
    second.folder = killed.parent
    write(killed, on_drawn=second.copy_at((144, 1)))
    watch = Watch()
    write(second.killed(), on_drawn=watch)
    assert watch.started_at == 144
    assert outcome(second.killed()) == outcome(disk.out)


@pytest.mark.parametrize("left", [b"\0" * 700, b"000000080.png" + b"\0" * 600, bytes(range(256)) * 300])
def test_what_a_killed_process_wrote_into_a_shard_after_its_mark_is_dropped(write, disk, left):
    write(disk.out, pack=True, on_drawn=disk.copy_at((PREVIEWED + BATCH, 3)))
    killed = disk.killed()
    mark = json.loads((partial(killed) / "progress.jsonl").read_text().splitlines()[-1])
    shard = partial(killed) / "samples-000000.tar"
    with shard.open("r+b") as file:
        file.truncate(mark["output"]["end"])
        file.seek(0, os.SEEK_END)
        file.write(left)
    write(killed, pack=True)
    assert outcome(killed) == outcome(disk.out)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def spoil_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:70], b"\0" * (len(lines[70]) - 1) + b"\n", *lines[71:]]))


LOST: dict[str, tuple[bool, str, Callable[[Path], object], int]] = {
    "empty": (False, "000070.png", lambda path: os.truncate(path, 0), PREVIEWED),
    "short": (False, "000070.png", shorten, PREVIEWED),
    "gone": (False, "000079.png", Path.unlink, PREVIEWED),
    "before the first mark": (False, "000003.png", shorten, 0),
    "after the last mark": (False, "000081.png", lambda path: path.write_bytes(b""), PREVIEWED + BATCH),
    "no JSON": (False, "entries.jsonl", spoil_line, PREVIEWED),
    "entries cut off": (False, "entries.jsonl", shorten, 0),
    "shard cut off": (True, "samples-000000.tar", shorten, 0),
    "end of a shard": (
        True,
        "samples-000000.tar",
        lambda path: os.truncate(path, path.stat().st_size - 20_000),
        PREVIEWED,
    ),
    "shard gone": (True, "samples-000000.tar", Path.unlink, 0),
    "shard's lines": (True, "entries.jsonl", spoil_line, PREVIEWED),
}
"""What a power cut took though there is a mark after it -> how many samples are still there."""


@pytest.mark.parametrize("lost", LOST)
def test_what_a_power_cut_took_is_drawn_again(write, disk, lost):
    pack, name, take, left = LOST[lost]
    write(disk.out, pack=pack, on_drawn=disk.copy_at((PREVIEWED + BATCH, 3)))
    killed, watch = disk.killed(), Watch()
    take(partial(killed) / name)
    write(killed, pack=pack, on_drawn=watch)
    assert watch.started_at == left
    assert outcome(killed) == outcome(disk.out)


def test_marks_follow_a_flush_of_what_they_tell(write, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []

    def note(descriptor: int) -> None:
        lines = [len((partial(out) / name).read_bytes().splitlines()) for name in ("progress.jsonl", "entries.jsonl")]
        seen.append((*lines, len(list(partial(out).glob("0*.png")))))

    monkeypatch.setattr(anytime_core.data.files, "_syncfs", lambda: note)
    write(out, 96)
    assert seen[:3] == [(0, 64, 64), (1, 80, 80), (2, 96, 96)]


@pytest.mark.parametrize(("share", "marks"), [(1.0, 7), (0.1, 2)])
def test_marks_are_as_rare_as_flushes_are_slow(write, tmp_path, monkeypatch, share, marks):
    """Nothing takes time but flushes: the third mark has to wait for work that takes nine times as long as one."""
    clock = [0.0]

    def flush(folder: Path) -> None:
        clock.append(clock[-1] + 1.0)

    monkeypatch.setattr("anytime_core.jobs.marks._FLUSHING_SHARE", share)
    monkeypatch.setattr("anytime_core.jobs.marks.flush_all", flush)
    monkeypatch.setattr("anytime_core.jobs.marks.time", SimpleNamespace(perf_counter=lambda: clock[-1]))
    write(tmp_path / "out", NUM)
    assert len(clock) - 1 == marks


class StopAtOnce:
    """Stops a call after its first code."""

    def __init__(self) -> None:
        self.drawn = 0

    def on_drawn(self, done: int, drawn: int) -> None:
        self.drawn += 1

    def stopped(self) -> bool:
        return self.drawn > 0

    def arguments(self) -> dict[str, Any]:
        return {"on_drawn": self.on_drawn, "stopped": self.stopped}


@FORMS
@pytest.mark.parametrize("before", [40, 95], ids=["before the first mark", "after a mark"])
def test_a_job_that_goes_on_and_is_stopped_has_no_files_but_those_it_tells(
    write, disk, making, small_shards, pack, progressive, before
):
    """What the killed process wrote after its mark is gone, though the job does not get that far again."""
    last = before * (6 if progressive else 1)
    with making(lambda made: disk.copy() if made == last else None):
        write(disk.out, 100, pack=pack, progressive=progressive)
    killed = disk.killed()
    done = 80 if before > PREVIEWED else 0
    write(killed, 100, pack=pack, progressive=progressive, batch_size=1, **StopAtOnce().arguments())
    record = record_of(killed)
    assert (record["num"], record["interrupted"]) == (done + 1, True)
    told = {entry["file"].partition("/")[0] for entry in record["samples"]}
    found = names(killed) - {"preview.png", "samples.json"}
    if pack:
        assert found == told
        assert {name.partition(".")[0] for name in members(killed)} == {f"{index:09d}" for index in range(done + 1)}
    else:
        assert {name[:6] for name in found} == {name[:6] for name in told}
    assert names(killed.parent) == {"out"}


def test_two_processes_cannot_be_at_the_same_job(write, tmp_path):
    refused = []

    def call_again(done: int, drawn: int) -> None:
        if (done, drawn) == (16, 2):
            with pytest.raises(UsageError) as error:
                write(tmp_path / "out", 40)
            refused.append(str(error.value))

    write(tmp_path / "out", 40, on_drawn=call_again)
    (message,) = refused
    assert str(tmp_path / "out") in message
    assert message.startswith(f"process {os.getpid()} on ")
    assert "\n" not in message
    assert record_of(tmp_path / "out")["num"] == 40
    assert names(tmp_path) == {"out"}


def test_two_processes_can_be_at_different_jobs_of_one_folder(write, tmp_path):
    inner = []

    def write_the_other_half(done: int, drawn: int) -> None:
        if not inner:
            inner.append(done)
            write(tmp_path / "out", indices=range(1, 40, 2))

    write(tmp_path / "out", indices=range(0, 40, 2), on_drawn=write_the_other_half)
    write(tmp_path / "expected", 40)
    assert files(tmp_path / "out", "0*.png") == files(tmp_path / "expected", "0*.png")


def test_the_command_says_that_another_process_is_at_the_job(anytime, run, tmp_path):
    results = []

    def call_again(done: int, drawn: int) -> None:
        if drawn == 2:
            results.append(anytime("sample", "--run", run.folder, "--num", 4, "--out", tmp_path / "out"))

    write_samples(run, tmp_path / "out", range(4), 1.0, on_drawn=call_again)
    (result,) = results
    assert (result.status, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith(f"error: process {os.getpid()} on ")
    assert " is writing the same to " in line


# Stopping


@pytest.mark.parametrize("pack", [False, True], ids=["files", "tar"])
@pytest.mark.parametrize(("stop_at", "num"), [((0, 3), BATCH), ((80, 1), 96), ((144, 5), NUM)])
def test_a_stopped_job_ends_with_the_batch_that_was_begun(write, tmp_path, small_shards, pack, stop_at, num):
    watch = Watch()
    record = write(tmp_path / "out", pack=pack, stopped=lambda: stop_at in watch.seen, on_drawn=watch)
    assert (record["num"], record["interrupted"]) == (num, True)
    told = record_of(tmp_path / "out")["samples"]
    begun = (num - 1) // BATCH * BATCH
    assert [entry["codes"] for entry in told] == [CODES] * begun + [stop_at[1]] * (num - begun)
    found = (
        [name for name in members(tmp_path / "out") if name.endswith(".png")] if pack else files(tmp_path / "out", "0*")
    )
    assert len(found) == num
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize("budget", ["1.0", "8codes", "adaptive:0.000001", "1000s"])
def test_a_job_that_was_stopped_in_its_last_batch_says_so(write, fresh, tmp_path, budget):
    record = write(tmp_path / "out", 4, budget, of=fresh, **StopAtOnce().arguments())
    assert (record["num"], record["calls"], record["interrupted"]) == (4, 1, True)


def test_a_call_that_is_stopped_when_all_is_drawn_is_not_interrupted(write, tmp_path):
    watch = Watch()
    record = write(tmp_path / "out", 20, stopped=lambda: (BATCH, CODES) in watch.seen, on_drawn=watch)
    assert (record["num"], record["interrupted"]) == (20, False)


# Deadlines


@pytest.mark.parametrize("batch_size", [4, None])
def test_a_deadline_that_is_over_at_once_draws_one_code_of_every_sample(write, fresh, tmp_path, batch_size):
    record = write(tmp_path / "out", 20, "0.001ms", of=fresh, batch_size=batch_size)
    assert (record["num"], record["calls"], record["codes"], record["interrupted"]) == (20, 1, CODES, False)
    write(tmp_path / "expected", 20, "1codes")
    assert files(tmp_path / "out", "0*.png") == files(tmp_path / "expected", "0*.png")
    assert [entry["codes"] for entry in record_of(tmp_path / "out")["samples"]] == [1] * 20


def test_a_deadline_far_away_buys_all_codes(write, fresh, tmp_path):
    record = write(tmp_path / "out", 20, "1000s", of=fresh)
    assert (record["budget"], record["calls"], record["interrupted"]) == ("1000s", CODES, False)
    write(tmp_path / "expected", 20)
    assert files(tmp_path / "out", "0*.png") == files(tmp_path / "expected", "0*.png")


@pytest.mark.parametrize(("cost", "drawn"), [(None, False), (150.0, True), (300.0, False)])
def test_with_a_deadline_a_preview_is_drawn_where_it_is_known_to_take_little_of_the_time(
    write, fresh, tmp_path, cost, drawn
):
    if cost is not None:
        fresh.costs.note("preview", 4, cost)
    record = write(tmp_path / "out", 4, "1000s", of=fresh)
    assert record["preview"] == ("preview.png" if drawn else None)
    expected = {*(f"{index:06d}.png" for index in range(4)), "samples.json"}
    assert names(tmp_path / "out") == expected | ({"preview.png"} if drawn else set())


@pytest.mark.parametrize("pack", [False, True], ids=["files", "tar"])
def test_what_calls_with_a_deadline_cost_is_remembered_in_the_run_folder(write, fresh, tmp_path, pack):
    write(tmp_path / "out", 4, "1000s", of=fresh, pack=pack)
    again = load(fresh.folder, device="cpu")
    for work, batch in (("decode", 4), ("write", 4), ("write", 1), ("finish", 1)):
        assert again.costs.expected(work, batch) > 0
    assert again.costs.expected("preview", 1) is None
    write(tmp_path / "other", 4, of=again, pack=pack)
    assert load(fresh.folder, device="cpu").costs.expected("preview", 1) > 0


def test_a_run_folder_that_cannot_be_written_to_is_no_error(write, fresh, tmp_path):
    shutil.rmtree(fresh.folder)
    assert write(tmp_path / "out", 4, "1000s", of=fresh)["num"] == 4
    assert not fresh.folder.exists()


@pytest.mark.parametrize(("budget", "waits"), [("1000s", False), ("1.0", True)])
def test_only_calls_without_a_deadline_wait_for_the_disk(write, fresh, tmp_path, monkeypatch, budget, waits):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    write(tmp_path / "out", 4, budget, of=fresh)
    assert bool(flushed) == waits


def test_an_error_in_a_call_with_a_deadline_leaves_nothing(write, fresh, tmp_path, making):
    error = OSError(errno.ENOSPC, "No space left on device")
    with making(raising(error, 100)), pytest.raises(OSError, match="No space left"):
        write(tmp_path / "new" / "out", NUM, "1000s", of=fresh)
    assert not (tmp_path / "new").exists()


def test_adaptive_samples_have_codes_of_their_own(write, run, tmp_path, monkeypatch):
    """Where every code is worth the same on average, the prior's entropy alone ends some samples before others."""
    entropy = measured_gains(run.record, CODES).entropy
    monkeypatch.setattr(run_module, "measured_gains", lambda record, length: Gains(torch.ones(length), entropy))
    record = write(tmp_path / "out", 40, "adaptive:1", pack=True)
    lengths = [entry["codes"] for entry in record_of(tmp_path / "out")["samples"]]
    assert (record["num"], record["interrupted"], record["calls"]) == (40, False, max(lengths))
    assert Budget.parse(record["budget"]) == Budget(1, "adaptive")
    assert len(set(lengths)) > 1
    found = members(tmp_path / "out")
    assert [json.loads(found[f"{index:09d}.json"])["codes"] for index in range(40)] == lengths
    for codes in set(lengths):
        write(tmp_path / str(codes), 40, f"{codes}codes", pack=True)
        same = members(tmp_path / str(codes))
        for index in (index for index in range(40) if lengths[index] == codes):
            assert found[f"{index:09d}.png"] == same[f"{index:09d}.png"]
