"""What lies in an output folder: files of others stay, and what is told of ours is there."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import anytime_core.data.files
from anytime_core.errors import UsageError
from anytime_core.evaluation.classifier import CLASSIFIER_FILE
from anytime_core.evaluation.drawn import DrawnCodes
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.found import Found
from anytime_core.jobs.reconstruction import _unique_names, write_reconstructions
from anytime_core.jobs.records import told_files
from anytime_core.jobs.sampling import write_samples
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions

# Names


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a/x.png", "b/x.png", "c/x.jpg"], ["x.png", "x-2.png", "x-3.png"]),
        (["a/x.png", "x-2.png", "b/x.png"], ["x.png", "x-2.png", "x-3.png"]),
        (["preview.png", "PREVIEW.png"], ["preview-2.png", "PREVIEW-3.png"]),
        (["A.png", "a.png", "b/A.bmp"], ["A.png", "a-2.png", "A-3.png"]),
    ],
)
def test_sources_that_share_a_stem_get_numbers_that_also_hold_where_case_is_not_told_apart(sources, names):
    assert _unique_names([Path(source) for source in sources], ".png") == names


def test_thousands_of_sources_of_one_stem_are_named_at_once():
    # Where each name is looked for anew, this takes hours.
    names = _unique_names([Path(f"{number}/a.png") for number in range(20_000)], ".png")
    assert names[:2] == ["a.png", "a-2.png"]
    assert names[-1] == "a-20000.png"


# Samples and reconstructions


@pytest.mark.parametrize("kind", ["a file", "a link that leads nowhere"])
def test_what_is_no_folder_is_refused_before_anything_is_drawn(kind, sample, tmp_path):
    out = tmp_path / "out"
    out.touch() if kind == "a file" else out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=f"out is {kind}, not a folder: choose another folder"):
        sample(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("spelling", ["data", "data/../data", "link"])
def test_the_folder_of_a_run_s_data_takes_no_output(spelling, tiny_run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    found = Found(root=tmp_path / "data", train=1, validation=1)
    run = dataclasses.replace(tiny_run, record=tiny_run.record.model_copy(update={"found": found}))
    picture = tmp_path / "photo.png"
    Image.new("L", (8, 8)).save(picture)
    for write in (
        lambda: write_samples(run, tmp_path / spelling, range(1), "1codes"),
        lambda: write_reconstructions(run, tmp_path / spelling, [picture], "1codes"),
        lambda: evaluate(run, tmp_path / spelling),
    ):
        with pytest.raises(UsageError, match=r"is where the data of run .* lies: choose another folder"):
            write()
    assert not list((tmp_path / "data").iterdir())


def test_what_a_killed_call_left_between_two_jobs_is_named_with_the_call_to_repeat(sample, tmp_path):
    sample(tmp_path / "out", 1)
    moving = tmp_path / ".partial-out-0123456789ab"
    moving.mkdir()
    (tmp_path / "out" / "samples.json").rename(moving / ".replaced-samples.json")
    with pytest.raises(UsageError, match=r"no earlier job wrote.*repeat the call that was killed .* \S*0123456789ab"):
        sample(tmp_path / "out", 2, overwrite=True)


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[Path]:
    """A folder of a user's, in which nothing may change."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("000000.png", "000001.png", "notes.txt")):
        Image.linear_gradient("L").rotate(90 * number).save(folder / name, format="png")
    before = files(folder)
    yield folder
    assert files(folder) == before


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def sample(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setattr(anytime_core.data.files, "_syncfs", lambda: lambda descriptor: None)

    def sample(folder: Path, num: int = 2, seed: int = 0, **options: Any) -> dict[str, Any]:
        indices = options.pop("indices", range(num))
        return write_samples(tiny_run, folder, indices, "1codes", SamplingOptions(seed=seed, engine="eager"), **options)

    return sample


@pytest.fixture
def reconstruct(tiny_run: Run) -> Callable[..., dict[str, Any]]:
    def reconstruct(folder: Path, *sources: Path, **options: Any) -> dict[str, Any]:
        return write_reconstructions(tiny_run, folder, sources, "1codes", **options)

    return reconstruct


def told(folder: Path, record: str = "samples.json") -> set[str]:
    """The files that a record tells of; they must be there as they were written."""
    sizes = told_files(folder / record, record)
    assert {name: (folder / name).stat().st_size for name in sizes} == sizes
    return {*sizes, record}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("form", [{}, {"suffix": "bmp"}, {"progressive": True}, {"pack": True}])
def test_samples_go_into_no_folder_of_a_user_s_pictures(sample, photos, form, overwrite):
    if form.get("pack"):
        (photos / "train-000.tar").write_bytes(b"shard")
        for name in ("000000.png", "000001.png"):
            (photos / name).unlink()
    before = files(photos)
    with pytest.raises(
        UsageError, match=r"photos holds \d files? \(.*\) that no earlier job wrote.* choose another folder"
    ) as error:
        sample(photos, overwrite=overwrite, on_drawn=lambda done, drawn: pytest.fail("nothing may be drawn"), **form)
    assert ("train-000.tar" if form.get("pack") else "000000.png, 000001.png") in str(error.value)
    assert files(photos) == before
    for name in ("000000.png", "000001.png"):  # back, as the fixture looks for them
        Image.linear_gradient("L").rotate(90 * int(name[5])).save(photos / name, format="png")
    (photos / "train-000.tar").unlink(missing_ok=True)
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize("name", ["preview.png", "PREVIEW.PNG", "samples.json", "reconstructions.json", "7.jpg"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_one_file_of_a_user_s_that_would_be_lost_or_mixed_up_is_enough(sample, tmp_path, name, kind):
    out = tmp_path / "out"
    out.mkdir()
    match kind:
        case "file":
            (out / name).write_bytes(b"mine")
        case "folder":
            (out / name).mkdir()
        case _:
            (out / name).symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"out holds 1 file \\({name}\\) that no earlier job wrote"):
        sample(out, overwrite=True)
    assert [path.name for path in out.iterdir()] == [name]


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
@pytest.mark.parametrize("earlier", ["sample", "reconstruct"])
def test_an_earlier_job_s_files_are_replaced_as_a_whole_or_not_at_all(
    sample, reconstruct, photos, tmp_path, earlier, command
):
    out = tmp_path / "out"

    def call(which: str, first: int, **options: Any) -> None:
        if which == "sample":
            sample(out, indices=[first, first + 1], progressive=first == 0, **options)
        else:
            reconstruct(out, photos / f"00000{first}.png", **options)

    call(earlier, 0)
    (out / "README.txt").write_bytes(b"mine")
    before = files(out)
    with pytest.raises(UsageError, match=r"holds \d+ files .*of an earlier job: replace them with overwrite=True, or"):
        call(command, 1)
    assert files(out) == before
    call(command, 1, overwrite=True)
    record = "samples.json" if command == "sample" else "reconstructions.json"
    assert set(files(out)) == {*told(out, record), "README.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"out", "photos"}


@pytest.mark.parametrize("change", ["longer", "link"])
def test_a_file_of_an_earlier_job_that_a_user_has_changed_is_his(sample, tmp_path, change):
    sample(tmp_path / "out")
    picture = tmp_path / "out" / "000001.png"
    if change == "longer":
        picture.write_bytes(picture.read_bytes() + b"retouched")
    else:
        picture.rename(tmp_path / "moved.png")
        picture.symlink_to(tmp_path / "moved.png")
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds 1 file \(000001.png\) that no earlier job wrote"):
        sample(tmp_path / "out", overwrite=True)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"samples": []}', '{\n  "samples": [\n    ../photo.png\n  ]\n}']
)
def test_a_record_that_is_none_proves_nothing(sample, tmp_path, text):
    sample(tmp_path / "out")
    (tmp_path / "out" / "samples.json").write_text(text)
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds 4 files .* that no earlier job wrote"):
        sample(tmp_path / "out", overwrite=True)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["../photo.png", "/etc/hosts", "..", "a/b"])
