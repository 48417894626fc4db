"""`anytime evaluate` and what is behind it, on a tiny run."""

from __future__ import annotations

import csv
import dataclasses
import html
import itertools
import json
import math
import os
import re
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from conftest import tiny_config
from filelock import FileLock
from safetensors.torch import save_file

from anytime_core.budget import Budget
from anytime_core.data.files import write_json
from anytime_core.errors import PluginError, UsageError
from anytime_core.evaluation import classifier as classifier_module
from anytime_core.evaluation import job as job_module
from anytime_core.evaluation import judge as judge_module
from anytime_core.evaluation.classifier import CLASSIFIER_FILE, ClassifierMetadata, open_classifier
from anytime_core.evaluation.cost import sampling_cost
from anytime_core.evaluation.drawn import DrawnCodes
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.evaluation.extractors import ExtractorRequest, requested
from anytime_core.evaluation.gains import order_agreement
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.page.pictures import priority_codes, real_samples, real_sheet, shown_samples
from anytime_core.evaluation.page.sheets import Shown
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation, cells
from anytime_core.evaluation.showing import show_evaluation
from anytime_core.evaluation.tables import printed_table
from anytime_core.modality import Datasets, Extractor, OfferedExtractor
from anytime_core.record import Change
from anytime_core.results import PriorValidation
from anytime_core.run import Run, load
from anytime_core.sampling import sampler as sampler_module
from anytime_core.sampling.options import SamplingOptions
from anytime_core.training.train import train_stages
from anytime_core.weights import read_weights
from anytime_image.datasets import ImageTensor
from anytime_image.modality import ImageModality

BUDGETS = (Budget(0.25), Budget(0.5), Budget(1.0))
OPTIONS = EvaluationOptions(BUDGETS, num=60)
TIMES = ("seconds_per_sample", "codes_per_second", "peak_memory")


@pytest.fixture(autouse=True, scope="module")
def _short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_module, "_VIEWS", 12_800)
        yield


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Path:
    """A folder with a trained classifier, which spares others its training."""
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def evaluation(tiny_run, judged) -> Evaluation:
    (result,) = evaluate(tiny_run, judged, OPTIONS)
    return result


