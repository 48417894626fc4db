"""WebDataset's tar shards as a source of images and sounds: samples, labels, parts, the index, and damaged shards."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler

import anytime_audio.config
import anytime_audio.datasets
import anytime_image.config
import anytime_image.datasets
from anytime_core.damaged import remembering_damaged, say_damaged
from anytime_core.data import shard_index
from anytime_core.errors import DataError, UsageError
from anytime_core.jobs.sampling import write_samples
from anytime_core.modality import Datasets, SampleDataset
from anytime_core.run import Run, load
from anytime_core.sampling.options import SamplingOptions
from anytime_core.training.batches import ordered_batches
from anytime_core.training.train import train_stages

webdataset = pytest.importorskip("webdataset")

Sample = Mapping[str, bytes]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@dataclass(frozen=True)
class Kind:
    """A modality: how a number becomes a file's content, and a sample that number again."""

    suffix: str
    content: Callable[[int], bytes]
    number: Callable[[torch.Tensor], int]
    load: Callable[..., Datasets]

    def sample(self, number: int, label: str | None = None) -> Sample:
        return {self.suffix: self.content(number), **({} if label is None else {"cls": label.encode()})}

    def numbers(self, dataset: SampleDataset) -> list[int]:
        return [self.number(dataset[index]["x"]) for index in range(len(dataset))]


def picture(number: int, form: str = "PNG", size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (size, size), number).save(buffer, form)
    return buffer.getvalue()


def load_images(root: Path | None, name: str = "webdataset", **changes: object) -> Datasets:
    config = anytime_image.config.DataConfig(name=name, root=root, **{"size": 8, "color": "grey", **changes})
    return anytime_image.datasets.load_datasets(config)


def sound(number: int, form: str = "WAV", length: int = 256) -> bytes:
    """A pulse, and after it another, by `number` lower."""
    values = np.zeros(length, np.float32)
    values[0], values[1] = 0.5, 0.005 * number
    buffer = io.BytesIO()
    soundfile.write(buffer, values, 8000, format=form)
    return buffer.getvalue()


def load_sounds(root: Path | None, name: str = "webdataset", **changes: object) -> Datasets:
    made = {"rate": 8000, "length": 256, "top_db": None, **changes}
    return anytime_audio.datasets.load_datasets(anytime_audio.config.DataConfig(name=name, root=root, **made))


IMAGE = Kind("png", picture, lambda x: round((float(x[0, 0, 0]) + 1) * 127.5), load_images)
AUDIO = Kind("wav", sound, lambda x: round(float(x[0, 1]) / 0.95 * 100), load_sounds)
KINDS = pytest.mark.parametrize("kind", [IMAGE, AUDIO], ids=["image", "audio"])


