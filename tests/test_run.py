"""The public API on a run folder: sampling, encoding, decoding, and what damaged runs say."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawing import use_engine
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from anytime_core.errors import RunError, UsageError
from anytime_core.priors.stepping import Stepper
from anytime_core.priors.transformer.eager import EagerEngine
from anytime_core.record import list_runs
from anytime_core.results import AutoencoderResult, CodesResult, PriorResult
from anytime_core.run import Run, load
from anytime_core.sampling.batch_size import BatchSizes
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.samples import Samples
from anytime_core.weights import load_autoencoder, load_prior

CODES, CODEBOOK, CLASSES = 8, 16, 10
RUNNABLE = ("plain", "eager", "numba")
"""Engines that run everywhere at once: `graph` needs a GPU, and `compile` a C++ compiler and patience."""

Damage = Callable[[Path], object]
"""Damages the run in a folder."""


@pytest.fixture(scope="module")
def digits(tiny_run: Run) -> Tensor:
    return tiny_run.modality.datasets().validation.batch(range(8))["x"]


@pytest.fixture(scope="module")
def whole(tiny_run: Run) -> Samples:
    """Twenty samples in one batch; other ways to draw them are held equal to it."""
    return tiny_run.sample(20, seed=5)


@pytest.fixture
def run_copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "copy")


# Sampling


def test_a_run_in_a_home_folder_is_named_by_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("~/runs/x", Path("~/runs/x")):
        with pytest.raises(RunError, match=f"no run at {re.escape(str(tmp_path))}/runs/x"):
            load(folder)


def test_samples_have_the_shape_and_range_of_the_data(whole):
    assert whole.x.shape == (20, 1, 8, 8)
    assert whole.x.dtype == torch.float32
    assert whole.x.abs().max() <= 1
    assert whole.x.std() > 0.01
    assert whole.codes.shape == (20, CODES)
    assert whole.codes.dtype == torch.int64
    assert whole.codes.min() >= 0
    assert whole.codes.max() < CODEBOOK
    assert whole.indices == tuple(range(20))
    assert set(whole.seconds) == {"codes", "decode"}


def test_samples_are_what_their_codes_decode_to(tiny_run, whole):
    torch.testing.assert_close(tiny_run.decode(whole.codes), whole.x)


def test_without_a_label_each_class_is_taken_in_turn(whole):
    assert whole.labels.tolist() == [index % CLASSES for index in range(20)]


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(tiny_run, whole):
    again, other = tiny_run.sample(20, seed=5), tiny_run.sample(20, seed=6)
    assert torch.equal(again.codes, whole.codes)
    assert torch.equal(again.x, whole.x)
    assert not torch.equal(other.codes, whole.codes)


@pytest.mark.parametrize(
    ("indices", "batch_size"),
    [
        (range(20), 1),
        (range(20), 3),
        (range(20), 64),
        (range(4), 64),
        (range(0, 20, 2), 64),
        (range(1, 20, 2), 4),
        ([17], 64),
        ([19, 3, 11], 2),
    ],
    ids=str,
)
def test_a_sample_follows_from_seed_and_index_alone(tiny_run, whole, indices, batch_size):
    parts = list(tiny_run.sample_batches(indices, options=SamplingOptions(seed=5, batch_size=batch_size)))
    assert [len(part.x) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
    assert [index for part in parts for index in part.indices] == list(indices)
    assert torch.equal(torch.cat([part.codes for part in parts]), whole.codes[list(indices)])
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels[list(indices)])
    torch.testing.assert_close(torch.cat([part.x for part in parts]), whole.x[list(indices)])


@pytest.mark.parametrize("engine", ["auto", *RUNNABLE])
@pytest.mark.parametrize(("budget", "length"), [("1codes", 1), (0.3, 3), ("60%", 5), ("8codes", 8)])
def test_a_smaller_budget_draws_the_first_codes_of_the_full_one(tiny_run, whole, engine, budget, length):
    assert torch.equal(tiny_run.sample(20, budget, seed=5, engine=engine).codes, whole.codes[:, :length])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(("budget", "length"), [("1codes", 1), (0.3, 3), ("60%", 5), ("8codes", 8)])
def test_the_compiled_engine_draws_the_first_codes_of_the_full_budget_too(tiny_run, whole, budget, length):
    assert torch.equal(tiny_run.sample(20, budget, seed=5, engine="compile").codes, whole.codes[:, :length])


def test_all_samples_of_a_number_of_codes_have_that_many(tiny_run, whole):
    assert whole.lengths.tolist() == [CODES] * 20
    assert tiny_run.sample(3, "5codes").lengths.tolist() == [5] * 3


@pytest.mark.parametrize("filtering", [{"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.7}], ids=str)
def test_filtered_samples_have_the_prefix_property_too(tiny_run, whole, filtering):
    full, half = (tiny_run.sample(20, budget, seed=5, **filtering).codes for budget in (1.0, 0.5))
    assert torch.equal(half, full[:, :4])
    assert not torch.equal(full, whole.codes)


def test_temperature_zero_ignores_the_seed(tiny_run):
    first, second = (tiny_run.sample(10, seed=seed, temperature=0).codes for seed in (0, 1))
    assert torch.equal(first, second)


def test_the_largest_seed_works(tiny_run):
    assert len(tiny_run.sample(1, seed=2**63 - 1).x) == 1


def _named(run: Run, *names: str) -> Run:
    return dataclasses.replace(run, record=run.record.model_copy(update={"classes": names}))


@pytest.mark.parametrize(
    ("label", "number"),
    [("seven", 7), (7, 7), ("index:7", 7), ("index:07", 7), ("9", 2), ("index:9", 4), (9, 9), (None, None)],
)
def test_a_label_in_text_is_a_name_and_a_number_only_where_it_says_so(tiny_run, label, number):
    run = _named(tiny_run, "zero", "one", "9", "three", "index:9", "five", "six", "seven", "eight", "nine")
    assert run.label_number(label) == number


@pytest.mark.parametrize("label", ["7", "index:10", "index:x", "index:", 10, -1, "index:9999999999"])
def test_a_label_that_is_no_class_is_refused_with_the_names(tiny_run, label):
    run = _named(tiny_run, "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    with pytest.raises(UsageError, match=f"{label}.*the classes are zero, one, two"):
        run.label_number(label)


def test_samples_of_a_class_are_the_same_by_name_and_by_number(tiny_run):
    by_name, by_number, by_text = (tiny_run.sample(4, label=label) for label in ("7", 7, "index:7"))
    assert by_name.labels.tolist() == [7] * 4
    assert torch.equal(by_name.codes, by_number.codes)
    assert torch.equal(by_name.codes, by_text.codes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 0}, "number of samples 0"),
        ({"num": -3}, "number of samples -3"),
        ({"budget": 0}, "budget 0"),
        ({"budget": -1}, "budget -1"),
        ({"budget": float("nan")}, "budget nan"),
        ({"budget": 1.7}, r"budget 1\.7 is more than the whole"),
        ({"budget": "9codes"}, "budget 9codes is more than the 8 codes"),
        ({"budget": None}, "budget None"),
        ({"budget": "0ms"}, "budget '0ms'"),
        ({"budget": "adaptive:x"}, "budget 'adaptive:x'"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**63}, f"seed {2**63}"),
        ({"label": 10}, r"label 10 is not a whole number in 0\.\.9"),
        ({"label": -1}, "label -1 "),
        ({"label": "cat"}, "no class 'cat'.*classes are 0, 1"),
        ({"temperature": -1.0}, r"temperature -1\.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"top_k": 0}, "top-k 0"),
        ({"top_p": 0.0}, r"top-p 0\.0"),
        ({"top_p": 1.5}, r"top-p 1\.5"),
        ({"guidance": -0.5}, r"guidance -0\.5"),
        ({"engine": "egaer"}, "no engine 'egaer'.*did you mean 'eager'"),
        (
            {"engine": "gpu"},
            "no engine 'gpu' for the transformer prior of run .*: use auto, plain, eager, ",
        ),
        ({"engine": "graph"}, "engine 'graph' needs a CUDA device.*--engine eager"),
        ({"precision": "float16"}, "no precision 'float16'.*float32"),
        ({"engine": None}, "engine None is not a name"),
        ({"plan": 1}, "plan 1 is not a name"),
        ({"num": 10**30}, "number of samples 10{30} is not a whole number in 1"),
        ({"engine": "plain", "precision": "int8"}, "engine 'plain' has no precision 'int8': use float32"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_named(tiny_run, arguments, message):
    with pytest.raises(UsageError, match=message):
        tiny_run.sample(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"^seed -1 is not a whole number in 0\.\.2\^63-1$"),
        ({"seed": 1.5}, "^seed 1.5 "),
        ({"batch_size": 1.5}, "^batch size 1.5 "),
        ({"seed": 2**63}, f"^seed {2**63} "),
        ({"precision": "fp32"}, r"^no precision 'fp32': use auto, float32, bfloat16, int8$"),
        ({"batch_size": 0}, "^batch size 0 is not a whole number of at least 1$"),
        ({"batch_size": -4}, "^batch size -4 "),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused_by_name_before_anything_is_drawn(options, message):
    with pytest.raises(UsageError, match=message):
        SamplingOptions(**options)


def test_options_at_their_ends_are_accepted():
    for options in ({"seed": 0}, {"seed": 2**63 - 1}, {"batch_size": 1}, {"engine": "auto", "precision": "auto"}):
        assert dataclasses.asdict(SamplingOptions(**options)).items() >= options.items()


def test_every_batch_counts_its_codes_and_can_be_stopped_after_any_of_them(tiny_run, whole):
    seen = []

    def stops(drawn: int) -> bool:
        seen.append(drawn)
        return drawn == 3

    options = SamplingOptions(seed=5, batch_size=2)
    parts = list(tiny_run.sample_batches(range(4), 1.0, options, on_code=stops))
    assert seen == [1, 2, 3, 1, 2, 3]
    assert [part.lengths.tolist() for part in parts] == [[3, 3], [3, 3]]
    for part in parts:
        assert torch.equal(part.codes, whole.codes[list(part.indices), :3])
        torch.testing.assert_close(part.x, tiny_run.decode(part.codes))


def test_the_next_batch_is_not_drawn_before_it_is_asked_for(tiny_run):
    seen = []
    options = SamplingOptions(batch_size=2)
    batches = tiny_run.sample_batches(range(6), "3codes", options, on_code=lambda drawn: bool(seen.append(drawn)))
    assert seen == []
    next(batches)
    assert seen == [1, 2, 3]


# Batch sizes


def sizes_of(
    samples: int, rate: Callable[[int], float], *, given: int | None = None, measures: bool = True
) -> list[int]:
    """Batch sizes of a job of `samples` samples where batches of a size draw `rate` samples a second."""
    sizes, drawn = BatchSizes(given, samples, measures=measures), []
    while samples:
        drawn.append(min(sizes.next(), samples))
        sizes.note(drawn[-1], drawn[-1] / rate(drawn[-1]))
        samples -= drawn[-1]
    return drawn


def test_batches_are_doubled_as_long_as_that_pays_and_then_stay_at_the_best_size():
    drawn = sizes_of(3000, lambda size: {64: 10.0, 128: 12.0, 256: 15.0, 512: 15.1}.get(size, 1.0))
    assert drawn == [64, 128, 256, 512, *[256] * 7, 248]


def test_batches_do_not_grow_beyond_their_limit_however_much_that_pays():
    assert sizes_of(5000, lambda size: size) == [64, 128, 256, 512, 1024, 1024, 1024, 968]


def test_batches_stay_as_they_are_where_doubling_does_not_pay():
    assert sizes_of(600, lambda size: 10.0) == [64, 128, *[64] * 6, 24]


@pytest.mark.parametrize("arguments", [{"given": 100}, {"given": 100, "measures": False}])
def test_a_size_that_is_asked_for_is_kept(arguments):
    assert sizes_of(250, lambda size: size, **arguments) == [100, 100, 50]


def test_sizes_do_not_change_where_that_could_miss_a_deadline():
    assert sizes_of(300, lambda size: size, measures=False) == [64, 64, 64, 64, 44]


@pytest.mark.parametrize("given", [None, 7, 10_000])
def test_a_batch_is_not_larger_than_the_job(given):
    assert sizes_of(5, lambda size: size, given=given) == [5]


# Streams


class CountingEngine(EagerEngine):
    """Counts the codes that it has drawn."""

    drawn = 0

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        stepper = super().open(labels, batch, length)
        step = stepper.step

        def counting(position: int, previous: Tensor | None) -> Tensor:
            self.drawn = position + 1
            return step(position, previous)

        stepper.step = counting
        return stepper


@pytest.fixture
def counted(tiny_folder: Path) -> tuple[Run, CountingEngine]:
    run = load(tiny_folder, device="cpu")
    engine = CountingEngine(run.require_prior(), "float32")
    use_engine(run, "eager", engine)
    return run, engine


EAGER = SamplingOptions(seed=5, engine="eager")


@pytest.mark.parametrize("engine", ["auto", *RUNNABLE])
@pytest.mark.parametrize(
    ("budgets", "lengths"),
    [
        (None, list(range(1, CODES + 1))),
        ([0.25, "5codes", 1.0], [2, 5, 8]),
        (["60%"], [5]),
        ([1.0, "1codes", 0.5, "4codes"], [1, 4, 8]),
    ],
    ids=str,
)
def test_a_stream_gives_growing_beginnings_of_the_samples(tiny_run, whole, engine, budgets, lengths):
    options = SamplingOptions(seed=5, engine=engine)
    prefixes = list(tiny_run.stream(4, budgets, options))
    assert [prefix.codes.shape[1] for prefix in prefixes] == lengths
    for prefix, length in zip(prefixes, lengths, strict=True):
        assert prefix.indices == (0, 1, 2, 3)
        assert torch.equal(prefix.labels, whole.labels[:4])
        assert torch.equal(prefix.codes, whole.codes[:4, :length])


@pytest.mark.parametrize("budget", ["1codes", 0.3, "60%", 1.0])
def test_a_stream_shows_at_each_budget_what_sampling_at_that_budget_gives(tiny_run, budget):
    options = {"seed": 7, "label": 3}
    sampled = tiny_run.sample(3, budget, temperature=0.8, **options)
    (prefix,) = tiny_run.stream(3, [budget], SamplingOptions(**options, temperature=0.8))
    assert torch.equal(prefix.codes, sampled.codes)
    assert torch.equal(prefix.labels, sampled.labels)
    torch.testing.assert_close(prefix.x, sampled.x)


def test_a_stream_decodes_only_what_is_looked_at_and_that_once(counted, monkeypatch):
    run, _ = counted
    decoded = []
    decode = run.decode
    monkeypatch.setattr(
        run, "decode", lambda codes, length=None: (decoded.append(codes.shape[1]), decode(codes, length))[1]
    )
    prefixes = list(run.stream(2, None, EAGER))
    assert decoded == []
    assert prefixes[4].x is prefixes[4].x
    assert prefixes[1].x.shape == (2, 1, 8, 8)
    assert decoded == [5, 2]


def test_what_a_stream_gave_belongs_to_the_caller(counted, whole):
    run, _ = counted
    stream = run.stream(2, None, EAGER)
    first = next(stream)
    first.codes.fill_(-1)
    for prefix in stream:
        assert torch.equal(prefix.codes, whole.codes[:2, : prefix.codes.shape[1]])
    assert first.codes.tolist() == [[-1], [-1]]


def test_a_stream_that_is_left_draws_nothing_more(counted):
    run, engine = counted
    stream = run.stream(2, None, EAGER)
    assert engine.drawn == 0
    next(stream)
    next(stream)
    stream.close()
    assert engine.drawn == 2


def test_a_stream_draws_no_more_codes_than_its_largest_budget(counted):
    run, engine = counted
    assert [prefix.codes.shape[1] for prefix in run.stream(2, ["3codes", "1codes"], EAGER)] == [1, 3]
    assert engine.drawn == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 0}, "number of samples 0 "),
        ({"num": -2}, "number of samples -2 "),
        ({"budgets": []}, "no budget"),
        ({"budgets": ["200ms"]}, "budget 200ms .*use a share or a number of codes"),
        ({"budgets": [0.5, "adaptive"]}, r"budget adaptive:0\.5 .*use a share or a number of codes"),
        ({"budgets": [0.5, 1.7]}, r"budget 1\.7 "),
        ({"budgets": ["9codes"]}, "budget 9codes is more than the 8 codes"),
        ({"options": SamplingOptions(label="cat")}, "no class 'cat'"),
    ],
    ids=str,
)
def test_a_stream_refuses_what_makes_no_sense_at_once(tiny_run, arguments, message):
    with pytest.raises(UsageError, match=message) as error:
        tiny_run.stream(**arguments)
    assert "\n" not in str(error.value)


# Encoding and decoding


def test_codes_and_reconstructions_have_the_shapes_of_the_data(tiny_run, digits):
    codes = tiny_run.encode(digits)
    assert codes.shape == (8, CODES)
    assert codes.dtype == torch.int64
    assert codes.min() >= 0
    assert codes.max() < CODEBOOK
    assert tiny_run.decode(codes).shape == digits.shape
    assert tiny_run.decode(codes).abs().max() <= 1


@pytest.mark.parametrize("budget", ["200ms", "1.5s", "adaptive", "adaptive:0.3"])
def test_reconstructing_takes_no_deadline_and_no_adaptive_budget(tiny_run, digits, budget):
    with pytest.raises(UsageError, match="use a share or a number of codes") as error:
        tiny_run.reconstruct(digits, budget)
    assert f"budget {budget}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [1, 2, 5, CODES])
def test_reconstructing_is_encoding_and_decoding_a_prefix(tiny_run, digits, length):
    codes = tiny_run.encode(digits)
    reconstructed = tiny_run.reconstruct(digits, f"{length}codes")
    assert torch.equal(tiny_run.decode(codes, length), reconstructed)
    assert torch.equal(tiny_run.decode(codes[:, :length]), reconstructed)


def test_each_sample_of_a_batch_can_be_decoded_at_its_own_length(tiny_run, digits):
    codes = tiny_run.encode(digits)
    lengths = torch.arange(1, 9)
    mixed = tiny_run.decode(codes, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(mixed[row], tiny_run.decode(codes, length)[row])


def test_more_codes_reconstruct_better(tiny_run):
    x = tiny_run.modality.datasets().validation.batch(range(300))["x"]
    errors = [(tiny_run.reconstruct(x, f"{length}codes") - x).square().mean() for length in (1, 4, 8)]
    assert errors[0] > errors[1] > errors[2]


# Files


def test_the_autoencoder_file_alone_is_enough_to_load_it(tiny_run, tiny_folder, tmp_path, digits):
    path = shutil.copy(tiny_folder / "autoencoder.safetensors", tmp_path / "elsewhere.safetensors")
    autoencoder, modality = load_autoencoder(path)
    assert not autoencoder.training
    assert modality.sample_shape() == (1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(autoencoder.encode(digits), tiny_run.encode(digits))


def test_the_prior_file_alone_is_enough_to_load_it(tiny_run, tiny_folder, tmp_path, digits):
    prior = load_prior(shutil.copy(tiny_folder / "prior.safetensors", tmp_path / "elsewhere.safetensors"))
    assert not prior.training
    assert (prior.code_length, prior.codebook_size, prior.classes) == (CODES, CODEBOOK, CLASSES)
    codes, labels = tiny_run.encode(digits), torch.arange(8)
    with torch.inference_mode():
        assert torch.equal(prior.log_prob(codes, labels), tiny_run.prior.log_prob(codes, labels))


@pytest.mark.parametrize("part", ["train", "validation"])
def test_the_codes_files_hold_the_encoded_data(tiny_run, tiny_folder, part):
    codes = np.load(tiny_folder / "codes" / f"{part}.npy", allow_pickle=False)
    labels = np.load(tiny_folder / "codes" / f"{part}-labels.npy", allow_pickle=False)
    data = getattr(tiny_run.modality.datasets(), part)
    batch = data.batch(range(min(len(data), tiny_run.record.config["training"]["codes"]["batch_size"])))
    assert codes.dtype == np.uint16
    assert codes.shape == (len(data), CODES)
    assert labels.shape == (len(data),)
    assert np.array_equal(codes[: len(batch["x"])], tiny_run.encode(batch["x"]).numpy())
    assert np.array_equal(labels[: len(batch["x"])], batch["label"].numpy())


def test_no_file_of_a_run_is_a_pickle(tiny_folder):
    files = [path for path in tiny_folder.rglob("*") if path.is_file()]
    arrays = [path for path in files if path.suffix == ".npy"]
    assert len(arrays) == 4
    for path in arrays:
        assert np.load(path, allow_pickle=False).dtype.kind in "iu"
    others = {path.suffix for path in files if path.parent.name != "tensorboard"} - {".npy"}
    assert others == {".json", ".jsonl", ".yaml", ".safetensors", ".png"}


def test_runs_are_listed_with_the_one_written_last_at_the_end(tiny_folder, tmp_path):
    for time, name in enumerate(("b", "a", "c")):
        (tmp_path / name).mkdir()
        shutil.copy(tiny_folder / "run.json", tmp_path / name)
        os.utime(tmp_path / name / "run.json", (time, time))
    (tmp_path / "no run").mkdir()
    assert [folder.name for folder in list_runs(tmp_path)] == ["b", "a", "c"]


# Unfinished and damaged runs


def edit_record(change: Callable[[dict[str, Any]], object]) -> Damage:
    """A damage to a run: `change` is applied to what run.json says."""

    def damage(folder: Path) -> None:
        data = json.loads((folder / "run.json").read_text())
        change(data)
        (folder / "run.json").write_text(json.dumps(data))

    return damage


def write(name: str, content: bytes) -> Damage:
    """A damage to a run: file `name` has another content."""
    return lambda folder: (folder / name).write_bytes(content)


def truncate(name: str) -> Damage:
    """A damage to a run: file `name` lost its second half."""

    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def remove(name: str) -> Damage:
    """A damage to a run: file `name` is missing."""
    return lambda folder: (folder / name).unlink()


def deep(data: dict[str, Any], **spec: object) -> dict[str, Any]:
    """Metadata of a prior with another spec."""
    return {**data, "spec": {**data["spec"], **spec}}


def edit_metadata(name: str, change: Callable[[dict[str, Any]], Any]) -> Damage:
    """A damage to a run: what the metadata of weights file `name` say is replaced by what `change` makes of it."""

    def damage(folder: Path) -> None:
        path = folder / name
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["anytime"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        save_file(state, path, {"anytime": json.dumps(change(metadata))})

    return damage


def without_metadata(name: str) -> Damage:
    """A damage to a run: weights file `name` comes from another program."""
    return lambda folder: save_file({"weight": torch.zeros(3)}, folder / name)


def unplugged(folder: Path) -> None:
    """A damage to a run: it belongs to a modality that is not installed."""
    edit_record(lambda data: data.update(modality="nope"))(folder)
    edit_metadata("autoencoder.safetensors", lambda data: {**data, "modality": "nope"})(folder)


AUTOENCODER, PRIOR = "autoencoder.safetensors", "prior.safetensors"
NEW_RUN = r"anytime (train|runs list)"
NEW_STAGE = r"train that stage again|--stage autoencoder|--stage prior"
UPDATE = r"pip install --upgrade anytime-toolkit"

DAMAGES = [
    ("missing folder", shutil.rmtree, NEW_RUN),
    ("no run.json", remove("run.json"), NEW_RUN),
    ("no JSON", write("run.json", b"{"), NEW_RUN),
    ("binary run.json", write("run.json", b"\xff\xfe\x00"), NEW_RUN),
    ("a list", write("run.json", b"[1]"), NEW_RUN),
    ("no format version", edit_record(lambda data: data.pop("format_version")), NEW_RUN),
    ("lacking keys", write("run.json", b'{"format_version": 1}'), NEW_RUN),
    ("stages of a wrong type", edit_record(lambda data: data.update(stages=3)), NEW_RUN),
    ("newer format", edit_record(lambda data: data.update(format_version=99)), UPDATE),
    ("newer format of another layout", write("run.json", b'{"format_version": 3}'), UPDATE),
    ("modality not installed", unplugged, r"pip install|anytime plugins list"),
    *(
        (f"{name}: {what}", damage, way_out)
        for name in (AUTOENCODER, PRIOR)
        for what, damage, way_out in (
            ("missing", remove(name), NEW_STAGE),
            ("empty", write(name, b""), NEW_STAGE),
            ("truncated", truncate(name), NEW_STAGE),
            ("garbage", write(name, b"\x80\x04garbage" * 99), NEW_STAGE),
            ("foreign metadata", without_metadata(name), NEW_STAGE),
            ("metadata that are no mapping", edit_metadata(name, lambda data: [data]), NEW_STAGE),
            ("empty metadata", edit_metadata(name, lambda data: {}), NEW_STAGE),
            ("newer metadata", edit_metadata(name, lambda data: {**data, "format_version": 99}), UPDATE),
        )
    ),
    (
        f"{AUTOENCODER}: config of another size",
        edit_metadata(AUTOENCODER, lambda data: {**data, "modality_config": {"network": {"channels": 3}}}),
        NEW_STAGE,
    ),
    (
        f"{AUTOENCODER}: impossible config",
        edit_metadata(AUTOENCODER, lambda data: {**data, "autoencoder": {"axis": "diagonal"}}),
        NEW_STAGE,
    ),
    (f"{PRIOR}: sizes of a wrong type", edit_metadata(PRIOR, lambda data: deep(data, classes="ten")), NEW_STAGE),
    (f"{PRIOR}: sizes that do not fit", edit_metadata(PRIOR, lambda data: deep(data, length=5)), NEW_STAGE),
]


@pytest.mark.parametrize(
    ("damage", "way_out"), [row[1:] for row in DAMAGES], ids=[row[0].replace(" ", "-") for row in DAMAGES]
)
def test_a_damaged_run_is_refused_naming_its_path_and_the_way_out(run_copy, damage, way_out):
    damage(run_copy)
    with pytest.raises(RunError) as refused:
        load(run_copy, device="cpu")
    message = str(refused.value)
    assert str(run_copy) in message
    assert re.search(way_out, message.replace(str(run_copy), "")), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "told",
    [
        {"autoencoder": {}, "codes": {}, "prior": {}},
        {
            "autoencoder": {"codes": [4, 8], "reconstruction": {"loss": [0.2, 0.1]}, "codebook_use": 0.5},
            "codes": {},
            "prior": {"bits_per_code": 3.5},
        },
    ],
    ids=["without validation", "with the first measures"],
)
def test_a_run_of_an_earlier_version_opens_with_a_result_of_its_own_type_for_each_stage(run_copy, told):
    def earlier(record: dict[str, Any]) -> None:
        for key in ("found", "last_stage", "changes", "baseline", "quick"):
            del record[key]
        for stage, said in told.items():
            record["stages"][stage]["validation"] = said

    edit_record(earlier)(run_copy)
    record = load(run_copy, device="cpu").record
    assert list(map(type, record.finished.values())) == [AutoencoderResult, CodesResult, PriorResult]
    assert record.stages["autoencoder"].validation.reconstruction.get("loss") in (None, (0.2, 0.1))
    assert record.stages["prior"].validation.bits_per_code == told["prior"].get("bits_per_code")
    assert {name: result["validation"] for name, result in record.model_dump(mode="json")["stages"].items()} == told


def test_a_run_without_prior_encodes_but_says_how_to_get_samples(run_copy, digits, tiny_run):
    """The prior's file of an older training does not count where run.json does not list the stage."""
    edit_record(lambda data: data["stages"].pop("prior"))(run_copy)
    run = load(run_copy, device="cpu")
    assert torch.equal(run.encode(digits), tiny_run.encode(digits))
    with pytest.raises(RunError, match=re.escape(f"anytime train --run {run_copy}")):
        run.sample(1)