@pytest.fixture
def folder(judged, evaluation, tmp_path) -> Path:
    """An empty evaluation folder but for the classifier."""
    (tmp_path / CLASSIFIER_FILE).write_bytes((judged / CLASSIFIER_FILE).read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def unordered(tmp_path_factory) -> Run:
    """A baseline without a prior."""
    path = tmp_path_factory.mktemp("runs") / "unordered"
    train_stages(tiny_config("autoencoder.truncation.distribution=none"), path, stages=["autoencoder"])
    return load(path, device="cpu")


def without_times(evaluation: Evaluation) -> list[dict]:
    return [{name: value for name, value in row.model_dump().items() if name not in TIMES} for row in evaluation.rows]


# What is measured


def test_rows_are_budgets_in_order_with_all_that_is_measured(evaluation):
    assert [row.codes for row in evaluation.rows] == [2, 4, 8]
    assert [row.budget for row in evaluation.rows] == [0.25, 0.5, 1.0]
    for row in evaluation.rows:
        assert set(row.reconstruction) == set(row.reconstruction_spread) == {"loss", "mse", "psnr", "ssim"}
        assert row.calls == row.codes
        for quality in (row.samples, row.reconstructed):
            assert set(quality.frechet) == {"classifier"}
            shares = (quality.precision, quality.recall, quality.coverage, quality.label_accuracy)
            assert all(0 <= value <= 1 for value in shares)
        numbers = [value for name, value in cells(row) if name not in ("peak memory", "bits standard error")]
        assert all(math.isfinite(value) for value in numbers)
        assert row.seconds_per_sample > 0


def test_more_codes_reconstruct_better_and_look_more_like_the_data(evaluation):
    few, _, all_ = evaluation.rows
    assert all_.reconstruction["mse"] < few.reconstruction["mse"]
    assert all_.reconstructed.frechet["classifier"] < few.reconstructed.frechet["classifier"]
    assert all_.reconstructed.label_accuracy > few.reconstructed.label_accuracy


def test_reconstruction_is_the_mean_and_spread_over_the_validation_data(evaluation, tiny_run):
    validation = tiny_run.modality.datasets().validation
    x = validation.batch(range(len(validation)))["x"]
    mse = tiny_run.modality.metrics()["mse"](tiny_run.reconstruct(x, "2codes"), x).double()
    row = evaluation.rows[0]
    assert evaluation.reference == len(x)
    assert row.reconstruction["mse"] == pytest.approx(mse.mean().item(), rel=1e-5)
    assert row.reconstruction_spread["mse"] == pytest.approx(mse.std(correction=0).item(), rel=1e-4)


def test_bits_are_those_of_the_codes_that_are_drawn(evaluation, tiny_run):
    bits = tiny_run.record.stages["prior"].validation.bits_per_position
    assert evaluation.bits_per_position == list(bits)
    assert [row.bits_per_code for row in evaluation.rows] == pytest.approx([sum(bits[:n]) / n for n in (2, 4, 8)])


def test_every_number_names_its_extractor_and_how_good_it_is(evaluation):
    assert list(evaluation.extractors) == ["classifier"]
    assert "1,497 training samples of 10 classes" in evaluation.extractors["classifier"]
    assert "% of the validation data" in evaluation.extractors["classifier"]


def test_training_data_chance_and_the_judge_are_what_to_compare_with(evaluation, tiny_run):
    labels = tiny_run.modality.datasets().validation.batch(range(300))["label"]
    assert evaluation.chance == {"samples": 0.1, "reconstructed": pytest.approx(labels.bincount().max().item() / 300)}
    assert evaluation.floor.label_accuracy is None
    assert evaluation.floor.frechet["classifier"] < evaluation.rows[-1].reconstructed.frechet["classifier"]
    assert evaluation.floor.coverage > 0.9
    assert (evaluation.judge.samples, evaluation.judge.classes) == (1497, 10)
    said = f"right on {evaluation.judge.accuracy:.1%} of the validation data, by chance {evaluation.judge.chance:.1%}"
    assert said in evaluation.label_judge
    assert evaluation.perfect == {"loss": 0.0, "mse": 0.0, "psnr": pytest.approx(100), "ssim": pytest.approx(1)}
    assert "codes" in evaluation.verdict[0]


def test_what_validation_said_of_other_reconstructions_is_passed_on(tiny_run, folder):
    stages = dict(tiny_run.record.stages)
    validation = stages["autoencoder"].validation
    said = {"mean_sample": {"loss": 0.3}, "shuffled": {"loss": tuple(range(len(validation.codes)))}}
    stages["autoencoder"] = stages["autoencoder"].model_copy(update={"validation": validation.model_copy(update=said)})
    run = dataclasses.replace(tiny_run, record=tiny_run.record.model_copy(update={"stages": stages}))
    (result,) = evaluate(run, folder, dataclasses.replace(OPTIONS, budgets=(Budget(1.0),), num=20))
    assert result.mean_sample == {"loss": 0.3}
    assert result.shuffled == {"loss": dict(zip(validation.codes, range(len(validation.codes)), strict=True))}


def test_gains_are_losses_at_every_number_of_codes(evaluation):
    assert list(evaluation.gains) == list(range(1, 9))
    assert evaluation.gains[8] < evaluation.gains[1]


@pytest.mark.parametrize(
    ("losses", "agreement"),
    [([8.0, 4.0, 2.0, 1.0], 1.0), ([8.0, 7.0, 4.0, 0.0], 0.0), ([4.0, 3.0, 2.0, 0.0], 0.5), ([2.0, 1.0], None)],
)
def test_order_agrees_where_a_code_buys_at_least_as_much_as_the_next(losses, agreement):
    assert order_agreement(dict(enumerate(losses, 1))) == agreement


def test_a_gain_over_many_codes_counts_for_each_of_them():
    assert order_agreement({1: 10.0, 2: 8.0, 6: 4.0}) == 1.0


# The same again, and after a kill


def kill(run: Run, folder: Path, at: str, options: EvaluationOptions = OPTIONS) -> None:
    """Begin an evaluation that ends at once when it comes to an activity."""

    class Killed(BaseException):
        pass

    def die(activity: str, done: int, total: int) -> None:
        if at in activity:
            raise Killed

    with pytest.raises(Killed):
        evaluate(run, folder, options, on_progress=die)


def test_the_same_call_gives_the_same_numbers(evaluation, tiny_run, folder):
    (again,) = evaluate(tiny_run, folder, OPTIONS)
    assert without_times(again) == without_times(evaluation)


def test_a_killed_evaluation_goes_on_where_it_was(evaluation, tiny_run, folder):
    kill(tiny_run, folder, "4 of 8 codes: samples")
    assert len(list(folder.glob(".rows-*"))) == len(list(folder.glob(".codes-*"))) == 1
    seen: list[str] = []
    (again,) = evaluate(tiny_run, folder, OPTIONS, on_progress=lambda activity, done, total: seen.append(activity))
    assert without_times(again) == without_times(evaluation)
    assert not any("drawing" in activity or "2 of 8" in activity or "training the" in activity for activity in seen)
    assert {path.name for path in folder.iterdir()} == {CLASSIFIER_FILE, EVALUATION_FILE}


def test_another_seed_does_not_go_on_with_what_the_first_one_left(tiny_run, folder):
    kill(tiny_run, folder, "drawing")
    other = dataclasses.replace(OPTIONS, sampling=SamplingOptions(seed=1))
    classifier = (folder / CLASSIFIER_FILE).read_bytes()
    (result,) = evaluate(tiny_run, folder, other)
    assert result.seed == 1
    assert (folder / CLASSIFIER_FILE).read_bytes() != classifier


def test_a_finished_evaluation_leaves_nothing_of_killed_ones(evaluation, tiny_run, unordered, folder):
    kill(tiny_run, folder, "4 of 8 codes: samples", dataclasses.replace(OPTIONS, num=50))
    left = {path.name for path in folder.iterdir()}
    assert [name[:6] for name in sorted(left)] == [".codes", ".rows-", CLASSIFIER_FILE[:6]]
    kill(tiny_run, folder, "drawing")
    (folder / ".partial-4711-.rows-0123456789ab.json").write_text("{")
    assert left < {path.name for path in folder.iterdir()}, "an evaluation that has not ended removes nothing"
    (result,) = evaluate(tiny_run, folder, OPTIONS)
    assert without_times(result) == without_times(evaluation)
    assert {path.name for path in folder.iterdir()} == {CLASSIFIER_FILE, EVALUATION_FILE}


def test_two_evaluations_cannot_write_to_one_folder(tiny_run, folder, tmp_path_factory):
    before, refused = (folder / CLASSIFIER_FILE).stat().st_mtime_ns, []

    def evaluate_too(activity: str, done: int, total: int) -> None:
        if not refused:
            with pytest.raises(UsageError) as error:
                evaluate(tiny_run, folder, OPTIONS)
            refused.append(str(error.value))

    (result,) = evaluate(tiny_run, folder, OPTIONS, on_progress=evaluate_too)
    assert refused[0].startswith(f"process {os.getpid()} on ")
    assert refused[0].endswith(f" is evaluating into {folder}: wait for it, or choose another folder")
    assert len(result.rows) == 3
    assert {path.name for path in folder.iterdir()} == {CLASSIFIER_FILE, EVALUATION_FILE}
    assert (folder / CLASSIFIER_FILE).stat().st_mtime_ns == before


def test_an_evaluation_that_cannot_begin_leaves_no_folder(tiny_run, tmp_path):
    options = dataclasses.replace(OPTIONS, extractors=(ExtractorRequest("inseption"),))
    with pytest.raises(UsageError, match="no extractor 'inseption'"):
        evaluate(tiny_run, tmp_path / "new" / "evaluation", options)
    assert not (tmp_path / "new").exists()


# Many samples


def test_samples_are_looked_at_in_batches_that_are_not_kept(tiny_run, folder, monkeypatch):
    decode, decoded, alive = Run.decode, [], []

    def counted(self, *arguments, **options):
        alive.append(sum(reference() is not None for reference in decoded))
        x = decode(self, *arguments, **options)
        decoded.append(weakref.ref(x))
        return x

    monkeypatch.setattr(Run, "decode", counted)
    monkeypatch.setattr(job_module, "BATCH", 50)
    evaluate(tiny_run, folder, dataclasses.replace(OPTIONS, budgets=(Budget(1.0),), num=1000))
    assert len(alive) > 20
    assert max(alive) <= 2


def test_only_the_first_features_are_kept(monkeypatch):
    monkeypatch.setattr(judge_module, "_MANIFOLD", 10)
    seen = judge_module._Seen(kept=[])
    features = torch.rand(24, 3)
    for part in features.split(4):
        seen.add(part)
    assert torch.equal(seen.manifold, features[:10])
    assert sum(len(part) for part in seen.kept) == 12
    torch.testing.assert_close(seen.moments.mean, features.double().mean(0))


@pytest.mark.parametrize("cut", [0, 1, 31, 32, 33])
def test_codes_that_were_cut_off_by_a_kill_are_drawn_again(tiny_run, tmp_path, cut):
    DrawnCodes(tmp_path, tiny_run, 5, 8, SamplingOptions(seed=3)).draw()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - cut])
    told: list[int] = []
    DrawnCodes(tmp_path, tiny_run, 5, 8, SamplingOptions(seed=3)).draw(told.append)
    assert file.read_bytes() == whole
    assert told == ([5] if cut else [])