def write_shard(path: Path, samples: Mapping[str, Sample]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for key, sample in samples.items():
            writer.write({"__key__": key, **sample})
    return path


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> Path:
    """Any members, such as the library would not write."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def fill(root: Path, kind: Kind, number: int = 12, per_shard: int = 4, labels: Sequence[str] = ()) -> Path:
    """Shards of samples 0, 1, ..., labelled in turn."""
    for shard, start in enumerate(range(0, number, per_shard)):
        part = range(start, min(start + per_shard, number))
        samples = {f"{i:03d}": kind.sample(i, labels[i % len(labels)] if labels else None) for i in part}
        write_shard(root / f"shard-{shard:03d}.tar", samples)
    return root


def named_labels(kind: Kind, found: Datasets) -> dict[int, str]:
    return {
        kind.number(item["x"]): found.classes[int(item["label"])]
        for part in (found.train, found.validation)
        for item in (part[index] for index in range(len(part)))
    }


# Samples


@pytest.mark.parametrize(
    ("kind", "content", "forms"),
    [(IMAGE, picture, ("png", "jpeg", "webp")), (AUDIO, sound, ("wav", "flac", "ogg", "mp3"))],
    ids=["image", "audio"],
)
def test_shards_give_what_a_folder_of_the_same_files_gives(kind, content, forms, tmp_path):
    folder, packed = tmp_path / "folder", tmp_path / "packed"
    for part in ("train", "test"):
        samples = {f"{i:03d}": {form: content(20 * i + 9, form.upper())} for i, form in enumerate(forms * 2)}
        write_shard(packed / f"{part}-0.tar", samples)
        (folder / part).mkdir(parents=True)
        for key, sample in samples.items():
            for suffix, file in sample.items():
                (folder / part / f"{key}.{suffix}").write_bytes(file)
    expected, found = kind.load(folder, "folder"), kind.load(packed)
    for one, other in ((expected.train, found.train), (expected.validation, found.validation)):
        assert len(one) == len(other) == 2 * len(forms)
        assert all(torch.equal(one[i]["x"], other[i]["x"]) for i in range(len(one)))


@KINDS
def test_every_sample_is_in_one_part_once(kind, tmp_path):
    found = kind.load(fill(tmp_path / "data", kind, 30))
    assert found.classes == ()
    assert sorted(kind.numbers(found.train) + kind.numbers(found.validation)) == list(range(30))
    assert 0 < len(found.validation) < 15


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_librarys_rules_say_what_a_sample_is(form, tmp_path):
    long, odd = ("x" * 90 + "/") * 2 + "long" if form != tarfile.USTAR_FORMAT else "long", "./some.where/é"
    write_tar(
        tmp_path / "a.tar",
        [
            ("__version__", b"1"),
            ("__meta__/notes.png", b"no picture"),
            ("README", b"no suffix"),
            (f"{odd}.12codes.png", picture(99)),
            (f"{odd}.PNG", picture(1)),
            (f"{odd}.json", b"{}"),
            (f"{odd}.CLS", b" dog\n"),
            (f"{long}.cls", b"cat"),
            (f"{long}.png", picture(2)),
            (f"{long}er.cls", b"cat"),
            (f"{long}er.png", picture(3)),
        ],
        form,
    )
    found = load_images(tmp_path)
    assert named_labels(IMAGE, found) == {1: "dog", 2: "cat", 3: "cat"}
    samples = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False, empty_check=False))
    assert [sample["png"] for sample in samples] == [picture(1), picture(2), picture(3)]


def test_a_key_may_come_again_in_another_shard(tmp_path):
    for number in range(3):
        write_shard(tmp_path / f"{number}.tar", {"same": IMAGE.sample(number)})
    found = load_images(tmp_path)
    assert sorted(IMAGE.numbers(found.train) + IMAGE.numbers(found.validation)) == [0, 1, 2]


def test_samples_that_were_packed_are_a_source_again(tiny_run: Run, tmp_path):
    options = SamplingOptions(engine="eager")
    write_samples(tiny_run, tmp_path / "files", range(20), "1.0", options)
    write_samples(tiny_run, tmp_path / "packed", range(20), "1.0", options, pack=True, progressive=True)
    found = load_images(tmp_path / "packed")
    pictures = [tiny_run.modality.read(tmp_path / "files" / f"{index:06d}.png") for index in range(20)]
    assert found.classes == tuple("0123456789")
    items = [part[index] for part in (found.train, found.validation) for index in range(len(part))]
    positions = [next(i for i, x in enumerate(pictures) if torch.equal(x, item["x"])) for item in items]
    assert sorted(positions) == list(range(20))
    assert [item["label"] for item in items] == [position % 10 for position in positions]


# Labels


@KINDS
@pytest.mark.parametrize(
    ("written", "listed", "classes", "expected"),
    [
        (["dog", "cat"], None, ("cat", "dog"), ["dog", "cat"]),
        (["2", "10", "02"], None, ("2", "10"), ["2", "10", "2"]),
        (["0", "1"], "cat\ndog\ncow\n", ("cat", "dog"), ["cat", "dog"]),
        (["dog", "2"], "cat\ndog\ncow\n", ("dog", "cow"), ["dog", "cow"]),
    ],
    ids=["names", "numbers", "numbers of names", "names that are listed"],
)
def test_a_label_is_a_name_or_a_number(kind, written, listed, classes, expected, tmp_path):
    root = fill(tmp_path / "data", kind, labels=written)
    if listed is not None:
        (root / "classes.txt").write_text(listed)
    found = kind.load(root)
    assert found.classes == classes
    assert found.found.passed_over == ()
    assert named_labels(kind, found) == {i: expected[i % len(expected)] for i in range(12)}


def test_names_may_also_lie_where_published_shards_have_them(tmp_path):
    root = fill(tmp_path, IMAGE, labels=["0", "1"])
    (root / "classnames.txt").write_text("plane\ncar\n")
    assert load_images(root).classes == ("plane", "car")


@KINDS
@pytest.mark.parametrize(
    ("without", "classes", "passed_over", "notes"),
    [
        (1, ("a", "b"), {"{noun}s without .cls": 1}, ("nothing is held out of 1 of 2 classes (a)",)),
        (5, (), {}, ("labels are not used: 5 of 9 {noun}s have none ({noun}s without .cls)",)),
        (9, (), {}, ()),
    ],
)
def test_samples_without_a_label_are_left_out_unless_they_are_the_most(
    kind, without, classes, passed_over, notes, tmp_path
):
    samples = {str(i): kind.sample(i, "ab"[i % 2] if i >= without else None) for i in range(9)}
    write_shard(tmp_path / "a.tar", samples)
    noun = "image" if kind is IMAGE else "sound"
    data = kind.load(tmp_path)
    assert data.classes == classes
    assert sorted(kind.numbers(data.train) + kind.numbers(data.validation)) == list(range(without if classes else 0, 9))
    assert {entry.reason: entry.count for entry in data.found.passed_over} == {
        reason.format(noun=noun): count for reason, count in passed_over.items()
    }
    assert data.found.notes == tuple(note.format(noun=noun) for note in notes)


@KINDS
def test_a_class_that_is_only_held_out_is_no_class(kind, tmp_path):
    write_shard(tmp_path / "train.tar", {str(i): kind.sample(i, "ab"[i % 2]) for i in range(4)})
    write_shard(tmp_path / "val.tar", {str(i): kind.sample(i, "bc"[i % 2]) for i in range(4, 6)})
    data = kind.load(tmp_path)
    assert data.classes == ("a", "b")
    assert named_labels(kind, data) == {0: "a", 1: "b", 2: "a", 3: "b", 4: "b"}
    assert data.found.classes == {"a": (2, 0), "b": (2, 1)}
    (entry,) = data.found.passed_over
    assert (entry.reason.partition(" ")[2], entry.count) == ("of classes that nothing is trained on (c)", 1)
    assert entry.examples == (f"val.tar/5.{kind.suffix}",)


def test_one_class_is_no_label(tmp_path):
    found = load_images(fill(tmp_path, IMAGE, labels=["cat"]))
    assert found.classes == ()
    assert "label" not in found.train[0]


# Parts


@pytest.mark.parametrize(
    ("train_shard", "validation_shard"),
    [
        ("train-000.tar", "test-000.tar"),
        ("a-000.tar", "val-000.tar"),
        ("a-000.tar", "DEV/000.tar"),
        ("TRAIN/a-000.tar", "Testing/000.tar"),
        ("test/train-000.tar", "test/val-000.tar"),
        ("latest_train_0.tar", "latest_VALIDATION_0.tar"),
        ("train/0.tar", "test/0.tar"),
        ("contest.tar", "valid.tar"),
    ],
)
def test_shards_named_after_the_parts_become_the_parts(train_shard, validation_shard, tmp_path):
    write_shard(tmp_path / train_shard, {str(i): IMAGE.sample(i) for i in range(5)})
    write_shard(tmp_path / validation_shard, {str(i): IMAGE.sample(i) for i in range(5, 9)})
    found = load_images(tmp_path)
    assert IMAGE.numbers(found.train) == [0, 1, 2, 3, 4]
    assert IMAGE.numbers(found.validation) == [5, 6, 7, 8]


def test_shards_of_other_parts_are_not_used_and_it_is_said(tmp_path):
    for number, name in enumerate(["train-0", "Train-1", "val-0", "test-0", "test-1", "unlabelled-0"]):
        write_shard(tmp_path / f"{name}.tar", {"0": IMAGE.sample(number)})
    (tmp_path / ".hidden.tar").write_bytes(b"")
    (tmp_path / "more").mkdir()
    write_shard(tmp_path.parent / "store" / "train-9.tar", {"0": IMAGE.sample(9)})
    (tmp_path / "more" / "linked").symlink_to(tmp_path.parent / "store")
    found = load_images(tmp_path)
    assert sorted(IMAGE.numbers(found.train)) == [0, 1, 9]
    assert IMAGE.numbers(found.validation) == [2]
    assert found.found.notes == ("shards named val are held out, those named train are trained on",)
    assert {entry.reason: entry.count for entry in found.found.passed_over} == {
        "shards named test": 2,
        "shards not named for a part": 1,
        "hidden and system files": 1,
    }


def test_the_digest_of_shards_follows_what_is_in_them_and_not_where_they_lie(tmp_path):
    def digest(root: str, labels: Sequence[str] = "ab", number: int = 12) -> str:
        return load_images(fill(tmp_path / root, IMAGE, number, labels=labels)).found.digest

    first = digest("here")
    assert digest("there/deeper") == first
    assert (
        len({first, digest("labels", "ba"), digest("classes", "ac"), digest("none", ""), digest("more", number=13)})
        == 5
    )


def test_what_was_found_in_shards_comes_with_the_data(tmp_path):
    root = fill(tmp_path / "data", IMAGE, labels="ab")
    (root / "notes.txt").write_bytes(b"notes")
    found = load_images(root).found
    assert found.root == root
    assert (found.train + found.validation, sum(found.forms.values())) == (12, 12)
    assert [*found.forms] == ["8x8"]
    assert [entry.reason for entry in found.passed_over] == ["other files (1 .txt)"]


def test_a_share_is_held_out_where_all_shards_are_named_alike(tmp_path):
    write_shard(tmp_path / "test-0.tar", {str(i): IMAGE.sample(i) for i in range(60)})
    found = load_images(tmp_path, validation_share=0.5)
    assert 15 < len(found.validation) < 45
    assert sorted(IMAGE.numbers(found.train) + IMAGE.numbers(found.validation)) == list(range(60))


def test_the_parts_stay_when_shards_are_moved_and_added(tmp_path):
    fill(tmp_path / "here", IMAGE, 40)
    first = IMAGE.numbers(load_images(tmp_path / "here").validation)
    (tmp_path / "here").rename(tmp_path / "there")
    assert IMAGE.numbers(load_images(tmp_path / "there").validation) == first
    write_shard(tmp_path / "there" / "more.tar", {str(i): IMAGE.sample(i) for i in range(40, 80)})
    more = IMAGE.numbers(load_images(tmp_path / "there").validation)
    assert [number for number in more if number < 40] == first


@pytest.mark.parametrize(("number", "share"), [(2, 0.001), (2, 0.999), (9, 1e-9)])
def test_neither_part_is_ever_empty(number, share, tmp_path):
    found = load_images(fill(tmp_path, IMAGE, number), validation_share=share)
    assert len(found.train) > 0
    assert len(found.validation) > 0
    assert len(found.train) + len(found.validation) == number


# Workers, processes and memory


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_and_workers_together_give_every_sample_once_an_epoch(workers, tmp_path):
    dataset = load_images(fill(tmp_path, IMAGE, 40), validation_share=1e-9).train
    expected = sorted(IMAGE.numbers(dataset))
    for epoch in range(2 if workers == 0 else 1):
        seen = []
        for process in range(3):
            sampler = DistributedSampler(dataset, num_replicas=3, rank=process, seed=1)
            sampler.set_epoch(epoch)
            for batch in DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers):
                seen += [IMAGE.number(x) for x in batch["x"]]
        assert len(expected) == 39
        assert sorted(seen) == expected


@KINDS
def test_a_data_set_goes_to_another_process_and_has_the_same_items_there(kind, tmp_path):
    found = kind.load(fill(tmp_path / "data", kind, labels="ab")).train
    there = pickle.loads(pickle.dumps(found))
    assert kind.numbers(there) == kind.numbers(found)
    assert [there[i]["label"] for i in range(len(there))] == [found[i]["label"] for i in range(len(found))]


def test_images_are_neither_decoded_nor_held_before_they_are_asked_for(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_shard(tmp_path / "a.tar", {str(i): {"png": buffer.getvalue()} for i in range(20)})
    decoded = []
    read_image = anytime_image.datasets.read_image
    monkeypatch.setattr(
        anytime_image.datasets, "read_image", lambda file, *how: decoded.append(file) or read_image(file, *how)
    )
    train = load_images(tmp_path).train
    assert decoded == []
    for index in range(len(train)):
        assert train[index]["x"].shape == (1, 8, 8)
    assert decoded == list(train.files)
    assert len(pickle.dumps(train)) < 2000 < len(buffer.getvalue())


def test_sounds_are_prepared_once_into_the_cache_on_disk(tmp_path, monkeypatch):
    root = fill(tmp_path / "data", AUDIO)
    first = load_sounds(root)
    assert isinstance(first.train.clips, np.memmap)
    monkeypatch.setattr(anytime_audio.datasets.clips, "prepare", None)
    again = load_sounds(root)
    assert AUDIO.numbers(again.train) == AUDIO.numbers(first.train)


def test_a_run_is_trained_on_shards(tmp_path):
    fill(tmp_path / "data", IMAGE, 24, labels=["dark", "light"])
    quick = [f"training.{stage}.{key}" for stage in ("autoencoder", "prior") for key in ("steps=3", "batch_size=8")]
    data = ("name=webdataset", f"root={tmp_path / 'data'}", "size=8", "color=grey", "validation_share=0.3")
    config = tiny_config(*quick, *(f"data.{change}" for change in data), "training.workers=0")
    train_stages(config, tmp_path / "run")
    run = load(tmp_path / "run", device="cpu")
    assert tuple(run.record.classes) == ("dark", "light")
    assert run.sample(2, label="light", seed=0).x.shape == (2, 1, 8, 8)


# The index


@pytest.fixture
def indexed(monkeypatch) -> list[str]:
    """Names of shards in the order in which they are indexed."""
    seen: list[str] = []
    make = shard_index._make_index

    def watched(shard: Path, *arguments: Any) -> Any:
        seen.append(shard.name)
        return make(shard, *arguments)

    monkeypatch.setattr(shard_index, "_make_index", watched)
    return seen


def test_a_shard_is_indexed_once_and_again_where_it_changed(tmp_path, indexed):
    root = fill(tmp_path / "data", IMAGE, labels="ab")
    first = load_images(root)
    assert indexed == ["shard-000.tar", "shard-001.tar", "shard-002.tar"]
    again = load_images(root)
    assert len(indexed) == 3
    assert named_labels(IMAGE, again) == named_labels(IMAGE, first)
    write_shard(root / "shard-001.tar", {"new": IMAGE.sample(77, "b")})
    assert named_labels(IMAGE, load_images(root))[77] == "b"
    assert indexed[3:] == ["shard-001.tar"]


def changed(**arrays: Any) -> Callable[[Path], object]:
    """An index that can be read, with other arrays in it."""

    def change(index: Path) -> None:
        np.savez(index, **{**np.load(index), **arrays})

    return change


DAMAGED: Mapping[str, Callable[[Path], object]] = {
    "empty": lambda index: index.write_bytes(b""),
    "text": lambda index: index.write_bytes(b"damaged"),
    "a torn archive": lambda index: index.write_bytes(b"PK\x03\x04 damaged"),
    "half of it": lambda index: os.truncate(index, index.stat().st_size // 2),
    "one array alone": lambda index: np.savez(index, offsets=np.zeros(4, np.int64)),
    "another array": changed(more=np.zeros(1)),
    "one rank too few": changed(ranks=np.zeros(3, np.uint32)),
    "wide ranks": changed(ranks=np.zeros(4, np.uint64)),
    "offsets twice": changed(offsets=np.zeros(4, np.int64)),
    "offsets before the start": changed(offsets=np.array([-1, 0, 1, 2])),
    "offsets beyond the end": changed(offsets=np.array([0, 1024, 2048, 2**40])),
    "offsets that are no numbers": changed(offsets=np.array([0.0, 1024, 2048, 4096])),
    "offsets in a table": changed(offsets=np.zeros((4, 1), np.int64)),
    "a label without a name": changed(labels=np.array([0, 1, 2, 0], np.int32)),
    "a label below none": changed(labels=np.array([0, 1, -2, 0], np.int32)),
    "a name twice": changed(names=np.array(["a", "a"])),
    "a name that is none": changed(names=np.array(["a", "\x1b"])),
    "names that are numbers": changed(names=np.array([1, 2])),
    "fewer than none passed over": changed(passed_over=np.array([0, 0, -1])),
    "examples of something else": changed(examples=np.array(["a"])),
    "a pickle": changed(examples=np.array([None, None, None])),
    "a pipe": lambda index: (index.unlink(), os.mkfifo(index)),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_index_is_made_again(damage, tmp_path, indexed):
    root = fill(tmp_path / "data", IMAGE, 4, labels="ab")
    first = load_images(root)
    (index,) = (tmp_path / "cache").rglob("*.npz")
    damage(index)
    again = load_images(root)
    assert named_labels(IMAGE, again) == named_labels(IMAGE, first)
    assert len(indexed) == 2
    load_images(root)
    assert len(indexed) == 2


@pytest.mark.parametrize("start", range(4))
def test_flipped_bits_in_an_index_do_no_harm(start, tmp_path):
    root = fill(tmp_path / "data", IMAGE, 4, labels="ab")
    expected = named_labels(IMAGE, load_images(root))
    (index,) = (tmp_path / "cache").rglob("*.npz")
    whole = index.read_bytes()
    for place in range(start, len(whole), 4 * 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        index.write_bytes(damaged)
        assert named_labels(IMAGE, load_images(root)) == expected


def test_an_index_that_cannot_be_kept_is_made_each_time(tmp_path, indexed, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    root = fill(tmp_path / "data", IMAGE, 4)
    for times in (1, 2):
        found = load_images(root)
        assert len(found.train) + len(found.validation) == 4
        assert len(indexed) == times


# What is wrong


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset.tariterators", None)
    with pytest.raises(UsageError, match=r"data\.name=webdataset needs .*pip install 'anytime-toolkit\[webdataset\]'"):
        load_images(fill(tmp_path, IMAGE))


@pytest.mark.parametrize("root", ["pipe:touch {}", "http://example.org/data", "s3://bucket/data", "missing", "file"])
@KINDS
def test_only_a_folder_is_a_source_and_no_address_is_opened(kind, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    marker = tmp_path / "marker"
    with pytest.raises(DataError, match="is not a folder") as error:
        kind.load(Path(root.format(marker)))
    assert ("copy them" in str(error.value)) is (":" in root)
    assert not marker.exists()


def test_a_folder_that_is_not_given_is_asked_for():
    with pytest.raises(DataError, match=r"data\.root=DIR"):
        load_images(None)


def two(name: str = "b.png") -> list[tuple[str, bytes]]:
    return [("a.png", picture(1)), (name, picture(2))]


def cut(keep: int) -> Callable[[Path], object]:
    """The first bytes of a shard of two small pictures: two blocks each."""
    return lambda path: path.write_bytes(write_tar(path, two()).read_bytes()[:keep])


def damaged(path: Path) -> None:
    content = bytearray(write_tar(path, two()).read_bytes())
    content[1024 + 10] ^= 0xFF
    path.write_bytes(content)


def compressed(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A member's header; sizes that octal digits do not hold are binary."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[100:108], block[108:124] = b"0000644\0", b"0000000\0" * 2
    block[124:136] = b"%011o\0" % size if 0 <= size < 8**11 else ((size | 1 << 95) % 2**96).to_bytes(12, "big")
    block[136:148], block[156:157], block[257:265] = b"00000000000\0", kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(records: bytes, kind: bytes = b"x") -> bytes:
    """An extended header of these records for the member that follows."""
    return header("x", len(records), kind) + records + bytes(-len(records) % 512)


END = bytes(10240)


def write_links(path: Path, names: Iterable[str], kind: bytes = tarfile.SYMTYPE) -> Path:
    with tarfile.open(path, "a") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "elsewhere.png"
            tar.addfile(member)
    return path


WRONG: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "no shard": (lambda path: path.with_suffix(".txt").write_bytes(b""), "no shards in"),
    "nothing in it": (lambda path: write_tar(path, []), "no images in 1 shard in"),
    "one sample": (lambda path: write_tar(path, two()[:1]), r"x\.tar/a\.png is the only image"),
    "empty file": (cut(0), r"x\.tar cannot be read as a tar file"),
    "text": (lambda path: path.write_bytes(b"no tar\n" * 99), r"x\.tar cannot be read as a tar file"),
    "compressed": (compressed, r"x\.tar cannot be read as a tar file.*; it is compressed: unpack it to a plain \.tar"),
    "compressed by name": (lambda path: compressed(path.with_suffix(".tar.gz")), r"x\.tar\.gz is compressed"),
    "ends in a header": (cut(1024 + 100), r"x\.tar is truncated or damaged at byte 1024: copy or pack it again"),
    "ends in a file": (cut(1024 + 512 + 5), r"x\.tar cannot be read as a tar file.*unexpected end of data"),
    "ends between files": (cut(1024), r"x\.tar is truncated or damaged at byte 1024: copy or pack it again"),
    "damaged header": (damaged, r"x\.tar is truncated or damaged at byte 1024: copy or pack it again"),
    "no picture": (lambda path: write_tar(path, two("b.txt")), r"x\.tar: sample 'b' has no image: looked for .*\.png"),
    "two pictures": (lambda path: write_tar(path, two("a.jpg")), r"x\.tar: sample 'a' has 2 images, not one"),
    "a dotted name": (
        lambda path: write_tar(
            path, [("a.png", b""), ("d/img.2024.PNG", b""), ("d/img.25.png", b""), ("c.d.png", b"")]
        ),
        r"x\.tar: 3 images have further dots in their names, such as 'd/img\.2024\.PNG': WebDataset splits names at "
        r"the first dot, so this is file '2024\.PNG' of sample 'd/img', which has no image; pack them again",
    ),
    "nothing but links": (lambda path: write_links(path, ("a.png", "b.png")), "no images in 1 shard in"),
    "a negative size": (
        lambda path: path.write_bytes(header("a.png", 0) + header("b.png", -512) + END),
        r"x\.tar cannot be read .* member 'b\.png' has a negative size, -512; copy or pack it again",
    ),
    "a negative size of a long name": (
        lambda path: path.write_bytes(header("a.png", 0) + header("long", -1024, b"L") + END),
        r"member 'long' has a negative size, -1024; copy or pack it again",
    ),
    "a negative size in an extended header": (
        lambda path: path.write_bytes(extended(b"14 size=-1024\n") + header("b.png", 0) + END),
        r"the extended header 'x' has an impossible size; copy",
    ),
    "a size beyond the end": (
        lambda path: path.write_bytes(header("a.png", 2**80) + END),
        rf"member 'a\.png' claims {2**80} bytes, beyond the end of the file",
    ),
    "a size beyond the end in an extended header": (
        lambda path: path.write_bytes(extended(b"19 size=9999999999\n") + header("b.png", 0) + END),
        r"member 'b\.png' claims 9999999999 bytes, beyond the end of the file",
    ),
    "a huge extended header": (
        lambda path: path.write_bytes(header("x", 2**30, b"x") + END),
        rf"the header 'x' has {2**30} bytes, more than the 65536",
    ),
    "a huge long name": (
        lambda path: path.write_bytes(header("x", 2**30, b"L") + END),
        rf"the header 'x' has {2**30} bytes, more than the 65536",
    ),
    "an extended header of too long records": (
        lambda path: path.write_bytes(extended(b"99 path=b.png\n") + header("b", 0) + END),
        r"the extended header 'x' is damaged; copy",
    ),
    "an extended header of records inside of each other": (
        lambda path: path.write_bytes(extended(b"2 2 2 2 2 path=b.png\n") + header("b", 0) + END),
        r"the extended header 'x' is damaged; copy",
    ),
    "an extended header that takes long to search": (
        lambda path: path.write_bytes(extended(b"507 path=" + b"1" * 497 + b"\n") + header("b", 0) + END),
        r"the extended header 'x' is damaged; copy",
    ),
    "global records without end": (
        lambda path: path.write_bytes(
            b"".join(extended(b"10 a%03d=1\n" % i, b"g") for i in range(300)) + header("b", 0) + END
        ),
        r"x\.tar cannot be read as a tar file from byte 0 on: ",
    ),
    "extended headers without end": (
        lambda path: path.write_bytes(extended(b"14 path=b.png\n") * 2000 + header("b", 0) + END),
        r"x\.tar cannot be read as a tar file from byte 0 on: maximum recursion",
    ),
    "a sparse member": (
        lambda path: path.write_bytes(header("a.png", 512, b"S") + bytes(512) + END),
        r"member 'a\.png' is sparse, so not all of it is there",
    ),
    "a sparse member of an extended header": (
        lambda path: path.write_bytes(extended(b"22 GNU.sparse.major=1\n") + header("a.png", 0) + END),
        r"member 'x' is sparse",
    ),
    "a terminal's escape": (
        lambda path: write_tar(path, [("\x1b]0;title\x07.txt", b"")]),
        r"x\.tar: sample '\\x1b\]0;title\\x07' has no image",
    ),
    "a file twice": (lambda path: write_tar(path, two("a.png")), r"x\.tar has a file twice: 'a\.png'; pack it again"),
    "a key again": (
        lambda path: write_tar(path, [*two(), ("a.cls", b"1")]),
        r"x\.tar has sample 'a' twice: pack it again",
    ),
    "a place above": (lambda path: write_tar(path, two("../b.png")), r"x\.tar: member '\.\./b\.png' names a place"),
    "an absolute place": (
        lambda path: write_tar(path, two("/etc/b.png")),
        r"x\.tar: member '/etc/b\.png' names a place",
    ),
    "a long label": (
        lambda path: write_tar(path, [*two(), ("b.cls", b"1" * 2000)]),
        r"x\.tar: member 'b\.cls' has 2000",
    ),
    "an empty label": (
        lambda path: write_tar(path, [*two(), ("b.cls", b" \n")]),
        r"x\.tar: member 'b\.cls' is not a label",
    ),
    "a pickled label": (
        lambda path: write_tar(path, [*two(), ("b.cls", pickle.dumps(1))]),
        r"x\.tar: member 'b\.cls' is not a label",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_the_shards_is_one_line_that_names_the_place(name, tmp_path):
    write, message = WRONG[name]
    write(tmp_path / "x.tar")
    with pytest.raises(DataError, match=message) as error:
        load_images(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def passed_over(index: Path) -> list[tuple[int, str]]:
    """How many members were not used for each reason that there was, with an example."""
    stored = np.load(index)
    return [pair for pair in zip(stored["passed_over"].tolist(), stored["examples"].tolist(), strict=True) if pair[0]]


@pytest.mark.parametrize(
    ("names", "expected", "said"),
    [
        (["._a.png", "d/._b.png", ".c/c.png", ".README"], (4, ".README"), "not used: 4 hidden files, such as .README"),
        (["./c.png"], None, None),
        (
            ["a.mask.png", "a.2.jpg", "a.json", "a.txt.gz"],
            (2, "a.2.jpg"),
            "2 further images of samples, as WebDataset",
        ),
    ],
    ids=["hidden", "here", "dotted"],
)
def test_files_of_shards_that_are_not_used_are_counted_and_said(names, expected, said, tmp_path):
    (tmp_path / "data").mkdir()
    write_tar(tmp_path / "data" / "x.tar", [(name, picture(3)) for name in sorted(["a.png", "b.png", *names])])
    found = load_images(tmp_path / "data")
    (index,) = (tmp_path / "cache").rglob("*.npz")
    assert passed_over(index) == ([expected] if expected else [])
    assert len(found.train) + len(found.validation) == 2 + ("./c.png" in names)
    for again in (found, load_images(tmp_path / "data")):  # made, and read from the cache
        lines = again.found.lines()
        assert said is None or [line for line in lines if said in line], lines


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"A"])
def test_links_and_devices_in_shards_are_left_out_and_said(kind, tmp_path):
    (tmp_path / "data").mkdir()
    write_links(write_tar(tmp_path / "data" / "x.tar", two()), ["c.png", "d.png"], kind)
    found = load_images(tmp_path / "data")
    assert sorted(IMAGE.numbers(found.train) + IMAGE.numbers(found.validation)) == [1, 2]
    assert found.found.lines()[-1] == (
        "not used: 2 members without content (links and devices), such as c.png; "
        "pack the files themselves, with tar --dereference --hard-dereference"
    )


def test_names_of_classes_are_read_with_a_limit(tmp_path):
    fill(tmp_path, IMAGE, labels="01")
    with (tmp_path / "classes.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match=r"classes\.txt cannot be read as names of classes: it is larger than"):
        load_images(tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_index, "_LARGEST_FILE", 50)
    write_tar(tmp_path / "x.tar", [("a.json", b"1" * 60), ("a.png", picture(1))])
    with pytest.raises(DataError, match=r"x\.tar: member 'a\.png' has \d+ bytes, more than the 50"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("label", "listed", "message"),
    [
        ("cow", b"cat\ndog\n", r"shard-000\.tar has label 'cow', .*classes\.txt nor a number under 2"),
        ("2", b"cat\ndog\n", r"shard-000\.tar has label '2', "),
        ("-1", b"cat\ndog\n", r"shard-000\.tar has label '-1', "),
        ("cat", b"cat\ndog\ncat\n", r"classes\.txt names class 'cat' twice"),
        ("cat", b"\xff\xfe", r"classes\.txt cannot be read"),
    ],
)
def test_a_label_that_is_not_listed_is_named(label, listed, message, tmp_path):
    fill(tmp_path, IMAGE, labels=["cat", label] if label != "cat" else ["cat"])
    (tmp_path / "classes.txt").write_bytes(listed)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path)


def test_an_image_that_cannot_be_read_is_named_and_left_out(tmp_path, caplog):
    samples = {f"{i}": IMAGE.sample(i) for i in range(4)}
    write_shard(tmp_path / "train.tar", {**samples, "2": {"png": b"damaged"}})
    write_shard(tmp_path / "test.tar", samples)
    data = remembering_damaged(load_images(tmp_path))
    (batch,) = ordered_batches(data.train, 4, workers=0)
    assert batch["index"].tolist() == [0, 1, 3]
    say_damaged(data)
    assert "1 of 4 training samples cannot be read and is left out" in caplog.text
    assert f"{tmp_path / 'train.tar'}/2.png cannot be read as an image" in caplog.text
    assert "0x" not in caplog.text


def test_a_sound_that_cannot_be_read_is_named_and_left_out(tmp_path):
    samples = {f"{i}": AUDIO.sample(i) for i in range(4)}
    write_shard(tmp_path / "data" / "train.tar", {**samples, "2": {"wav": b"damaged"}})
    write_shard(tmp_path / "data" / "test.tar", samples)
    data = load_sounds(tmp_path / "data")
    assert AUDIO.numbers(data.train) == [0, 1, 3]
    (left_out,) = data.found.passed_over
    assert left_out.examples[0].startswith(f"{tmp_path / 'data' / 'train.tar'}/2.wav cannot be read as a sound")


def test_a_shard_that_is_cut_off_after_it_was_indexed_is_named(tmp_path):
    shard = write_tar(tmp_path / "x.tar", two())
    train = load_images(tmp_path).train
    os.truncate(shard, 0)
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar file from byte \d+ on"):
        train[0]


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.marker,)


def test_nothing_is_unpickled(tmp_path):
    marker = tmp_path / "marker"
    evil = pickle.dumps(Evil(marker))
    pickle.loads(evil)
    marker.unlink()
    sample = dict.fromkeys(("pyd", "pickle", "pkl", "pth", "npy", "ten"), evil)
    write_shard(tmp_path / "a.tar", {str(i): {**IMAGE.sample(i), **sample} for i in range(4)})
    found = load_images(tmp_path)
    assert sorted(IMAGE.numbers(found.train) + IMAGE.numbers(found.validation)) == [0, 1, 2, 3]
    assert not marker.exists()


@settings(deadline=None, max_examples=100)
@given(
    changes=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=6),
    end=st.integers(0, 20_000),
)
def test_whatever_is_wrong_inside_a_shard_is_a_data_error_and_nothing_else(changes, end, tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    members = [("a.png", picture(1)), ("a.cls", b"0"), ("b" * 120 + ".png", picture(2)), ("c.png", picture(3))]
    content = bytearray(write_tar(root / "x.tar", members, tarfile.PAX_FORMAT).read_bytes())
    for place, value in changes:
        content[place] = value
    (root / "x.tar").write_bytes(content[:end])
    with contextlib.suppress(DataError):
        found = load_images(root)
        assert all(0 <= number < 256 for number in IMAGE.numbers(found.train))
