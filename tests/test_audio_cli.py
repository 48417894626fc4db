"""The command line on sounds: a tiny run, trained once, that samples, reconstructs, and says what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from conftest import HEAVY, Result
from PIL import Image
from torch import Tensor

from anytime_audio.config import AudioConfig, ResidualConfig, WaveConfig
from anytime_audio.modality import AudioModality
from anytime_cli.main import main
from anytime_core.config_parsing import parse_config, read_yaml
from anytime_core.errors import AnytimeError, DataError
from anytime_core.jobs.reconstruction import write_reconstructions
from anytime_core.modality import PreviewRow, UserFile
from anytime_core.record import CONFIG_FILE
from anytime_core.run import Run, load

Anytime = Callable[..., Result]

RATE, LENGTH, CODES = 8000, 256, 6
STEP = LENGTH - LENGTH // 8
"""Audio samples from one clip of a recording to the next."""

TINY: dict[str, Any] = {
    "modality": "audio",
    "data": {"name": "plucks", "rate": RATE, "length": LENGTH},
    "network": {"channels": CODES, "width": 16, "depth": 1, "hop": 32, "window": 64},
    "autoencoder": {"quantizer": {"size": 16}},
    "prior": {"layers": 1, "width": 32, "heads": 2},
    "training": {
        "device": "cpu",
        "precision": "float32",
        "autoencoder": {"steps": 20, "batch_size": 16, "validations": 1, "validation_samples": 32},
        "prior": {"steps": 10, "batch_size": 16, "validations": 1, "validation_samples": 32},
    },
}
"""A config that trains in a second, once its strings are synthesised."""

CLASSES = "C, C#, D, D#, E, F, F#, G, G#, A, A#, B"


def json_of(result: Result) -> Any:
    """The one JSON value on stdout of a command that did its work."""
    assert result.status == 0, result.err
    return json.loads(result.out)


def error_of(result: Result) -> str:
    """The one line of the error that a command ended with."""
    lines = result.err.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    assert starts == [len(lines) - 1], result.err
    assert "Traceback" not in result.err
    assert "this is a bug" not in result.err
    assert len(lines[-1]) < 400
    assert result.out == ""
    return lines[-1]


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, every folder with None."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def sine(frames: int, rate: int, *, level: float = 0.2, pitch: float = 300) -> np.ndarray:
    return level * np.sin(2 * np.pi * pitch * np.arange(frames) / rate)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Folder of a run that the command line trained, and what it printed; tests must not change the run."""
    folder = tmp_path_factory.mktemp("audio")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()) as told,
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["anytime", "train", "--config", "tiny.yaml", "--json"])
        with pytest.raises(SystemExit) as exit_:
            main()
    assert not exit_.value.code, told.getvalue()
    return folder / "runs" / "tiny-1", json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def audio_run(trained: tuple[Path, Any]) -> Run:
    return load(trained[0], device="cpu")


@pytest.fixture
def here(anytime: Anytime, trained: tuple[Path, Any], tmp_path: Path) -> Path:
    """The working folder of `anytime`, with the tiny run as its only one."""
    shutil.copytree(trained[0], tmp_path / "runs" / "tiny")
    return tmp_path


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> list[list[PreviewRow]]:
    """The rows of previews, which are not drawn: that takes longer than all the rest."""
    previews: list[list[PreviewRow]] = []

    def preview(self: AudioModality, rows: list[PreviewRow], path: Path) -> None:
        previews.append(list(rows))
        path.write_bytes(b"preview")

    monkeypatch.setattr(AudioModality, "preview", preview)
    return previews