def test_drawn_samples_are_those_of_the_run(tiny_run, tmp_path):
    drawn = DrawnCodes(tmp_path, tiny_run, 5, 8, SamplingOptions(seed=3))
    drawn.draw()
    expected = tiny_run.sample(5, 0.5, seed=3)
    parts = list(drawn.decoded(4, 2))
    assert [len(x) for x, _ in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([labels for _, labels in parts]), expected.labels)
    torch.testing.assert_close(torch.cat([x for x, _ in parts]), expected.x)


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_draw_the_samples_of_one(tiny_run, tmp_path, monkeypatch, processes):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    shares = []
    for rank in reversed(range(processes)):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(DrawnCodes(tmp_path, tiny_run, 5, 8, SamplingOptions(seed=3)))
        shares[-1].draw()
    shares[-1].wait()
    assert len(list(tmp_path.iterdir())) == processes
    parts = list(shares[-1].decoded(8, 2))
    expected = tiny_run.sample(5, 1.0, seed=3)
    assert torch.equal(torch.cat([labels for _, labels in parts]), expected.labels)
    torch.testing.assert_close(torch.cat([x for x, _ in parts]), expected.x)


def test_the_first_of_several_processes_judges_what_all_drew(evaluation, tiny_run, folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    before = set(folder.iterdir())
    assert evaluate(tiny_run, folder, OPTIONS) == []
    assert [path.name[:7] for path in set(folder.iterdir()) - before] == [".codes-"]
    monkeypatch.setenv("RANK", "0")
    (together,) = evaluate(tiny_run, folder, OPTIONS)
    assert without_times(together) == without_times(evaluation)
    assert set(folder.iterdir()) == before | {folder / "evaluation.json"}


# Baselines


def test_a_baseline_without_a_prior_has_reconstructions_at_the_same_numbers_of_codes(tiny_run, unordered, folder):
    own, other = evaluate(tiny_run, folder, OPTIONS, against=[unordered])
    assert (own.baseline_of, other.baseline_of) == (None, own.run)
    assert [row.codes for row in other.rows] == [row.codes for row in own.rows]
    assert all(row.samples is None and row.seconds_per_sample is None for row in other.rows)
    assert other.rows[0].reconstruction["mse"] > own.rows[0].reconstruction["mse"]
    assert other.extractors == own.extractors


def test_a_run_of_other_data_is_no_baseline(tiny_run, unordered, tmp_path):
    other = dataclasses.replace(unordered, record=unordered.record.model_copy(update={"classes": ("a", "b")}))
    with pytest.raises(UsageError, match=r"cannot be compared with.*its classes"):
        evaluate(tiny_run, tmp_path / "new", OPTIONS, against=[other])
    assert not (tmp_path / "new").exists()


def test_a_baseline_whose_classes_have_another_order_is_judged_by_their_names(tiny_run, folder, monkeypatch):
    """Its samples, feigned, are real ones, labelled as it numbers them."""
    names = tiny_run.record.classes
    other = dataclasses.replace(
        tiny_run, record=tiny_run.record.model_copy(update={"created": "earlier", "classes": names[::-1]})
    )

    def real(drawn: DrawnCodes, codes: int, batch: int):
        samples = tiny_run.modality.datasets().validation.batch(range(60))
        own = samples["label"]
        yield samples["x"], own if drawn.run is tiny_run else len(names) - 1 - own

    monkeypatch.setattr(DrawnCodes, "decoded", real)
    mine, theirs = evaluate(tiny_run, folder, EvaluationOptions(BUDGETS[-1:], num=60), against=[other])
    accuracy = mine.rows[0].samples.label_accuracy
    assert accuracy > 0.5
    assert theirs.rows[0].samples.label_accuracy == accuracy


# The classifier and extractors


def test_the_classifier_knows_real_samples_by_their_own_label_only(judged, evaluation, tiny_run):
    datasets = tiny_run.modality.datasets()
    config = {key: tiny_run.record.config[key] for key in ("data", "network", "loss")}
    before = torch.random.get_rng_state()
    classifier, extractor, _ = open_classifier(
        judged, tiny_run.modality, datasets, config=config, seed=0, device=torch.device("cpu"), on_step=pytest.fail
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    batch = datasets.validation.batch(range(200))
    assert classifier.recognised(batch["x"], batch["label"]).float().mean() > 0.8
    assert classifier.recognised(batch["x"], (batch["label"] + 1) % 10).float().mean() < 0.1
    assert extractor.features(batch["x"]).shape[0] == 200


def test_a_damaged_classifier_is_trained_again_where_it_lies_with_an_evaluation(evaluation, tiny_run, folder):
    (folder / CLASSIFIER_FILE).write_bytes(b"no weights")
    with pytest.raises(UsageError, match=f"holds {re.escape(CLASSIFIER_FILE)}, which no evaluation wrote"):
        evaluate(tiny_run, folder, OPTIONS)
    write_json(folder / EVALUATION_FILE, evaluation.model_dump(mode="json"))
    (again,) = evaluate(tiny_run, folder, OPTIONS)
    assert without_times(again) == without_times(evaluation)


def test_a_classifier_of_another_form_is_trained_again_from_the_seed(evaluation, tiny_run, folder):
    state, metadata = read_weights(folder / CLASSIFIER_FILE, ClassifierMetadata)
    other = {name: value + 1 for name, value in state.items()} | {"head.bias": torch.zeros(3)}
    save_file(other, folder / CLASSIFIER_FILE, {"anytime": metadata.model_dump_json()})
    (again,) = evaluate(tiny_run, folder, OPTIONS)
    assert without_times(again) == without_times(evaluation)


class Offering(ImageModality):
    """With an extractor that needs nothing and one that does."""

    def extractors(self):
        brightness = Extractor("mean brightness", lambda x: x.flatten(1).mean(1, keepdim=True), scores=("brightness",))
        return {
            "brightness": OfferedExtractor(lambda source: brightness, default=True),
            "heavy": OfferedExtractor(lambda source: pytest.fail("nobody asked for it")),
        }


def test_all_extractors_that_need_nothing_are_used_where_none_is_named():
    names = [request.name for request in requested(Offering(), [], labelled=True)]
    assert names == ["classifier", "brightness"]
    assert [request.name for request in requested(Offering(), [], labelled=False)] == ["brightness"]


def test_features_that_mean_something_are_reported_by_name(tiny_run, folder):
    run = dataclasses.replace(tiny_run, modality=Offering(tiny_run.modality.config))
    options = dataclasses.replace(OPTIONS, extractors=(ExtractorRequest("brightness"),))
    (result,) = evaluate(run, folder, options)
    row = result.rows[-1]
    assert set(row.samples.frechet) == {"brightness"}
    assert row.samples.scores["brightness"] == pytest.approx(row.reconstructed.scores["brightness"], abs=0.2)
    assert row.samples.label_accuracy is not None
    assert set(result.extractors) == {"brightness"}
    assert "classifier trained on" in result.label_judge
    titles, rows = printed_table(result)
    assert rows[-1][titles.index("brightness")].count("/") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not understood"),
        ("=file", "is not understood"),
        ("heavy=", "is not understood"),
        ("heavi", "did you mean 'heavy'"),
        ("classifier=x.pth", "takes no weights from a file: leave out =x.pth"),
        ("heavy=x.pth", "takes no weights from a file: leave out =x.pth"),
    ],
)
def test_an_extractor_that_there_is_not_is_named(text, message):
    with pytest.raises(UsageError, match=message):
        requested(Offering(), [ExtractorRequest.parse(text)], labelled=True)