def test_a_record_names_no_file_outside_its_folder(sample, tmp_path, name):
    sample(tmp_path / "out")
    path = tmp_path / "out" / "samples.json"
    path.write_text(path.read_text().replace("preview.png", name))
    with pytest.raises(ValueError, match="no file of an output folder"):
        told_files(path, "samples.json")


@pytest.mark.parametrize("spelling", ["folder", "link to the folder", "hard link", "dots", "another suffix"])
def test_an_original_is_never_replaced(reconstruct, photos, tmp_path, spelling):
    source, out, options = photos / "000000.png", photos, {}
    match spelling:
        case "link to the folder":
            out = tmp_path / "link"
            out.symlink_to(photos)
        case "hard link":
            out = tmp_path / "out"
            out.mkdir()
            (out / "000000.png").hardlink_to(source)
        case "dots":
            out = photos / ".." / "photos"
        case "another suffix":
            options = {"suffix": "bmp"}
    with pytest.raises(
        UsageError, match=r"holds 000000.png, which is an input and must not change: choose another folder"
    ):
        reconstruct(out, source, overwrite=True, **options)


def test_what_an_earlier_job_wrote_is_not_replaced_by_what_is_made_of_it(sample, reconstruct, tmp_path):
    sample(tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds 000000\.png, which is an input"):
        reconstruct(tmp_path / "out", tmp_path / "out" / "000000.png", overwrite=True)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_of_one_job_in_one_folder_become_the_whole_job(sample, tmp_path, order, pack):
    for part in order:
        sample(tmp_path / "out", indices=range(part, 8, 3), pack=pack)
    sample(tmp_path / "whole", 8, pack=pack)
    record, whole = (json.loads((tmp_path / name / "samples.json").read_text()) for name in ("out", "whole"))
    assert (record["num"], record["shards"]) == (8, ["0/3", "1/3", "2/3"])
    assert told(tmp_path / "out") == set(files(tmp_path / "out"))
    if pack:
        assert {name for name in files(tmp_path / "out") if "tar" in name} == {
            f"samples-{part}of3-000000.tar" for part in range(3)
        }
        assert [entry["index"] for entry in record["samples"]] == list(range(8))
    else:
        assert record["samples"] == whole["samples"]


def test_a_part_that_is_there_is_drawn_again_only_with_overwrite_and_other_parts_stay(sample, tmp_path):
    for part in range(2):
        sample(tmp_path / "out", indices=range(part, 4, 2))
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match="of an earlier job"):
        sample(tmp_path / "out", indices=range(0, 4, 2))
    sample(tmp_path / "out", indices=range(0, 4, 2), overwrite=True)
    after = files(tmp_path / "out")
    assert before.pop("samples.json") != after.pop("samples.json"), "seconds are those of both"
    assert after == before
    assert [entry["index"] for entry in json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]] == [
        0, 1, 2, 3
    ]  # fmt: skip
    with pytest.raises(UsageError, match="of an earlier job"):
        sample(tmp_path / "out", indices=range(1, 4, 2), seed=1)


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_files_that_appear_while_a_job_is_at_it_stay_and_nothing_of_the_job_is_lost(
    sample, reconstruct, photos, tmp_path, command
):
    out = tmp_path / "out"

    def appear(*_: int) -> None:
        out.mkdir(exist_ok=True)
        (out / "000000.png").write_bytes(b"mine")

    def call(**options: Any) -> None:
        if command == "sample":
            sample(out, 1, **options)
        else:
            reconstruct(out, photos / "000000.png", **options)

    with pytest.raises(UsageError, match=r"out holds 1 file \(000000.png\) that no earlier job wrote"):
        call(**{"on_drawn" if command == "sample" else "on_samples": appear})
    assert files(out) == {"000000.png": b"mine"}
    (out / "000000.png").unlink()
    call(**{"on_drawn" if command == "sample" else "on_samples": lambda *_: pytest.fail("it is made already")})
    assert told(out, "samples.json" if command == "sample" else "reconstructions.json") == set(files(out))
    assert {path.name for path in tmp_path.iterdir()} == {"out", "photos"}


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_wherever_replacing_is_cut_off_no_record_tells_of_what_is_not_there_and_the_same_call_ends_it(
    sample, reconstruct, photos, tmp_path, monkeypatch, command
):
    class PowerCutError(BaseException):
        pass

    def call(out: Path, first: int, **options: Any) -> None:
        if command == "sample":
            sample(out, indices=[first, first + 1], **options)
        else:
            reconstruct(out, *(photos / f"00000{number}.png" for number in range(first, 2)), **options)

    record = "samples.json" if command == "sample" else "reconstructions.json"
    changing = ("replace", "unlink", "rename")
    originals = {name: getattr(os, name) for name in changing}
    cut, ended = 0, False
    while not ended:
        out = tmp_path / str(cut) / "out"
        call(out, 0)
        left = cut

        def cutting(name: str, *arguments: Any, out: Path = out, **options: Any) -> None:
            nonlocal left
            if any(str(out) == os.path.dirname(os.fspath(path)) for path in arguments):
                if left == 0:
                    raise PowerCutError
                left -= 1
            originals[name](*arguments, **options)

        with monkeypatch.context() as patch:
            for name in changing:
                patch.setattr(os, name, functools.partial(cutting, name))
            try:
                call(out, 1, overwrite=True)
                ended = True
            except PowerCutError:
                assert not (out / record).exists() or told(out, record)
        call(out, 1, overwrite=True)
        assert told(out, record) == set(files(out))
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        cut += 1
    assert cut > 4


# Evaluations


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation.csv", "quality.png", "report.html", CLASSIFIER_FILE])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_an_evaluation_replaces_no_file_of_others(tiny_run, tmp_path, name, kind):
    out = tmp_path / "out"
    out.mkdir()
    if kind == "file":
        (out / name).write_text("{}")
    else:
        (out / name).symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"out holds {name}, which no evaluation wrote .* with --out"):
        evaluate(tiny_run, out)
    assert [path.name for path in out.iterdir()] == [name]


def test_codes_of_an_evaluation_are_written_through_no_link(tiny_run, tmp_path):
    drawn = DrawnCodes(tmp_path, tiny_run, 2, 3, SamplingOptions())
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    drawn.parts[0][1].symlink_to(precious)
    with pytest.raises(UsageError, match="not a file of this job"):
        drawn.draw()
    assert precious.read_text() == "years of work"