@pytest.fixture
def perfect(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An autoencoder that loses nothing; the sizes of the batches that went through it."""
    sizes: list[int] = []

    def reconstruct(self: Run, x: Tensor, budget: object = 1.0) -> Tensor:
        sizes.append(len(x))
        return x.clone()

    monkeypatch.setattr(Run, "reconstruct", reconstruct)
    return sizes


# train


def test_training_on_sounds_ends_in_a_run_with_previews(trained):
    folder, printed = trained
    assert (printed["run"], printed["modality"], printed["recipe"]) == ("runs/tiny-1", "audio", "tiny")
    assert list(printed["stages"]) == ["autoencoder", "codes", "prior"]
    assert (printed["code_length"], printed["codebook_size"]) == (CODES, 16)
    measured = printed["validation"]["autoencoder"]["reconstruction"]
    assert list(measured) == ["loss", "log_mel", "stft", "snr", "si_sdr"]
    assert np.isfinite(list(measured.values())).all()
    previews = list((folder / "previews").glob("autoencoder-*.png"))
    assert previews
    for path in previews:
        with Image.open(path) as picture:
            assert picture.width > 500


def test_a_run_keeps_the_whole_config_of_its_sounds(trained):
    folder, _ = trained
    config = parse_config(read_yaml(folder / CONFIG_FILE), AudioConfig)
    assert config.modality == AudioConfig.model_validate({name: TINY[name] for name in ("data", "network")})


@pytest.fixture
def configured(anytime: Anytime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., AudioConfig]:
    """The audio config with which a command would train."""

    def configured(*arguments: str) -> AudioConfig:
        configs: list[Any] = []

        def train(config: Any, *rest: object, **options: object) -> None:
            configs.append(config.modality)
            raise AnytimeError("that is all")

        monkeypatch.setattr("anytime_core.training.start.train_stages", train)
        assert error_of(anytime("train", *arguments)) == "error: that is all"
        return configs[0]

    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return configured


@pytest.mark.parametrize(("kind", "expected"), [("wave", WaveConfig()), ("residual", ResidualConfig())])
def test_another_kind_of_network_is_chosen_without_the_keys_of_the_old_one(configured, kind, expected):
    assert configured("--config", "tiny.yaml", "--set", f"network.kind={kind}").network == expected
    by_default = configured("--modality", "audio", "--set", f"network.kind={kind}", "--set", "network.channels=9")
    assert by_default.network == expected.model_copy(update={"channels": 9})


def test_keys_of_the_same_kind_stay(configured):
    network = configured("--config", "tiny.yaml", "--set", "network.kind=spectral", "--set", "network.depth=2").network
    assert (network.kind, network.width, network.depth) == ("spectral", 16, 2)


@pytest.mark.parametrize(
    ("settings", "patterns"),
    [
        ("network.kind=nope", (r"network\.kind", "'spectral', 'wave', 'residual'", "'nope'")),
        ("network=nope", ("network", "nope")),
        ("data.length=1000", (r"data\.length=1000", "multiple of the 256 ")),
        ("network.kind=wave network.width=8", (r"unknown key 'network\.width' for kind",)),
        ("network.kind=wave network.kernel=10", (r"network\.kernel", "odd", "10")),
        ("network.window=100", (r"network\.window=100", r"network\.hop=256")),
        ("loss.log_mel=0 loss.stft=0", ("loss", "every weight is 0")),
        ("data.name=drums", (r"data\.name", "plucks", "'drums'")),
        ("encoding=mp3", ("encoding", "'16bit'", "'mp3'")),
        ("speech_metrics=true data.rate=22050", ("speech_metrics=true", r"data\.rate=8000 or 16000", "22050")),
    ],
)
def test_a_mistake_in_an_audio_config_is_one_line_and_nothing_is_written(anytime, tmp_path, settings, patterns):
    if "speech_metrics" in settings:
        pytest.importorskip("pesq")
        pytest.importorskip("pystoi")
    options = [part for setting in settings.split() for part in ("--set", setting)]
    result = anytime("train", "--modality", "audio", *options)
    assert result.status == 2
    error = error_of(result)
    for pattern in patterns:
        assert re.search(pattern, error), error
    assert listing(tmp_path) == {}


# sample


def test_sounds_are_drawn_and_written_without_what_takes_seconds_to_import(trained, tmp_path):
    arguments = ["anytime", "sample", "--num", "32", "--run", str(trained[0]), "--device", "cpu", "--out", "out"]
    code = f"""
import sys
from anytime_cli.main import main
sys.argv = {arguments!r}
try:
    main()
except SystemExit as exit:
    assert not exit.code
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert (tmp_path / "out" / "preview.png").exists()
    assert "soundfile" in modules
    assert modules.isdisjoint(HEAVY)


def test_sample_writes_sounds_a_preview_and_what_its_json_says(anytime, here):
    printed = json_of(anytime("sample", "--num", 3, "--budget", "50%", "--seed", 3, "--out", "out", "--json"))
    assert printed == json.loads((here / "out" / "samples.json").read_text())
    assert (printed["run"], printed["codes"], printed["code_length"]) == ("runs/tiny", CODES // 2, CODES)
    samples = printed["samples"]
    assert [(sample["file"], sample["label"]) for sample in samples] == [
        ("000000.wav", "C"),
        ("000001.wav", "C#"),
        ("000002.wav", "D"),
    ]
    assert names(here / "out") == {"preview.png", "samples.json", *(sample["file"] for sample in samples)}
    for sample in samples:
        info = soundfile.info(here / "out" / sample["file"])
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
        assert (info.samplerate, info.frames, info.channels) == (RATE, LENGTH, 1)
    with Image.open(here / "out" / "preview.png") as preview:
        assert preview.format == "PNG"
        assert preview.width > 500


@pytest.mark.parametrize("given", ["flac", ".FLAC"])
def test_samples_can_be_written_as_flac_with_the_same_sound(anytime, here, unseen, given):
    assert anytime("sample", "--num", 2, "--out", "wav").status == 0
    printed = json_of(anytime("sample", "--num", 2, "--out", "flac", "--format", given, "--json"))
    assert [sample["file"] for sample in printed["samples"]] == ["000000.flac", "000001.flac"]
    assert names(here / "flac") == {"000000.flac", "000001.flac", "preview.png", "samples.json"}
    for number in ("000000", "000001"):
        assert soundfile.info(here / "flac" / f"{number}.flac").format == "FLAC"
        as_flac, as_wav = (soundfile.read(here / kind / f"{number}.{kind}") for kind in ("flac", "wav"))
        assert as_flac[1] == as_wav[1] == RATE
        assert np.abs(as_wav[0]).max() > 0.001
        np.testing.assert_allclose(as_flac[0], as_wav[0], atol=1.01 / 2**15)  # libsndfile rounds them differently


@pytest.mark.parametrize("command", ["sample --num 1", "reconstruct mine.wav"])
@pytest.mark.parametrize("format", ["mp3", "png", ".ogg", "''"])
def test_a_format_that_sounds_are_not_written_in_is_one_error_with_the_way_out(anytime, here, command, format):
    soundfile.write(here / "mine.wav", sine(LENGTH, RATE), RATE)
    before = listing(here)
    result = anytime(*shlex.split(f"{command} --out out --format {format}"))
    assert result.status == 2
    suffix = format.strip("'").removeprefix(".")
    assert re.search(rf"'audio' writes no \.{suffix} files: use \.wav, \.flac(, or npz for arrays)?$", error_of(result))
    assert listing(here) == before


@pytest.mark.parametrize("label", ["A", "index:9"])
def test_a_class_is_asked_for_by_name_or_number(anytime, here, unseen, label):
    printed = json_of(anytime("sample", "--num", 2, "--label", label, "--out", "out", "--json"))
    assert [sample["label"] for sample in printed["samples"]] == ["A", "A"]


@pytest.mark.parametrize("label", ["H", "a", "9", "index:12", "-1"])
def test_a_class_that_is_none_is_refused_with_the_names_of_all(anytime, here, label):
    before = listing(here)
    result = anytime("sample", "--label", label, "--out", "out")
    assert result.status == 2
    error = error_of(result)
    assert label in error
    assert f"the classes are {CLASSES}" in error
    assert listing(here) == before


def test_the_same_seed_gives_the_same_sounds_and_another_seed_others(anytime, here, unseen):
    for out, seed in (("first", 4), ("again", 4), ("other", 5)):
        assert anytime("sample", "--num", 4, "--seed", seed, "--out", out).status == 0
    first, again, other = (
        [path.read_bytes() for path in sorted((here / out).glob("*.wav"))] for out in ("first", "again", "other")
    )
    assert len(first) == 4
    assert first == again
    assert first != other


def test_progressive_samples_are_sounds_of_growing_numbers_of_codes(anytime, here, unseen):
    assert anytime("sample", "--num", 2, "--progressive", "--out", "out").status == 0
    found = names(here / "out") - {"preview.png", "samples.json", "000000.wav", "000001.wav"}
    counts = sorted(int(re.fullmatch(r"000000-(\d+)codes\.wav", name)[1]) for name in found if "000000" in name)
    assert len(counts) > 2
    assert counts[-1] == CODES
    assert found == {f"{number}-{count}codes.wav" for number in ("000000", "000001") for count in counts}
    assert all(soundfile.info(here / "out" / name).frames == LENGTH for name in found)
    assert (here / "out" / "000000.wav").read_bytes() == (here / "out" / f"000000-{CODES}codes.wav").read_bytes()
    assert [row.caption for row in unseen[-1]] == [f"{count} codes" for count in counts]


def test_packed_sounds_are_those_of_the_folder(anytime, here, unseen):
    for out, pack in (("files", ()), ("first", ("--pack",)), ("second", ("--pack",))):
        assert anytime("sample", "--num", 3, "--format", "flac", "--out", out, *pack).status == 0
    assert names(here / "first") == {"samples-000000.tar", "preview.png", "samples.json"}
    first, second = ((here / out / "samples-000000.tar").read_bytes() for out in ("first", "second"))
    assert first == second
    with tarfile.open(here / "first" / "samples-000000.tar") as tar:
        assert tar.getnames() == [f"{index:09d}.{kind}" for index in range(3) for kind in ("flac", "json", "cls")]
        for index in range(3):
            sound = tar.extractfile(f"{index:09d}.flac").read()
            assert sound == (here / "files" / f"{index:06d}.flac").read_bytes()


def test_packed_progressive_sounds_are_a_sample_and_its_steps(anytime, here, unseen):
    for out, pack in (("files", ()), ("out", ("--pack",))):
        assert anytime("sample", "--num", 2, "--progressive", "--out", out, *pack).status == 0
    with tarfile.open(here / "out" / "samples-000000.tar") as tar:
        steps = {name: tar.extractfile(name).read() for name in tar.getnames() if "codes" in name}
    assert len(steps) == 2 * 5
    for name, sound in steps.items():
        assert sound == (here / "files" / f"{int(name[:9]):06d}-{name[10:]}").read_bytes()


def test_sounds_have_no_pictures_of_their_growth(anytime, here, unseen):
    assert anytime("sample", "--num", 1, "--progressive", "--out", "out").status == 0
    assert {path.suffix for path in (here / "out").iterdir() if path.name.startswith("0")} == {".wav"}


def test_a_deadline_leaves_out_a_preview_that_takes_longer(anytime, here):
    for _ in range(2):  # what a preview costs is not known, and known to be too long then
        printed = json_of(anytime("sample", "--num", 2, "--budget", "1ms", "--out", "out", "--overwrite", "--json"))
        assert (printed["num"], printed["budget"], printed["interrupted"]) == (2, "1ms", False)
        assert names(here / "out") == {"000000.wav", "000001.wav", "samples.json"}
        assert anytime("sample", "--num", 1, "--out", "with a preview", "--overwrite").status == 0
    assert (here / "with a preview" / "preview.png").exists()


@pytest.mark.parametrize("budget", ["200ms", "adaptive"])
def test_a_recording_is_not_reconstructed_within_a_budget_of_time(anytime, here, budget):
    soundfile.write(here / "mine.wav", sine(LENGTH, RATE), RATE)
    before = listing(here)
    result = anytime("reconstruct", "mine.wav", "--budget", budget, "--out", "out")
    assert result.status == 2
    assert "use a share or a number of codes" in error_of(result)
    assert listing(here) == before


# reconstruct


def test_a_users_recording_comes_back_mono_at_the_runs_rate_and_its_own_length(anytime, here):
    stereo = np.stack([sine(145_530, 44100, level=0.3), sine(145_530, 44100, level=0.1)], 1)
    soundfile.write(here / "concert.wav", stereo, 44100)
    printed = json_of(anytime("reconstruct", "concert.wav", "--budget", "4codes", "--out", "out", "--json"))
    assert printed == json.loads((here / "out" / "reconstructions.json").read_text())
    assert (printed["codes"], printed["code_length"]) == (4, CODES)
    (entry,) = printed["reconstructions"]
    assert (entry["source"], entry["file"]) == ("concert.wav", "concert.wav")
    assert entry["samples"] == 1 + -(-(26_400 - LENGTH) // STEP)
    assert list(entry["metrics"]) == ["log_mel", "stft", "snr", "si_sdr"]
    assert np.isfinite(list(entry["metrics"].values())).all()
    info = soundfile.info(here / "out" / "concert.wav")
    assert (info.samplerate, info.channels, info.frames) == (RATE, 1, 26_400)
    with Image.open(here / "out" / "preview.png") as preview:
        assert preview.width > 500


@pytest.mark.parametrize("level", [0.9, 0.2, 0.01])
def test_what_the_autoencoder_keeps_is_written_at_the_original_level(anytime, here, perfect, unseen, level):
    stereo = np.stack([sine(145_530, 44100, level=1.1 * level), sine(145_530, 44100, level=0.9 * level)], 1)
    soundfile.write(here / "concert.wav", stereo, 44100, "FLOAT")
    printed = json_of(anytime("reconstruct", "concert.wav", "--out", "out", "--json"))
    written, rate = soundfile.read(here / "out" / "concert.wav")
    assert (rate, written.shape) == (RATE, (26_400,))
    inside = slice(200, -200)
    np.testing.assert_allclose(written[inside], sine(26_400, RATE, level=level)[inside], atol=1e-3 * level + 4e-5)
    (entry,) = printed["reconstructions"]
    assert (entry["metrics"]["log_mel"], entry["metrics"]["snr"]) == (0, 100)


@pytest.mark.parametrize(("rate", "frames"), [(44_100, 70_001), (11_025, 9_999), (RATE, 4000), (192_000, 33_333)])
def test_a_recording_is_given_back_at_its_own_rate_and_length(anytime, here, perfect, unseen, rate, frames):
    soundfile.write(here / "a.wav", sine(frames, rate, level=0.5), rate)
    told = json_of(anytime("reconstruct", "a.wav", "--keep-rate", "--out", "out", "--json"))
    assert told["restored"] == "rate"
    written, written_rate = soundfile.read(here / "out" / "a.wav")
    assert (written_rate, len(written)) == (rate, frames)
    inside = slice(rate // 50, -rate // 50)
    np.testing.assert_allclose(written[inside], sine(frames, rate, level=0.5)[inside], atol=2e-3)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [("a.flac", "PCM_24", 1e-4), ("a.ogg", "VORBIS", 0.1), ("a.mp3", "MPEG_LAYER_III", 0.1), ("a.wav", "PCM_U8", 0.02)],
)
def test_sounds_of_many_formats_can_be_reconstructed(anytime, here, perfect, unseen, name, subtype, tolerance):
    sound = sine(8000, RATE, level=0.5)
    soundfile.write(here / name, sound, RATE, subtype)
    (entry,) = json_of(anytime("reconstruct", name, "--out", "out", "--json"))["reconstructions"]
    assert entry["file"] == "a.wav"
    written, rate = soundfile.read(here / "out" / "a.wav")
    assert rate == RATE
    assert len(written) == pytest.approx(8000, abs=1200 if name == "a.mp3" else 0)
    assert np.abs(written).max() == pytest.approx(0.5, abs=tolerance)


@pytest.mark.parametrize("frames", [1, 100, LENGTH - 1, LENGTH, LENGTH + 1, LENGTH + STEP, LENGTH + STEP + 1, 1000])
def test_recordings_shorter_than_a_clip_or_hardly_longer_keep_their_length(
    audio_run, perfect, unseen, tmp_path, frames
):
    sound = sine(frames + 1, RATE, pitch=1100)[1:]
    soundfile.write(tmp_path / "short.wav", sound, RATE)
    record = write_reconstructions(audio_run, tmp_path / "out", [tmp_path / "short.wav"], 1.0)
    written, rate = soundfile.read(tmp_path / "out" / "short.wav")
    assert (rate, len(written)) == (RATE, frames)
    np.testing.assert_allclose(written, sound, atol=1e-4)
    assert record["reconstructions"][0]["samples"] == sum(perfect)
    assert sum(perfect) == (1 if frames <= LENGTH else 1 + -(-(frames - LENGTH) // STEP))


def test_a_file_shorter_than_a_clip_goes_through_the_trained_networks(anytime, here, unseen):
    soundfile.write(here / "click.wav", sine(100, RATE), RATE)
    (entry,) = json_of(anytime("reconstruct", "click.wav", "--out", "out", "--json"))["reconstructions"]
    assert entry["samples"] == 1
    assert soundfile.info(here / "out" / "click.wav").frames == 100
    assert [row.caption for row in unseen[0]] == ["original", f"{CODES} codes"]
    assert [row.x.shape for row in unseen[0]] == [(1, 1, LENGTH)] * 2


def test_files_of_the_same_stem_are_kept_apart(anytime, here, perfect, unseen):
    files = {"a/song.wav": 300, "b/song.wav": 400, "song.flac": 500, "preview.wav": 600}
    for name, pitch in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        soundfile.write(here / name, sine(2000, RATE, pitch=pitch), RATE)
    printed = json_of(anytime("reconstruct", *files, "--format", "flac", "--out", "out", "--json"))
    written = {entry["source"]: entry["file"] for entry in printed["reconstructions"]}
    assert list(written) == list(files)
    assert len(set(written.values())) == 4
    assert written["a/song.wav"] == "song.flac"
    assert names(here / "out") == {*written.values(), "preview.png", "reconstructions.json"}
    for source, name in written.items():
        sound, _ = soundfile.read(here / "out" / name)
        np.testing.assert_allclose(sound, sine(2000, RATE, pitch=files[source]), atol=1e-4)
    assert [len(row.x) for row in unseen[0]] == [4, 4]


def write_bad_file(path: Path) -> None:
    """A file that is wrong in the way that its name says."""
    sound = sine(2000, RATE)
    if path.stem == "text":
        path.write_text("no sound")
    elif path.stem == "blank":
        path.write_bytes(b"")
    elif path.stem == "empty":
        soundfile.write(path, sound[:0], RATE)
    elif path.stem == "silent":
        soundfile.write(path, 0 * sound, RATE)
    elif path.stem == "nan":
        soundfile.write(path, np.where(np.arange(2000) == 1500, np.nan, sound), RATE, "FLOAT")
    elif path.stem == "cut":
        whole = io.BytesIO()
        soundfile.write(whole, np.random.default_rng(0).uniform(-0.5, 0.5, 50_000), RATE, format="FLAC")
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    elif path.stem == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.wav", "does not exist"),
        ("text.wav", "cannot be read as a sound"),
        ("blank.wav", "cannot be read as a sound"),
        ("empty.wav", "no sound"),
        ("silent.wav", "silent"),
        ("nan.wav", "NaN"),
        ("folder.wav", "cannot be read|directory"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_written(anytime, here, unseen, name, problem):
    soundfile.write(here / "good.wav", sine(2000, RATE), RATE)
    write_bad_file(here / name)
    before = listing(here)
    result = anytime("reconstruct", "good.wav", name, "--out", "out")
    assert result.status == 1
    error = error_of(result)
    assert name in error
    assert re.search(problem, error), error
    assert listing(here) == before


class Watched:
    """A recording that counts how many of its clips have been read."""

    def __init__(self, file: UserFile) -> None:
        self.file, self.read = file, 0

    def __len__(self) -> int:
        return len(self.file)

    def __iter__(self) -> Iterator[Tensor]:
        for clip in self.file:
            self.read += 1
            yield clip

    def write(self, x: Iterable[Tensor], path: Path) -> None:
        self.file.write(x, path)


def test_a_long_recording_goes_through_in_batches_that_are_read_as_they_are_needed(
    audio_run, perfect, unseen, monkeypatch, tmp_path
):
    frames = LENGTH + 199 * STEP
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, frames)
    soundfile.write(tmp_path / "long.wav", sound, RATE)
    files: list[Watched] = []

    def open_file(self: AudioModality, path: Path) -> Watched:
        files.append(Watched(opening(self, path)))
        return files[-1]

    opening = AudioModality.open_file
    monkeypatch.setattr(AudioModality, "open_file", open_file)
    progress: list[tuple[int, int, int]] = []
    write_reconstructions(
        audio_run,
        tmp_path / "out",
        [tmp_path / "long.wav"],
        1.0,
        on_samples=lambda done, total: progress.append((done, total, files[0].read)),
    )
    assert sum(perfect) == 200
    assert max(perfect) <= 64
    assert [done for done, _, _ in progress] == np.cumsum(perfect).tolist()
    assert {total for _, total, _ in progress} == {200}
    assert all(read - done <= 1 for done, _, read in progress), "clips were read long before they were needed"
    written, _ = soundfile.read(tmp_path / "out" / "long.wav")
    np.testing.assert_allclose(written, sound, atol=1e-4)


def test_an_encoding_that_a_format_cannot_hold_is_one_error_and_nothing_is_written(audio_run, unseen, tmp_path):
    soundfile.write(tmp_path / "mine.wav", sine(2000, RATE), RATE)
    config = audio_run.modality.config.model_copy(update={"encoding": "float"})
    run = dataclasses.replace(audio_run, modality=AudioModality(config))
    with pytest.raises(DataError, match=r"float.*use \.wav, or \.flac with 16bit or 24bit"):
        write_reconstructions(run, tmp_path / "out", [tmp_path / "mine.wav"], 1.0, suffix="flac")
    assert names(tmp_path) == {"mine.wav"}
    write_reconstructions(run, tmp_path / "out", [tmp_path / "mine.wav"], 1.0)
    assert soundfile.info(tmp_path / "out" / "mine.wav").subtype == "FLOAT"


def test_sounds_beyond_full_scale_are_clipped_with_a_warning_that_names_the_file(
    audio_run, unseen, monkeypatch, caplog, tmp_path
):
    soundfile.write(tmp_path / "loud.wav", sine(2000, RATE, level=0.9), RATE)
    monkeypatch.setattr(Run, "reconstruct", lambda self, x, budget: 2 * x)
    write_reconstructions(audio_run, tmp_path / "out", [tmp_path / "loud.wav"], 1.0)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert re.search(r"loud\.wav: \d+ of 2000 audio samples .* up to 1\.80", warned[0])
    assert torch.tensor(soundfile.read(tmp_path / "out" / "loud.wav")[0]).abs().max() == pytest.approx(1, abs=1e-4)


def test_progressive_samples_are_prefixes_of_the_same_codes_in_files_that_say_how_many(anytime, here, unseen):
    record = json_of(anytime("sample", "--num", 3, "--progressive", "--out", "out", "--json"))
    lengths = [2, 3, 4, 5, 6]
    coarse = {f"{index:06d}-{codes}codes.wav" for index in range(3) for codes in lengths}
    whole = {entry["file"] for entry in record["samples"]}
    assert names(here / "out") == {*coarse, *whole, "preview.png", "samples.json"}
    run = load(here / "runs" / "tiny", device="cpu")
    samples = run.sample(3)
    for codes in lengths:
        sound, _ = soundfile.read(here / "out" / f"000001-{codes}codes.wav")
        expected = run.decode(samples.codes, codes)[1, 0].clamp(-1, 1).numpy()
        assert np.abs(sound - expected).max() < 2 / 2**15
    assert [row.caption for row in unseen[-1]] == [f"{codes} codes" for codes in lengths]
    assert all(len(row.x) == 3 for row in unseen[-1])


def test_without_progressive_there_is_one_file_for_each_sample(anytime, here, unseen):
    assert anytime("sample", "--num", 2, "--out", "out").status == 0
    assert names(here / "out") == {"000000.wav", "000001.wav", "preview.png", "samples.json"}
    assert [row.caption for row in unseen[-1]] == [""]
