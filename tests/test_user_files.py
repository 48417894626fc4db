"""A user's folder as it lies there: what is listed, what is passed over, and which parts and classes that makes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from anytime_core.data.splitting import held_out
from anytime_core.data.user_files import SplitFiles, split_folder
from anytime_core.errors import DataError
from anytime_core.found import ClassCount, Found, PassedOver, count_forms

CONVERT = "convert them to PNG or JPEG"


def put(root: Path, *names: str, content: bytes = b"content") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}/{number}.png" for number in range(count)]


def split(root: Path, share: float = 0.3) -> SplitFiles:
    return split_folder(root, {".png", ".jpg"}, share=share, noun="image", unread={".heic": CONVERT})


def found(root: Path) -> Found:
    result = split(root).found
    assert result is not None
    return result


def names(split: SplitFiles, root: Path) -> tuple[list[str], list[str]]:
    train, validation = (
        [Path(str(file)).relative_to(root).as_posix() for file in part.files]
        for part in (split.train, split.validation)
    )
    return train, validation


def all_names(split: SplitFiles, root: Path) -> list[str]:
    train, validation = names(split, root)
    return sorted(train + validation)


def counted(found: Found) -> dict[str, int]:
    return {entry.reason: entry.count for entry in found.passed_over}


# What is listed


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/cat/._0.png",
        "__macosx/0.png",
        ".ipynb_checkpoints/0-checkpoint.png",
        "@eaDir/0.png",
        "lost+found/0.png",
        "$RECYCLE.BIN/0.png",
        "System Volume Information/0.png",
        "#recycle/0.png",
        "__pycache__/0.png",
        ".hidden/deeper/0.png",
        "cat/.thumbnails/0.png",
    ],
)
def test_hidden_and_system_folders_are_no_classes_and_nothing_in_them_is_used(name, tmp_path):
    put(tmp_path, *numbered("cat", 4), *numbered("dog", 4), name)
    result = split(tmp_path)
    assert result.classes == ("cat", "dog")
    assert all_names(result, tmp_path) == [*numbered("cat", 4), *numbered("dog", 4)]
    assert counted(found(tmp_path)) == {"hidden and system folders": 1}


def test_what_is_not_used_is_counted_by_kind_with_examples_and_what_would_help(tmp_path):
    put(tmp_path, *numbered("cat", 4), *numbered("dog", 4))
    put(tmp_path, *(f"cat/{number}.HEIC" for number in range(5)), "dog/._0.png", "dog/.DS_Store")
    put(tmp_path, "cat/a.json", "dog/b.json", "dog/b.txt", "LICENSE")
    put(tmp_path, "dog/none.png", content=b"")
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "itself").symlink_to("itself")
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    assert found(tmp_path).passed_over == (
        PassedOver(
            reason="files with suffix .heic, which is not read",
            count=5,
            examples=("cat/0.HEIC", "cat/1.HEIC", "cat/2.HEIC"),
            way_out=CONVERT,
        ),
        PassedOver(reason="hidden and system files", count=2, examples=("dog/.DS_Store", "dog/._0.png")),
        PassedOver(reason="links that lead nowhere", count=2, examples=("cat/gone.png", "cat/itself")),
        PassedOver(reason="empty images", count=1, examples=("dog/none.png",)),
        PassedOver(reason="pipes, devices and sockets", count=1, examples=("dog/pipe.png",)),
        PassedOver(
            reason="other files (2 .json, 1 without suffix, 1 .txt)",
            count=4,
            examples=("LICENSE", "cat/a.json", "dog/b.json"),
        ),
    )


def test_a_folder_that_cannot_be_listed_is_counted_and_the_others_are_used(tmp_path, monkeypatch):
    put(tmp_path, *numbered("cat", 4), *numbered("dog", 4), *numbered("cow", 4))
    scandir = os.scandir

    def refuse(folder: str | Path) -> object:
        if Path(folder).name == "cow":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert split(tmp_path).classes == ("cat", "dog")
    assert counted(found(tmp_path)) == {"files and folders that cannot be read": 1}


def test_links_to_class_folders_and_files_are_followed(tmp_path):
    store = put(tmp_path / "store", *numbered("cat", 4), *numbered("dog", 4))
    root = put(tmp_path / "pictures", *numbered("cow", 4))
    (root / "cat").symlink_to("../store/cat")
    (root / "pets").symlink_to(store / "dog")
    (root / "cow" / "linked.png").symlink_to(store / "dog" / "0.png")
    assert split(root).classes == ("cat", "cow", "pets")
    assert all_names(split(root), root) == [
        *numbered("cat", 4),
        *numbered("cow", 4),
        "cow/linked.png",
        *numbered("pets", 4),
    ]
    assert counted(found(root)) == {}


@pytest.mark.parametrize("link", ["cat/up", "cat/deeper/up", "cat/here"])
@pytest.mark.parametrize("target", [".", "cat"])
def test_links_in_circles_end_and_are_said(link, target, tmp_path):
    put(tmp_path, *numbered("cat", 4), *numbered("dog", 4), "cat/deeper/0.png")
    (tmp_path / link).symlink_to(tmp_path / target)
    result = split(tmp_path)
    assert result.classes == ("cat", "dog")
    assert len(set(all_names(result, tmp_path))) == 9
    assert counted(found(tmp_path)) == {"folders that were read under another name": 1}


def test_folders_that_all_link_to_each_other_are_walked_through_in_no_time(tmp_path):
    folders = [tmp_path / "all" / "in" / str(number) for number in range(12)]
    for folder in folders:
        put(folder, "0.png")
    for folder in folders:
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert found(tmp_path).train + found(tmp_path).validation == 12


def test_two_classes_may_link_to_the_same_store(tmp_path):
    store = put(tmp_path / "store", *numbered(".", 4))
    for name in ("one", "two"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / name).symlink_to(store)
    assert [sum(count) for count in found(tmp_path / "pictures").classes.values()] == [4, 4]


def test_files_come_in_the_order_of_their_paths(tmp_path):
    put(tmp_path, "train/a/2.png", "train/a/10.png", "train/a.png", "train/a-b.png", "train/B.png", "test/a.png")
    expected = ["train/B.png", "train/a/10.png", "train/a/2.png", "train/a-b.png", "train/a.png"]
    assert names(split(tmp_path), tmp_path) == (expected, ["test/a.png"])


# Parts and classes

LAYOUTS: Mapping[str, tuple[list[str], dict[str, int] | int, list[str], dict[str, int]]] = {
    # files -> items of each class in both parts (or of all, without classes), notes, passed over
    "a stray file": (
        [*numbered("cat", 3), *numbered("dog", 3), "cover.png"],
        {"cat": 3, "dog": 3},
        [],
        {"images beside class folders": 1},
    ),
    "mostly stray files": (
        [*numbered(".", 9), *numbered("cat", 3), *numbered("dog", 3)],
        15,
        ["labels are not used: 9 of 15 images have none (images beside class folders)"],
        {},
    ),
    "one folder": (numbered("cat", 3), 3, [], {}),
    "an empty class": (
        [*numbered("cat", 3), *numbered("dog", 3), "cow/notes.txt"],
        {"cat": 3, "dog": 3},
        ["without images and so no class: cow"],
        {"other files (1 .txt)": 1},
    ),
    "classes within one folder": (
        [*numbered("archive/cat", 3), *numbered("archive/dog", 3)],
        6,
        ["all images lie in archive/, so there are no classes: set data.root to it to use the folders in it"],
        {},
    ),
    "single images": (
        ["cat/0.png", "dog/0.png", "cow/0.png"],
        3,
        ["labels are not used: no class has more than one image"],
        {},
    ),
    "only train": (
        [*numbered("Train/cat", 3), *numbered("Train/dog", 3), "cover.png"],
        {"cat": 3, "dog": 3},
        ["only Train/ is used, a share of it is held out"],
        {"images beside Train/": 1},
    ),
    "only train, which holds classes, and others": (
        [*numbered("train/cat", 3), *numbered("train/dog", 3), *numbered("unlabelled", 5)],
        {"cat": 3, "dog": 3},
        ["only train/ is used, a share of it is held out"],
        {"images beside train/": 5},
    ),
    "the class train": (
        [*numbered("bus", 3), *numbered("car", 3), *numbered("train", 3)],
        {"bus": 3, "car": 3, "train": 3},
        ["train/ is a class like the folders beside it: none is named val"],
        {},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_without_parts_is_understood_and_what_was_understood_is_said(layout, tmp_path):
    files, expected, notes, passed_over = LAYOUTS[layout]
    result = found(put(tmp_path, *files))
    assert result.train > 0
    assert result.validation > 0
    assert counted(result) == passed_over
    said = [note for note in result.notes if not note.startswith("nothing is held out of")]
    assert said == notes
    if isinstance(expected, int):
        assert result.classes == {}
        assert result.train + result.validation == expected
    else:
        assert {name: sum(count) for name, count in result.classes.items()} == expected
        assert all(count.train > 0 for count in result.classes.values())


NAMED_PARTS: Mapping[str, tuple[list[str], tuple[list[str], list[str]], tuple[str, ...], list[str], dict[str, int]]] = {
    # files -> what is trained on and held out, classes, notes, passed over
    "other folders beside them": (
        ["Training/0.png", "TEST/0.png", "unlabelled/0.png", "unlabelled/1.png", "cover.png", "docs/notes.txt"],
        (["Training/0.png"], ["TEST/0.png"]),
        (),
        ["Training/ is trained on, TEST/ is held out"],
        {"images beside Training/ and TEST/": 3, "other files (1 .txt)": 1},
    ),
    "two that could be held out": (
        ["train/0.png", "test/0.png", "test/1.png", "Val/0.png"],
        (["train/0.png"], ["Val/0.png"]),
        (),
        ["train/ is trained on, Val/ is held out", "test/ is not used"],
        {"images beside train/ and Val/": 2},
    ),
    "one of which is empty": (
        ["train/0.png", "test/0.png", "val/notes.txt"],
        (["train/0.png"], ["test/0.png"]),
        (),
        ["train/ is trained on, test/ is held out", "val/ is not used"],
        {"other files (1 .txt)": 1},
    ),
    "two that could be trained on": (
        ["train/0.png", "TRAIN/0.png", "dev/0.png"],
        (["TRAIN/0.png"], ["dev/0.png"]),
        (),
        ["TRAIN/ is trained on, dev/ is held out", "train/ is not used"],
        {"images beside TRAIN/ and dev/": 1},
    ),
    "a class that is only held out": (
        ["train/cat/0.png", "train/dog/0.png", "val/cat/0.png", "val/bird/0.png", "val/cow/0.png", "val/0.png"],
        (["train/cat/0.png", "train/dog/0.png"], ["val/cat/0.png"]),
        ("cat", "dog"),
        ["train/ is trained on, val/ is held out", "nothing is held out of 1 of 2 classes (dog)"],
        {"images of classes that nothing is trained on (bird, cow)": 2, "images beside class folders": 1},
    ),
    "classes that are only held out": (
        ["train/0.png", "train/1.png", "val/cat/0.png", "val/dog/0.png"],
        (["train/0.png", "train/1.png"], ["val/cat/0.png", "val/dog/0.png"]),
        (),
        ["train/ is trained on, val/ is held out"],
        {},
    ),
}


@pytest.mark.parametrize("layout", NAMED_PARTS)
def test_folders_named_after_the_parts_become_the_parts(layout, tmp_path):
    files, parts, classes, notes, passed_over = NAMED_PARTS[layout]
    result = split(put(tmp_path, *files))
    assert names(result, tmp_path) == parts
    assert result.classes == classes
    assert list(found(tmp_path).notes) == notes
    assert counted(found(tmp_path)) == passed_over


@pytest.mark.parametrize("train", ["train", "training", "TRAIN"])
@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "dev", "test", "Testing"])
def test_every_name_of_a_part_is_known_in_any_case_of_letters(train, validation, tmp_path):
    put(
        tmp_path,
        *numbered(f"{train}/a", 3),
        *numbered(f"{train}/b", 3),
        f"{validation}/a/0.png",
        f"{validation}/b/0.png",
    )
    assert found(tmp_path).classes == {"a": ClassCount(3, 1), "b": ClassCount(3, 1)}


def test_what_is_held_out_without_classes_is_passed_over_where_there_are_classes_to_train_on(tmp_path):
    put(tmp_path, *numbered("train/cat", 4), *numbered("train/dog", 4), *numbered("test", 5), "train/0.png")
    result = split(tmp_path)
    assert result.classes == ("cat", "dog")
    train, validation = names(result, tmp_path)
    assert sorted(train + validation) == [*numbered("train/cat", 4), *numbered("train/dog", 4)]
    assert validation
    assert counted(found(tmp_path)) == {
        "images for validation of no class that is trained on": 5,
        "images beside class folders": 1,
    }
    assert "no image named for validation is of a class that is trained on: a share is held out instead" in (
        found(tmp_path).notes
    )


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_of_every_class_something_is_trained_on_and_what_is_not_held_out_is_said(share, tmp_path):
    put(tmp_path, *(f"{name}/0.png" for name in "abcdefgh"), "i/0.png", "i/1.png")
    result = split(tmp_path, share)
    assert result.classes == tuple("abcdefghi")
    assert names(result, tmp_path)[1] in (["i/0.png"], ["i/1.png"])
    assert result.found is not None
    assert result.found.classes == {**{name: ClassCount(1, 0) for name in "abcdefgh"}, "i": ClassCount(1, 1)}
    assert result.found.notes == ("nothing is held out of 8 of 9 classes (a, b, c and 5 more)",)


def test_labels_are_the_numbers_of_the_folders_names(tmp_path):
    put(tmp_path, *numbered("train/b", 2), *numbered("train/a", 2), *numbered("val/b", 1), *numbered("val/.a", 1))
    result = split(tmp_path)
    assert result.classes == ("a", "b")
    assert result.train.labels == [0, 0, 1, 1]
    assert result.validation.labels == [1]


def test_classes_whose_names_are_no_unicode_have_names_that_can_be_kept(tmp_path):
    put(tmp_path, *numbered("cat", 3), *numbered("caf\udce9", 3), "caf\udce9/\udcff.txt", "\x1b[31m.png")
    result = found(tmp_path)
    assert list(result.classes) == ["caf\\udce9", "cat"]
    assert Found.model_validate_json(result.model_dump_json()) == result
    assert [entry.examples for entry in result.passed_over] == [("\\x1b[31m.png",), ("caf\\udce9/\\udcff.txt",)]


# What is held out


@pytest.mark.parametrize("name", ["pictures/{:03d}.png", "pictures/{0:03d}-class/{0}.png"], ids=["flat", "classes"])
def test_adding_images_moves_none_of_the_others_between_the_parts(name, tmp_path):
    root = tmp_path / "pictures"

    def parts(number: int) -> tuple[set[str], set[str]]:
        put(tmp_path, *(name.format(value) for value in range(number)))
        train, validation = names(split(root), root)
        assert len(train + validation) == len({*train, *validation}) == number
        return set(train), set(validation)

    train, validation = parts(40)
    assert train
    assert validation
    more_train, more_validation = parts(120)
    assert train < more_train
    assert validation < more_validation


@pytest.mark.parametrize("place", ["here", "there/deeper"])
def test_the_same_images_are_held_out_in_every_process_and_place(place, tmp_path):
    put(tmp_path / place, *(f"{value:03d}.png" for value in range(40)))
    assert names(split(tmp_path / place, 0.1), tmp_path / place)[1] == ["024.png", "031.png"]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_about_the_wanted_share_is_held_out(share, tmp_path):
    put(tmp_path, *(f"{number:05d}.png" for number in range(300)))
    assert len(split(tmp_path, share).validation.files) / 300 == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("share", [0.001, 0.999])
def test_neither_part_is_ever_empty(number, share, tmp_path):
    train, validation = names(split(put(tmp_path, *numbered(".", number)), share), tmp_path)
    assert train
    assert validation
    assert len(train + validation) == number


def test_only_the_last_of_a_class_that_would_be_held_out_whole_is_trained_on():
    ranks = np.array([5, 1, 9, 2, 3, 2**32 - 1])
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert held_out(ranks, 0.5).tolist() == [True, True, True, True, True, False]
    assert held_out(ranks, 0.5, labels).tolist() == [False, True, False, True, True, False]
    # Of what is left the first in rank, where nothing else is held out.
    assert held_out(np.array([1, 7, 8]), 1e-9, np.array([0, 1, 1])).tolist() == [False, True, False]


# What is kept of it


def test_the_digest_follows_names_sizes_beginnings_parts_and_classes_and_nothing_else(tmp_path):
    files = [*numbered("train/cat", 2), *numbered("train/dog", 2), *numbered("val/cat", 1)]

    def digest(root: str, change: str = "") -> str:
        folder = put(tmp_path / root, *files)
        os.utime(folder / files[0], (1, 1))
        match change:
            case "size":
                put(folder, files[0], content=b"longer content")
            case "content":
                content = (folder / files[0]).read_bytes()
                put(folder, files[0], content=content[:-1] + bytes([content[-1] ^ 1]))
            case "name":
                (folder / files[0]).rename(folder / "train/cat/9.png")
            case "class":
                (folder / files[1]).rename(folder / "train/dog/9.png")
            case "part":
                (folder / files[0]).rename(folder / "val/cat/9.png")
            case "renamed class":
                (folder / "train/dog").rename(folder / "train/wolf")
            case "one more":
                put(folder, "val/cat/9.png")
            case "sidecar":
                put(folder, "train/cat/9.txt", ".DS_Store")
        return found(folder).digest

    first = digest("first")
    assert len(first) == 64
    assert digest("second/deeper") == digest("third", "sidecar") == first
    changes = ("size", "content", "name", "class", "part", "renamed class", "one more")
    assert len({first, *(digest(change, change) for change in changes)}) == 1 + len(changes)


def test_the_root_is_kept_as_it_is_seen_from_everywhere(tmp_path, monkeypatch):
    put(tmp_path / "pictures", *numbered(".", 3))
    monkeypatch.chdir(tmp_path)
    assert found(Path("pictures")).root == tmp_path / "pictures"
    monkeypatch.chdir(tmp_path / "pictures")
    assert found(Path()).digest == found(tmp_path / "pictures").digest


def test_forms_are_of_files_evenly_spread_and_named_where_they_are_frequent():
    def form(number: int) -> str:
        if number % 10 == 7:
            raise DataError("damaged")
        return f"{number % 3}"

    assert count_forms(range(9), form) == ({"0": 3, "2": 3, "1": 2}, ())
    forms, notes = count_forms(range(1000), lambda number: f"{number}", most=100)
    assert [*forms.items()][-2:] == [("190", 1), ("80 others", 80)]
    assert notes == ("100 of 1,000 files, evenly spread, were looked at for what they are like",)


# What is wrong


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["a.heic", "b.heic", "c.txt"],
            "no images in {root}: looked for .jpg, .png in it and below; passed over: 2 files with suffix .heic, which "
            f"is not read: {CONVERT}; 1 other file (1 .txt)",
        ),
        (
            ["train/a.png", "test/a.txt"],
            "no images in {root}/test: looked for .jpg, .png in it and below; passed over: 1 other file (1 .txt)",
        ),
        (["a.png"], "{root}/a.png is the only image: at least 2 are needed, one of them for validation"),
    ],
)
def test_a_folder_without_enough_files_says_what_lies_there(files, message, tmp_path):
    with pytest.raises(DataError) as error:
        split(put(tmp_path, *files))
    assert str(error.value) == message.format(root=tmp_path)
