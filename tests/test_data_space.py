"""Likelihoods of data whose values are the codes: nats a sample, bits a dimension, and what independent values need."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import AGNOSTIC, tiny_config

from anytime_core.budget import Budget
from anytime_core.data_space import BITS, NATS, DataSpace, data_space
from anytime_core.errors import UsageError
from anytime_core.evaluation import classifier as classifier_module
from anytime_core.evaluation import floors as floors_module
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.evaluation.floors import data_space_of, floors_of, measure, values_of
from anytime_core.evaluation.measures import measures
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.page.report import Origin, render_report
from anytime_core.evaluation.result import Evaluation
from anytime_core.evaluation.tables import comparisons, full_table, legend, printed_table
from anytime_core.evaluation.versus import bits_beside, same_codes, same_values
from anytime_core.quantizers.base import CodeSpec
from anytime_core.results import PriorValidation
from anytime_core.run import Run, load
from anytime_core.training.train import train_stages

VALUES = 64
OPTIONS = EvaluationOptions((Budget(0.25), Budget(1.0)), num=4, calls=(8,))


def trained(path: Path, levels: int, *overrides: str) -> Run:
    """A run on the pixels of digits."""
    sizes = (f"autoencoder.quantizer.size={levels}", "training.prior.steps=4", "training.prior.batch_size=8")
    config = tiny_config(*sizes, *overrides, baseline="identity")
    train_stages(config, path)
    return load(path, device="cpu")


@pytest.fixture(scope="module")
def binary(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "binary", 2)


@pytest.fixture(scope="module")
def agnostic(tmp_path_factory) -> Run:
    """Order-agnostic, on values of four levels."""
    return trained(tmp_path_factory.mktemp("runs") / "agnostic", 4, *AGNOSTIC)


@pytest.fixture(scope="module", autouse=True)
def _short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_module, "_VIEWS", 256)
        yield


@pytest.fixture(scope="module")
def evaluation(binary, tmp_path_factory) -> Evaluation:
    (found,) = evaluate(binary, tmp_path_factory.mktemp("evaluation"), OPTIONS)
    return found


@pytest.fixture(scope="module")
def bound(agnostic, tmp_path_factory) -> Evaluation:
    (found,) = evaluate(agnostic, tmp_path_factory.mktemp("evaluation"), OPTIONS)
    return found


# Codes as values of data


@pytest.mark.parametrize(
    ("kind", "spec", "found"),
    [
        ("identity", CodeSpec(length=12, size=2, dim=1, grid=(1, 4, 3)), DataSpace(12, 2)),
        ("identity", CodeSpec(length=36, size=2, dim=1, grid=(3, 1, 4, 3)), DataSpace(12, 8, 3)),
        ("identity", CodeSpec(length=12, size=256, dim=1, grid=(1, 4, 3)), DataSpace(12, 256)),
        ("ordered", CodeSpec(length=12, size=2, dim=1, grid=(12,)), None),
    ],
)
def test_codes_are_values_of_data_only_without_an_encoder(kind, spec, found):
    assert data_space(kind, (1, 4, 3), spec) == found


@pytest.mark.parametrize(
    ("space", "unit", "of_48_bits"),
    [(DataSpace(12, 2), NATS, 48 * math.log(2)), (DataSpace(12, 8, 3), BITS, 4.0), (DataSpace(12, 256), BITS, 4.0)],
)
def test_binary_values_are_measured_in_nats_a_sample_and_others_in_bits_a_dimension(space, unit, of_48_bits):
    assert space.unit == unit
    assert space.of_bits(48.0) == pytest.approx(of_48_bits)
    assert space.field in PriorValidation.model_fields


def test_values_are_found_in_any_order_of_their_digits():
    values = np.random.default_rng(0).integers(0, 8, (5, 6))
    planes = np.stack([values >> 2 & 1, values >> 1 & 1, values & 1], 1).reshape(5, 18)
    order = np.random.default_rng(1).permutation(18)
    assert (values_of(DataSpace(6, 8, 3), planes[:, order], tuple(order)) == values).all()
    assert (values_of(DataSpace(6, 8), values, None) == values).all()
    in_planes = values_of(DataSpace(6, 8, 3), planes[:, order], tuple(order))
    whole = measure(DataSpace(6, 8), [values], [values])
    assert measure(DataSpace(6, 8, 3), [in_planes], [in_planes]) == whole  # the same data are known as such


# Floors


def test_floors_are_those_of_histograms_of_training_data_on_validation_data(monkeypatch):
    generator = np.random.default_rng(0)
    probable = generator.dirichlet([1.0] * 4, 3)
    train, validation = (
        np.stack([generator.choice(4, number, p=row) for row in probable], 1) for number in (4000, 5000)
    )
    space = DataSpace(3, 4)
    found = measure(space, [train[:1500], train[1500:]], [validation])

    def bits(seen: np.ndarray, wanted: np.ndarray) -> float:
        counts = np.bincount(seen.ravel(), minlength=4) + 0.5
        return float(-np.log2(counts / counts.sum())[wanted].mean())

    each = [bits(train[:, value], validation[:, value]) for value in range(3)]
    assert found.independent == pytest.approx(sum(each) / 3)
    assert found.zero_order == pytest.approx(bits(train, validation))
    entropy = float(-(probable * np.log2(probable)).sum(1).mean())
    assert found.independent == pytest.approx(entropy, rel=0.02)
    assert found.independent < found.zero_order
    monkeypatch.setattr(floors_module, "_MOST_COUNTS", 11)
    fewer = measure(space, [train], [validation])
    assert (fewer.zero_order, fewer.independent) == (pytest.approx(found.zero_order), None)


def test_a_level_that_training_data_lacks_is_not_impossible():
    found = measure(DataSpace(2, 3), [np.zeros((5, 2), int)], [np.array([[0, 2]])])
    assert found.independent == pytest.approx((math.log2(6.5 / 5.5) + math.log2(6.5 / 0.5)) / 2)


def test_floors_need_neither_files_of_codes_nor_a_prior(binary, tmp_path):
    shutil.copytree(binary.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "codes")
    (tmp_path / "run" / "prior.safetensors").unlink()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for stage in ("codes", "prior"):
        del record["stages"][stage]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert floors_of(load(tmp_path / "run", device="cpu")) == floors_of(binary)


@pytest.mark.parametrize("order", ["subscale", "bits"])
def test_floors_are_of_values_whatever_the_order_of_codes(agnostic, tmp_path, order):
    config = tiny_config("autoencoder.quantizer.size=4", f"autoencoder.order={order}", baseline="identity")
    train_stages(config, tmp_path / "run", stages=["autoencoder"])
    run = load(tmp_path / "run", device="cpu")
    assert data_space_of(run) == DataSpace(VALUES, 4, 2 if order == "bits" else 1)
    assert floors_of(run) == floors_of(agnostic)


def test_the_command_says_them(anytime, binary):
    found = floors_of(binary)
    told = anytime("evaluate", "--run", binary.folder, "--floors")
    assert f"{found.zero_order:.2f}" in told.out
    assert f"{found.independent:.2f}" in told.out
    assert NATS in told.out
    as_json = json.loads(anytime("evaluate", "--run", binary.folder, "--floors", "--json").out)
    assert as_json == {
        "run": str(binary.folder),
        "values": VALUES,
        "levels": 2,
        "unit": NATS,
        "floors": {"zero_order": found.zero_order, "independent": found.independent, "data": found.data},
    }


def test_codes_of_an_encoder_have_no_floors(anytime, tiny_run):
    told = anytime("evaluate", "--run", tiny_run.folder, "--floors")
    assert told.status == 2
    assert told.err.count("\n") == 1
    assert "train one with --baseline identity" in told.err
    assert data_space_of(tiny_run) is None
    with pytest.raises(UsageError, match=r"codes of run .* are those of an encoder"):
        floors_of(tiny_run)


# What training records


def validation_of(run: Run) -> PriorValidation:
    return run.record.stages["prior"].validation


def test_a_run_keeps_what_its_prior_needs_in_the_unit_of_its_data(anytime, binary, agnostic, tiny_run):
    exact, bound, of_codes = map(validation_of, (binary, agnostic, tiny_run))
    assert exact.nats_per_sample == pytest.approx(exact.bits_per_code * VALUES * math.log(2), rel=1e-4)
    assert bound.bits_per_dimension == pytest.approx(bound.bits_per_code, rel=1e-4)
    assert (exact.bits_per_dimension, bound.nats_per_sample) == (None, None)
    assert (of_codes.bits_per_dimension, of_codes.nats_per_sample) == (None, None)
    assert (exact.bounded, bound.bounded, of_codes.bounded) == (False, True, False)
    for run, said in (
        (binary, f"prior: {exact.nats_per_sample:.2f} nats per sample on validation data"),
        (agnostic, f"prior: at most {bound.bits_per_dimension:.4f} bits per dimension on validation data"),
        (tiny_run, f"prior: {of_codes.bits_per_code:.3f} bits per code on validation data"),
    ):
        assert said in anytime("runs", "show", run.folder).out


def test_runs_are_listed_and_compared_with_what_their_priors_need(anytime, binary, agnostic):
    root, exact = binary.folder.parent, validation_of(binary)
    assert exact.in_words in anytime("runs", "--root", root).out
    (listed,) = json.loads(anytime("runs", "--root", root, "--json").out)
    assert listed["nats_per_sample"] == exact.nats_per_sample
    assert (listed["bits_per_dimension"], listed["bits_per_code"]) == (None, exact.bits_per_code)
    results = json.loads(anytime("runs", "compare", binary.folder, agnostic.folder, "--json").out)["results"]
    assert results[NATS] == [exact.nats_per_sample, None]
    assert results[BITS] == [None, validation_of(agnostic).bits_per_dimension]


def test_a_bound_of_an_earlier_version_is_told_by_its_bits_by_steps():
    old = PriorValidation.model_validate({"bits_per_code": 3.25, "bits_per_step": [[4.0, 3.0]]})
    assert old.in_words == "at most 3.250 bits per code"
    assert PriorValidation().in_words == ""


# What an evaluation says


def test_an_evaluation_measures_values_and_their_floors(binary, evaluation):
    validation, (quarter, whole) = validation_of(binary), evaluation.rows
    assert whole.nats_per_sample == pytest.approx(validation.nats_per_sample, rel=1e-3)
    assert 0 < quarter.nats_per_sample < whole.nats_per_sample
    assert quarter.nats_per_sample == pytest.approx(quarter.bits_per_code * 16 * math.log(2))
    assert whole.bits_per_dimension is None
    found = evaluation.data_space
    assert (found.values, found.levels, found.unit, found.floors) == (VALUES, 2, NATS, floors_of(binary))
    assert found.needed == whole.nats_per_sample
    assert found.standard_error == pytest.approx(validation.standard_error * VALUES * math.log(2))


def test_bounds_are_those_of_the_calls_and_column_heads_say_so(bound):
    quarter, whole = bound.rows
    assert bound.calls == whole.calls == 8
    assert quarter.bits_per_dimension == pytest.approx(quarter.bits_per_code / 4)
    found = bound.data_space
    assert found.unit == BITS
    assert found.needed == whole.bits_per_dimension == pytest.approx(whole.bits_per_code)
    assert found.standard_error == pytest.approx(whole.bits_standard_error)
    titles, _ = printed_table(bound)
    assert f"{BITS}, at most ↓" in titles
    assert any("an upper bound; standard error" in line for line in legend(bound))
    assert f"bits per code and {BITS} are upper bounds" in full_table("it", bound, own=True).caption


def test_the_table_has_the_unit_of_the_data_in_place_of_bits_per_code(evaluation):
    titles, rows = printed_table(evaluation)
    assert f"{NATS} ↓" in titles
    assert not any("bits per code" in title for title in titles)
    assert rows[-1][titles.index(f"{NATS} ↓")] == f"{evaluation.data_space.needed:.2f}"
    floors = evaluation.data_space.floors
    assert f"independent values need {floors.independent:.2f} by a histogram" in " ".join(legend(evaluation))


def test_the_verdict_says_whether_the_prior_is_better_than_independent_values(evaluation):
    (said,) = [sentence for sentence in evaluation.verdict if "independent values" in sentence]
    needed, floors = evaluation.data_space.needed, evaluation.data_space.floors
    assert said.startswith(f"The prior needs {needed:.2f} nats per sample, independent values {floors.independent:.2f}")
    assert ("learned nothing" in said) == (needed >= floors.independent)


def test_the_page_shows_them(evaluation):
    page = render_report([evaluation], [], [], Origin("", ()))
    floors = evaluation.data_space.floors
    assert "Independent values, a histogram for each" in page
    assert "upper rows; the rest by neighbours" in page
    assert f"{floors.zero_order:.2f} nats per sample" in page
    (chart,) = [measure for measure in measures([evaluation]) if measure.column == NATS]
    assert chart.levels == {"independent values": floors.independent}
    assert "Nats per sample" in page


def test_priors_of_the_same_values_in_another_order_compare(evaluation):
    other = evaluation.model_copy(update={"run": "other", "autoencoder": "of another order", "bits_beside": {}})
    farther = other.data_space.model_copy(update={"needed": evaluation.data_space.needed + 9, "standard_error": 0.5})
    (said,) = bits_beside(evaluation, [("other", other)])
    assert "too near to tell them apart" in said
    other = other.model_copy(update={"data_space": farther, "bound": True})
    (said,) = bits_beside(evaluation, [("other", other)])
    assert f"against at most {farther.needed:.2f} of other, which models the same values" in said
    assert "by these bounds, fewer by 9.00" in said
    captions = [table.caption for table in comparisons([("it", evaluation), ("other", other)])]
    assert "Nats per sample, of runs whose codes are the values of data; upper bounds of other" in captions


def test_priors_of_other_data_do_not_compare_although_autoencoders_of_values_are_all_alike(evaluation):
    found = evaluation.data_space
    floors = found.floors.model_copy(update={"data": "of thresholded pixels"})
    other = evaluation.model_copy(update={"run": "other", "data_space": found.model_copy(update={"floors": floors})})
    assert not same_codes(evaluation, other)
    assert not same_values(evaluation, other)
    (said,) = bits_beside(evaluation, [("other", other)])
    assert said == "What priors need does not compare with other, whose validation data has other values."
    assert not [table for table in comparisons([("it", evaluation), ("other", other)]) if "per" in table.caption]
    (chart,) = [measure for measure in measures([evaluation, other]) if measure.column == NATS]
    assert chart.note.endswith("but different data do not compare")


def test_evaluations_of_earlier_versions_are_read(evaluation):
    dumped = evaluation.model_dump(mode="json")
    for name in ("data_space", "bound"):
        del dumped[name]
    for row in dumped["rows"]:
        del row["nats_per_sample"], row["bits_per_dimension"]
    old = Evaluation.model_validate(dumped)
    titles, _ = printed_table(old)
    assert "bits per code ↓" in titles
    assert not any("independent values" in line for line in legend(old))


def test_a_prior_of_only_some_values_has_bits_per_code(tmp_path):
    run = trained(tmp_path / "some", 2, "prior.code_length=16")
    assert validation_of(run).nats_per_sample is None
    (found,) = evaluate(run, tmp_path / "evaluation", EvaluationOptions((Budget(1.0),), num=2))
    assert (found.data_space.needed, found.rows[-1].nats_per_sample) == (None, None)
    titles, _ = printed_table(found)
    assert "bits per code ↓" in titles
    assert any("independent values need" in line for line in legend(found))