def test_the_classifier_needs_labels():
    with pytest.raises(UsageError, match="needs data with labels"):
        requested(ImageModality(), [ExtractorRequest("classifier")], labelled=False)


def test_data_without_labels_and_extractors_still_has_its_reconstructions(tiny_run, tmp_path):
    def unlabelled() -> Datasets:
        pictures = torch.randint(0, 255, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return Datasets(ImageTensor(pictures, None), ImageTensor(pictures, None))

    modality = ImageModality(tiny_run.modality.config)
    modality.datasets = unlabelled
    modality.extractors = dict
    path = shutil.copytree(tiny_run.folder, tmp_path / "run")
    train_stages(
        tiny_config("prior.class_conditional=false", "training.prior.steps=2"), path, stages=["prior"], force=True
    )
    run = load(path, device="cpu")
    run = dataclasses.replace(run, modality=modality, record=run.record.model_copy(update={"classes": ()}))
    (result,) = evaluate(run, tmp_path / "evaluation", OPTIONS)
    quality = result.rows[0].samples
    assert (quality.frechet, quality.precision, quality.recall, quality.label_accuracy) == ({}, None, None, None)
    assert result.rows[0].reconstruction["mse"] > 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_or_extractor_that_is_not_finite_is_named(tiny_run, folder, value):
    class Broken(ImageModality):
        def metrics(self):
            return {"odd": lambda x_hat, x: torch.full((len(x),), value)}

    run = dataclasses.replace(tiny_run, modality=Broken(tiny_run.modality.config))
    with pytest.raises(PluginError, match="metric 'odd' is not finite"):
        evaluate(run, folder, OPTIONS)

    class BrokenFeatures(ImageModality):
        def extractors(self):
            broken = Extractor("none", lambda x: torch.full((len(x), 2), value))
            return {"broken": OfferedExtractor(lambda source: broken, default=True)}

    run = dataclasses.replace(tiny_run, modality=BrokenFeatures(tiny_run.modality.config))
    with pytest.raises(PluginError, match="extractor 'broken' gives features that are not finite"):
        evaluate(run, folder, OPTIONS)


def test_a_run_whose_prior_was_validated_less_has_no_bits(tiny_run, folder):
    stages = dict(tiny_run.record.stages)
    stages["prior"] = stages["prior"].model_copy(update={"validation": PriorValidation(bits_per_code=3.0)})
    run = dataclasses.replace(tiny_run, record=tiny_run.record.model_copy(update={"stages": stages}))
    (result,) = evaluate(run, folder, OPTIONS)
    assert [row.bits_per_code for row in result.rows] == [None] * 3
    assert result.rows[0].samples is not None


@pytest.mark.parametrize("fixture", ["tiny_run", "agnostic_run"])
def test_everything_that_may_take_long_tells_how_far_it_is(fixture, request, folder):
    run, told = request.getfixturevalue(fixture), {}
    options = EvaluationOptions((Budget(1.0),), num=20, calls=(2,))

    def on_progress(activity: str, done: int, total: int) -> None:
        told.setdefault(activity.replace(str(run.folder), "run"), []).append((done, total))

    show_evaluation(run, evaluate(run, folder, options, on_progress=on_progress), folder, on_progress=on_progress)
    expected = {"looking at validation data", "run, gains of further codes", "drawing from run", "making the page"}
    expected |= {f"run, 8 of 8 codes: {part}" for part in ("reconstructions", "samples", "measuring the cost")}
    expected |= {"run, bits by calls", "run, 8 of 8 codes: bits"} if fixture == "agnostic_run" else set()
    assert expected <= told.keys()
    for activity in expected:
        done, total = zip(*told[activity], strict=True)
        assert list(done) == sorted(done)
        assert set(total) == {done[-1]}


def test_costs_and_pictures_of_a_run_whose_memory_allows_only_small_batches(tiny_run, monkeypatch):
    expected = shown(tiny_run)
    monkeypatch.setattr(sampler_module, "largest_batch", lambda numbers, device: 10)
    cost = sampling_cost(tiny_run, 4, SamplingOptions())
    assert cost.seconds_per_sample > 0
    assert cost.codes_per_second > 0
    assert shown(tiny_run) == expected


# Pictures


def shown(run: Run, **others: Run) -> list[Shown]:
    real = real_samples(run, run.modality.datasets())
    return shown_samples(run, [2, 8], SamplingOptions(), real, others)


def test_the_same_samples_are_shown_at_every_budget_beside_reconstructions_and_those_of_other_runs(
    tiny_run, agnostic_run, unordered
):
    few, all_ = shown(tiny_run, agnostic=agnostic_run, unordered=unordered)
    assert (few.codes, all_.codes) == (2, 8)
    captions = ["New samples", "Reconstructions of validation data", "New samples, agnostic"]
    assert [sheet.caption for sheet in few.sheets] == [sheet.caption for sheet in all_.sheets] == captions
    for coarse, fine in zip(few.sheets, all_.sheets, strict=True):
        assert coarse.picture != fine.picture
        assert fine.picture.startswith(b"\x89PNG")
        assert not fine.media


def test_a_run_without_a_prior_shows_reconstructions(unordered):
    assert [[sheet.caption for sheet in one.sheets] for one in shown(unordered)] == [
        ["Reconstructions of validation data"]
    ] * 2


def test_real_samples_are_of_each_class_in_turn(tiny_run):
    datasets = tiny_run.modality.datasets()
    real = real_samples(tiny_run, datasets)
    validation = datasets.validation.batch(range(len(datasets.validation)))
    numbers = [int((validation["x"] == one).flatten(1).all(1).nonzero()[0, 0]) for one in real.x]
    assert validation["label"][numbers].tolist() == real.labels.tolist() == [number % 10 for number in range(16)]
    assert len(set(numbers)) == 16
    assert real_sheet(tiny_run, real).picture.startswith(b"\x89PNG")


def test_rows_of_priority_codes_share_their_first_codes(tiny_run, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        tiny_run, "decode", lambda codes, lengths=None: decoded.append(codes) or torch.zeros(len(codes), 1, 8, 8)
    )
    assert [one.shared for one in priority_codes(tiny_run, SamplingOptions())] == [1, 2, 4]
    for shared, codes in zip((1, 2, 4), [codes for codes in decoded if len(codes) == 32], strict=True):
        rows = codes.view(-1, 8, 8)
        assert (rows[:, :, :shared] == rows[:, :1, :shared]).all()
        assert len(codes.unique(dim=0)) > len(rows)


# Order-agnostic priors


@pytest.fixture(scope="module")
def by_calls(agnostic_run, judged) -> list[Evaluation]:
    options = dataclasses.replace(OPTIONS, calls=(None, 3))
    return evaluate(agnostic_run, judged, options)


def test_each_number_of_calls_has_its_rows_on_the_plane_of_codes_and_calls(by_calls):
    whole, limited = by_calls
    assert (whole.calls, limited.calls) == (None, 3)
    assert limited.baseline_of == whole.run
    assert [(row.codes, row.calls) for row in whole.rows] == [(2, 2), (4, 4), (8, 8)]
    assert [(row.codes, row.calls) for row in limited.rows] == [(2, 2), (4, 3), (8, 3)]
    assert whole.rows[0] == limited.rows[0]  # two codes take two calls, so there is nothing to measure again
    for first, second in zip(whole.rows, limited.rows, strict=True):
        assert first.reconstruction == second.reconstruction
        assert first.reconstructed == second.reconstructed
        assert second.bits_per_code >= first.bits_per_code - 4 * first.bits_standard_error
        assert 0 < first.bits_standard_error < 0.2


def test_plans_other_than_the_best_are_said(agnostic_run, folder):
    options = dataclasses.replace(OPTIONS, budgets=(Budget(1.0),), calls=(3,), sampling=SamplingOptions(plan="certain"))
    (certain,) = evaluate(agnostic_run, folder, options)
    assert (certain.plan, certain.calls) == ("certain", 3)
    with pytest.raises(UsageError, match="no plan 'even'"):
        EvaluationOptions(sampling=SamplingOptions(plan="even"))


def test_bits_by_calls_fall_to_those_of_one_by_one(by_calls):
    for points in by_calls[0].bits_per_calls.values():
        assert list(points) == [1, 2, 4, 8]
        assert points[1] > points[8]
    optimal, linear = by_calls[0].bits_per_calls["optimal"], by_calls[0].bits_per_calls["linear"]
    assert optimal[1] == linear[1]
    assert optimal[8] == linear[8]


def test_a_killed_evaluation_by_calls_goes_on(agnostic_run, by_calls, folder, monkeypatch):
    options = dataclasses.replace(OPTIONS, calls=(None, 3))
    quality, calls = judge_module.Judge.quality, []

    def fails(self, *arguments):
        calls.append(arguments)
        if len(calls) == 6:  # the first is of training data
            raise KeyboardInterrupt
        return quality(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(judge_module.Judge, "quality", fails)
        with pytest.raises(KeyboardInterrupt):
            evaluate(agnostic_run, folder, options)
    assert list(folder.glob(".rows-*"))
    again = evaluate(agnostic_run, folder, options)
    assert [without_times(one) for one in again] == [without_times(one) for one in by_calls]
    assert not list(folder.glob(".rows-*"))
    assert not list(folder.glob(".codes-*"))


def test_what_one_autoencoder_does_is_measured_once_for_all_its_priors(
    evaluation, tiny_run, agnostic_run, unordered, folder, monkeypatch
):
    reconstruct, measured = Run.reconstruct, []

    def counted(run, *arguments):
        measured.append(run.folder)
        return reconstruct(run, *arguments)

    monkeypatch.setattr(Run, "reconstruct", counted)
    own, other, foreign = evaluate(tiny_run, folder, OPTIONS, against=[agnostic_run, unordered])
    assert agnostic_run.folder not in measured
    assert {tiny_run.folder, unordered.folder} == set(measured)
    for mine, yours in zip(own.rows, other.rows, strict=True):
        assert mine.without_samples() == yours.without_samples()
    assert without_times(own) == without_times(evaluation)
    assert (own.autoencoder, own.gains) == (other.autoencoder, other.gains)
    assert foreign.autoencoder != own.autoencoder


def test_the_command_compares_calls_and_the_page_shows_them(anytime, agnostic_folder, tiny_folder, folder):
    arguments = ("--budgets", "0.5,1", "--num", 20, "--calls", "all,2", "--against", tiny_folder, "--out", folder)
    result = anytime("evaluate", "--run", agnostic_folder, *arguments)
    assert result.status == 0, result.err
    titles = [f"{agnostic_folder} (ardm)", f"{agnostic_folder} (ardm), at most 2 calls", f"{tiny_folder} (transformer)"]
    lines = result.out.splitlines()
    for title, following in itertools.pairwise([*map(lines.index, titles), len(lines)]):  # a table under each
        assert sum(line.startswith("codes ") for line in lines[title:following]) == 1
    assert not any(title in result.err.splitlines() for title in titles)
    assert sum(line.startswith("bits per code of ardm: an upper bound") for line in lines) == 2  # each has its error
    written = json.loads((folder / "evaluation.json").read_text())
    assert [one["calls"] for one in written] == [None, 2, None]
    page = (folder / "report.html").read_text()
    assert "Bits per code, by network calls" in page
    assert "agnostic (ardm), 2 calls" in page
    assert "agnostic (ardm) / tiny (transformer)" in page
    assert "Bits per code, of runs with the same autoencoder" in page
    (compared,) = [sentence for sentence in written[0]["verdict"] if "whose codes are the same" in sentence]
    assert f"needs at most {written[0]['rows'][-1]['bits_per_code']:.3f} bits per code against" in compared
    assert "; upper bounds of agnostic (ardm), agnostic (ardm), 2 calls" in page
    assert "All numbers of the other runs" in page
    assert "--calls all,2" in page
    refused = anytime("evaluate", "--run", agnostic_folder, "--calls", "ten", "--out", folder)
    assert refused.status == 2
    assert "calls 'ten'" in refused.err
    assert anytime("evaluate", "--run", agnostic_folder, "--calls", "0", "--out", folder).status == 2


def test_shown_samples_are_drawn_for_each_number_of_codes(agnostic_run):
    few, all_ = shown(agnostic_run)
    assert (few.codes, all_.codes) == (2, 8)
    assert few.sheets[0].picture != all_.sheets[0].picture
    assert [one.shared for one in priority_codes(agnostic_run, SamplingOptions())] == [1, 2, 4]


# The command


def test_the_command_writes_tables_a_plot_and_a_page(anytime, tiny_folder, folder):
    result = anytime("evaluate", "--run", tiny_folder, "--budgets", "0.25,8codes", "--num", 20, "--out", folder)
    assert result.status == 0, result.err
    assert "recognised" in result.out
    assert "a / b: of new samples / of reconstructions" in result.out
    header = next(line for line in result.out.splitlines() if line.startswith("codes"))
    assert "loss" not in header
    assert "report.html" in result.err
    written = json.loads((folder / "evaluation.json").read_text())
    assert [row["codes"] for row in written["rows"]] == [2, 8]
    with (folder / "evaluation.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["codes"] for line in lines] == ["2", "8"]
    assert float(lines[0]["mse"]) == written["rows"][0]["reconstruction"]["mse"]
    (caution,) = written["cautions"]
    assert caution.startswith("20 new samples are fewer than the 128 dimensions of classifier")
    assert result.out.splitlines()[-1] == f"caution: {caution}"
    assert [line["cautions"] for line in lines] == [caution] * 2
    assert f"Caution: {caution}." in (folder / "report.html").read_text()
    assert (folder / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert "--extractor" not in (folder / "report.html").read_text()
    assert "<html" in (folder / "report.html").read_text()


def test_the_page_says_how_the_config_of_the_run_was_changed(tiny_run, evaluation, folder):
    change = Change(
        at="2026-01-02T03:04:05", stages=("codes", "prior"), values={"prior.dropout": 0.2, "data.root": None}
    )
    record = tiny_run.record.model_copy(update={"changes": (change,), "quick": True})
    show_evaluation(dataclasses.replace(tiny_run, record=record), [evaluation], folder)
    page = html.unescape((folder / "report.html").read_text())
    assert "2026-01-02T03:04:05: prior.dropout=0.2 data.root=null (stages codes, prior)" in page
    assert "the quick variant of image/tiny" in page


def test_json_is_the_evaluation_or_a_list_where_there_are_baselines(anytime, tiny_folder, unordered, folder):
    common = ("evaluate", "--run", tiny_folder, "--budgets", "0.5", "--num", 20, "--out", folder, "--json")
    alone, both = anytime(*common), anytime(*common, "--against", unordered.folder)
    assert json.loads(alone.out)["rows"][0]["codes"] == 4
    assert [one["run"] for one in json.loads(both.out)] == [str(tiny_folder), str(unordered.folder)]
    assert [len(one["cautions"]) for one in json.loads(both.out)] == [1, 0]  # the baseline draws no samples
    beside, trained = json.loads(both.out)[0]["verdict"][-2:]
    assert "beside unordered, reconstructions" in beside
    assert trained.startswith("Training of unordered beside this run's: as many steps of the autoencoder")
    assert trained.endswith("; other values of autoencoder.truncation.distribution.")


def test_a_folder_that_another_process_evaluates_into_is_refused_in_one_line(anytime, tiny_folder, tmp_path):
    with FileLock(tmp_path / ".evaluation.lock"):
        result = anytime("evaluate", "--run", tiny_folder, "--num", 20, "--out", tmp_path)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert f"error: another process is evaluating into {tmp_path}: wait for it, or choose another" in result.err
    assert {path.name for path in tmp_path.iterdir()} == {".evaluation.lock"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budgets", "200ms"), "budget 200ms is for calls that draw whole samples"),
        (("--budgets", "9codes"), "budget 9codes is more than the 8 codes there are"),
        (("--budgets", ""), "budget '' is not understood"),
        (("--num", "1"), "1"),
        (("--extractor", "inseption"), "no extractor 'inseption'"),
        (("--against", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(anytime, tiny_folder, tmp_path, arguments, message):
    result = anytime("evaluate", "--run", tiny_folder, "--out", tmp_path / "new", *arguments)
    assert result.status in (1, 2)
    assert message in result.err
    assert result.err.count("error:") == 1
    assert "Traceback" not in result.err
    assert not any((tmp_path / "new").rglob("*.json"))
