"""The page of an evaluation: what it shows, that it needs nothing else, and that no name can break it."""

from __future__ import annotations

import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from PIL import Image

from anytime_core.evaluation.page.charts import (
    Bar,
    Line,
    bar_chart,
    line_chart,
    logarithmic_ticks,
    round_ticks,
    value_scale,
)
from anytime_core.evaluation.page.report import Origin, render_report
from anytime_core.evaluation.page.sheets import PriorityCodes, Sheet, Shown
from anytime_core.evaluation.plot import quality_figure
from anytime_core.evaluation.result import Evaluation, LabelJudge, Quality, Row
from anytime_core.evaluation.tables import full_table, legend, printed_table
from anytime_core.plotting import spaced_ticks

CODES = (1, 2, 4, 8, 12, 16)
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'"


def quality(codes: int, worse: float) -> Quality:
    return Quality(
        frechet={"classifier": worse * 60 / codes, "pixels": worse * 9 / codes**0.5},
        precision=0.4 + 0.5 * codes / 16 / worse,
        recall=0.3 + 0.5 * codes / 16 / worse,
        density=codes / 16 / worse,
        coverage=0.3 + 0.6 * codes / 16 / worse,
        label_accuracy=1 - 0.6 * worse / codes**0.8,
        scores={"sharpness": 0.2 + codes / 40},
    )


def row(codes: int, worse: float = 1.0) -> Row:
    return Row(
        budget=codes / 16,
        codes=codes,
        reconstruction={"loss": worse * 0.45 / codes**0.7, "psnr": 9 + 4 * math.log2(codes) / worse},
        reconstruction_spread={"loss": 0.01, "psnr": 1.5},
        reconstructed=quality(codes, worse),
        samples=quality(codes, 1.4 * worse),
        bits_per_code=5 - codes / 16,
        seconds_per_sample=0.0004 + 0.0003 * codes,
        codes_per_second=3200.0,
        calls=codes,
        peak_memory=700 * 2**20,
    )


def evaluation(run: str = "runs/ordered", **changes: object) -> Evaluation:
    """Made-up numbers that look like those of a good run."""
    values: dict[str, object] = {
        "run": run,
        "modality": "image",
        "recipe": "image/digits",
        "code_length": 16,
        "codebook_size": 64,
        "num": 1000,
        "reference": 360,
        "seed": 3,
        "extractors": {"classifier": "a small network trained to tell the classes apart", "pixels": "plain values"},
        "codebook_use": 0.97,
        "gains": {codes: 0.45 / codes**0.7 for codes in range(1, 17)},
        "order_agreement": 0.933,
        "bits_per_position": [5 - position / 8 for position in range(16)],
        "rows": [row(codes) for codes in CODES],
    }
    return Evaluation.model_validate({**values, **changes})


def baseline(run: str, kind: str | None, worse: float, codes: tuple[int, ...] = CODES) -> Evaluation:
    rows = [row(number, worse * (17 - number) ** 0.3) for number in codes]
    return evaluation(run, baseline=kind, baseline_of="runs/ordered", rows=rows)


def png(width: int = 264, height: int = 132, seed: int = 0) -> bytes:
    """A sheet of tiles."""
    generator = np.random.default_rng(seed)
    tiles = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(tiles.repeat(8, 0).repeat(8, 1)[:height, :width]).save(file, "png")
    return file.getvalue()


def wav(pitch: float = 440.0, rate: int = 8000) -> bytes:
    """Two seconds of a tone that fades."""
    time = np.arange(2 * rate) / rate
    file = io.BytesIO()
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * pitch * time) * np.exp(-2 * time), rate, format="WAV")
    return file.getvalue()


def pictures() -> list[Shown]:
    return [
        Shown(
            codes / 16,
            codes,
            (Sheet("New samples", png(seed=codes)), Sheet("Reconstructions", png(height=66, seed=codes + 20))),
        )
        for codes in CODES
    ]


def sounds() -> list[Shown]:
    media, labels = (wav(), wav(660.0)), ("seven", "nine")
    return [
        Shown(codes / 16, codes, (Sheet("New samples", png(1120, 300, codes), media, "audio/wav", labels),))
        for codes in CODES
    ]


def page(
    *baselines: Evaluation,
    own: Evaluation | None = None,
    shown: list[Shown] | None = None,
    priority: tuple[PriorityCodes, ...] = (PriorityCodes(1, png()), PriorityCodes(4, png(seed=1))),
    config: str = "modality: image\n",
    commands: tuple[str, ...] = ("anytime train --run runs/ordered", "anytime evaluate"),
    changes: tuple[str, ...] = (),
    quick: str = "",
    real: Sheet | None = None,
) -> str:
    evaluations = [own or evaluation(), *baselines]
    origin = Origin(config, commands, changes, quick)
    return render_report(evaluations, pictures() if shown is None else shown, priority, origin, real)


class Page(HTMLParser):
    """Elements and text of a page."""

    VOID = frozenset({"meta", "link", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        found = (present for name, present in self.elements if name == tag)
        return [present for present in found if attributes.items() <= present.items()]


def charts(html: str) -> list[str]:
    return [
        svg["aria-label"].partition(" against ")[0] for svg in Page(html).all("svg") if "against" in svg["aria-label"]
    ]


# What it shows


def test_the_header_says_what_was_evaluated():
    text = Page(page()).text
    for said in (
        "ordered",
        "image/digits",
        "1,000 a budget",
        "360",
        "a small network trained to tell the classes apart",
    ):
        assert said in text


def test_every_element_is_closed_where_it_was_opened():
    assert not Page(page(baseline("runs/unordered", "unordered", 1.5), shown=sounds())).open


def test_each_budget_is_a_stop_of_the_slider_and_the_last_is_shown_without_scripts():
    shown = Page(page())
    (slider,) = shown.all("input", type="range")
    assert (slider["min"], slider["max"], slider["step"]) == ("0", "5", "1")
    stops = [element for element in shown.all("div") if "data-stop" in element]
    assert [int(stop["data-stop"]) for stop in stops] == list(CODES)
    assert stops[3]["data-says"] == "8 of 16 codes, budget 0.5"
    assert ["hidden" in stop for stop in stops] == [True] * 5 + [False]
    assert "16 of 16 codes, budget 1" in shown.text


def test_a_budget_has_its_time_and_quality():
    text = Page(page()).text
    for said in ("Time per sample1.6 ms", "Fréchet distance, classifier10.5", "Label accuracy84.1 %"):
        assert said in text


def test_sounds_have_players_with_labels_and_pictures_that_scale_smoothly():
    shown = Page(page(shown=sounds(), priority=()))
    players = shown.all("audio")
    assert len(players) == 2 * len(CODES)
    assert all("controls" in player and player["src"].startswith("data:audio/wav;base64,") for player in players)
    assert "Sample 2: nine" in shown.text
    assert {picture["class"] for picture in shown.all("img")} == {"picture"}


def test_small_pictures_are_enlarged_by_whole_pixels():
    (picture,) = Page(page(shown=[Shown(1.0, 16, (Sheet("New samples", png(60, 40)),))], priority=())).all("img")
    assert (picture["class"], picture["width"], picture["height"]) == ("picture pixelated", "480", "320")


def test_every_picture_and_chart_has_words_for_those_who_do_not_see_it():
    shown = Page(page(baseline("runs/unordered", "unordered", 1.5)))
    assert all(picture["alt"] for picture in shown.all("img"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in shown.all("svg"))
    assert "ordered, samples: 84 at 1 code, 5.25 at 16 codes" in shown.all("svg")[1]["aria-label"]


def test_a_chart_is_left_out_where_no_run_has_its_numbers():
    assert "Label accuracy" in charts(page())
    rows = [one.model_copy(update={"samples": None, "bits_per_code": None}) for one in evaluation().rows]
    rows = [one.model_copy(update={"reconstructed": Quality(frechet={"pixels": 2.0})}) for one in rows]
    assert charts(page(own=evaluation(rows=rows))) == [
        "Reconstruction: psnr",
        "Fréchet distance: pixels",
        "Seconds per sample",
    ]


def test_numbers_that_are_not_finite_are_left_out_of_charts():
    rows = [
        row(1).model_copy(update={"bits_per_code": math.inf}),
        row(2).model_copy(update={"bits_per_code": math.nan}),
    ]
    html = page(own=evaluation(rows=rows, gains={1: math.inf, 2: 0.5, 3: 0.25}))
    assert "code 3: 0.25" in html
    assert "Bits per code" not in charts(html)
    assert not re.search(r'="(nan|-?inf)', html)


def test_baselines_stand_beside_the_run_with_ratios():
    text = Page(page(baseline("runs/plain", "unordered", 1.5))).text
    assert "ordered / unordered" in text
    assert f"{1 / (1.5 * 16**0.3):.3f}" in text  # loss at one code


def test_the_other_numbers_are_said_to_be_of_what_they_are_of():
    own, plain = evaluation(), baseline("runs/plain", "unordered", 1.5)
    for others, said in (
        ([plain], "the baselines"),
        ([plain, plain.model_copy(update={"run": "runs/gru", "baseline": None})], "the other runs"),
        ([own.model_copy(update={"calls": 2})], "this run with other numbers of calls"),
    ):
        assert f"All numbers of {said}" in Page(page(*others, own=own)).text


def test_baselines_of_one_kind_go_by_their_folders():
    text = Page(
        page(baseline("runs/first", "dedicated", 0.9, (4,)), baseline("runs/second", "dedicated", 0.9, (8,)))
    ).text
    assert "ordered / first" in text
    assert "ordered / second" in text


def test_only_uncertain_numbers_carry_a_caution():
    assert "Caution" not in Page(page()).text


def test_gains_order_and_codebook_use_are_said():
    html = page()
    assert "In 93.3 % of neighbouring steps" in html
    assert "97 % of the 64 codebook entries" in html
    assert f"code 2: {0.45 - 0.45 / 2**0.7:.4g}" in html


def test_shared_codes_are_said():
    text = Page(page()).text
    assert "Samples of a row share their first code" in text
    assert "Samples of a row share their first 4 codes" in text


def test_the_conclusion_comes_before_all_numbers():
    text = Page(page(own=evaluation(verdict=("The prior is to blame.",)))).text
    assert text.index("The prior is to blame.") < text.index("Modality")
    assert "In short" not in Page(page()).text


def test_validation_data_and_other_samples_stand_beside_the_samples():
    shown = Page(page(real=Sheet("Validation data", png(height=66))))
    captions = [picture["alt"].partition(" from ")[0] for picture in shown.all("img")]
    assert captions[:2] == ["New samples", "Reconstructions"]
    assert captions.count("Validation data") == 1
    assert captions.count("Reconstructions") == len(CODES)


@pytest.mark.parametrize(("stops", "labels"), [(6, 6), (10, 10), (24, 8)])
def test_stops_of_the_slider_are_labelled_as_far_as_there_is_room(stops, labels):
    shown = [Shown(codes / stops, codes, (Sheet("New samples", png(8, 8)),)) for codes in range(1, stops + 1)]
    html = page(shown=shown, priority=())
    found = re.findall(r"<span>(\d*)</span>", html.partition('class="ticks"')[2].partition("</div>")[0])
    assert len(found) == stops
    assert found[-1] == str(stops)
    assert sum(bool(label) for label in found) == labels


def test_changes_of_data_and_config_are_said():
    assert not re.search("come about|quick variant", Page(page()).text)
    assert "the quick variant of image/digits" in Page(page(quick="image/digits")).text
    text = Page(page(own=evaluation(changes=("there are 9 more samples",)), changes=("prior.dropout=0.2",))).text
    assert "Not the data that the run was trained on: there are 9 more samples." in text
    assert "The run itself was trained otherwise" in text
    assert "prior.dropout=0.2" in text


CHANCE = {"samples": 0.1, "reconstructed": 0.4}
WEAK = LabelJudge(samples=1000, classes=10, accuracy=0.712, chance=0.2)


@pytest.mark.parametrize(
    ("judge", "weakness"),
    [
        (LabelJudge(samples=1000, classes=10, accuracy=0.9, chance=0.2), ""),
        (WEAK, "it is right on only 71.2% of the validation data, by chance 20.0%"),
        (
            LabelJudge(samples=499, classes=10, accuracy=1.0, chance=0.2),
            "it was trained on only 499 samples of 10 classes",
        ),
    ],
)
def test_a_weak_judge_is_named_beside_what_it_judges(judge, weakness):
    own = evaluation(judge=judge)
    assert judge.weakness == weakness
    marked = {title.removesuffix(" (weak judge)") for title in charts(page(own=own)) if title.endswith("(weak judge)")}
    assert marked == ({"Fréchet distance: classifier", "Label accuracy", "Density", "Coverage"} if weakness else set())
    assert marked < {panel.get_title().removesuffix(" (weak judge)") for panel in quality_figure([own]).axes}
    assert ("Label accuracy (weak judge)" in Page(page(own=own)).text) == bool(weakness)
    assert sum("(weak judge)" in title for title in printed_table(own)[0]) == len(marked)


def test_chance_and_training_data_are_thin_lines():
    own = evaluation(chance=CHANCE, floor=Quality(frechet={"classifier": 3.0}, density=1.1, coverage=0.9))
    labels = {svg["aria-label"].partition(" against ")[0]: svg["aria-label"] for svg in Page(page(own=own)).all("svg")}
    assert "chance, samples: 0.1; chance, reconstructions: 0.4" in labels["Label accuracy"]
    assert "training data: 3" in labels["Fréchet distance: classifier"]
    assert "training data: 0.9" in labels["Coverage"]
    assert "training data" not in labels["Fréchet distance: pixels"]
    assert "by chance 10 %84.1 %" in Page(page(own=own)).text
    same = Page(page(own=evaluation(chance={"samples": 0.1, "reconstructed": 0.14})))
    assert any("; chance: 0.1." in svg["aria-label"] for svg in same.all("svg"))


# Tables


def test_the_printed_table_says_which_values_are_better_and_how_to_read_it():
    own = evaluation(chance=CHANCE, perfect={"loss": 0.0, "psnr": 100.0}, floor=Quality(frechet={"classifier": 3.0}))
    titles, rows = printed_table(own)
    assert titles == [
        "codes",
        "budget",
        "psnr ↑",
        "Fréchet, classifier ↓",
        "Fréchet, pixels ↓",
        "density ↑",
        "coverage ↑",
        "recognised ↑",
        "sharpness",
        "bits per code ↓",
        "ms a sample ↓",
    ]
    assert rows[0][:4] == ["1", "6%", "9", "84 / 60"]
    said = "\n".join(legend(own))
    assert "a / b: of new samples / of reconstructions" in said
    assert "by chance 10.0% / 40.0%, the share of the largest class" in said
    assert "training data instead of samples has a Fréchet distance of: classifier 3" in said


def test_a_legend_explains_only_what_there_is():
    rows = [row(4).model_copy(update={"samples": None, "reconstructed": Quality(frechet={})})]
    assert legend(evaluation(rows=rows)) == ["↓ lower is better, ↑ higher is better"]
    assert legend(evaluation(rows=[])) == []


@pytest.mark.parametrize(("loss", "columns"), [(0.5, ["mse"]), (0.6, ["loss", "mse"])])
def test_a_loss_that_is_one_of_the_metrics_is_no_column_of_its_own(loss, columns):
    rows = [row(4).model_copy(update={"reconstruction": {"loss": loss, "mse": 0.5}, "reconstruction_spread": {}})]
    table = full_table("ordered", evaluation(rows=rows), own=True)
    assert [column for column in table.columns if column in ("loss", "mse")] == columns
    assert "loss" not in printed_table(evaluation(rows=rows))[0]


def test_evaluations_of_earlier_versions_have_a_page_and_a_table():
    said = evaluation(rows=[row(4)]).model_dump(mode="json")
    for name in ("judge", "chance", "floor", "perfect", "mean_sample", "shuffled", "verdict"):
        del said[name]
    for one in ("samples", "reconstructed"):
        del said["rows"][0][one]["density"], said["rows"][0][one]["coverage"]
    old = Evaluation.model_validate(said)
    assert "Coverage" not in charts(page(own=old))
    assert "psnr" in printed_table(old)[0]
    assert legend(old)


# Little to show


def test_a_run_without_a_prior_has_a_page():
    rows = [Row(budget=1.0, codes=16, reconstruction={}, reconstruction_spread={}, reconstructed=Quality(frechet={}))]
    bare = evaluation(
        recipe=None, codebook_size=None, codebook_use=None, gains={}, order_agreement=None, bits_per_position=[],
        extractors={}, rows=rows,
    )  # fmt: skip
    shown = Page(page(own=bare, shown=[], priority=(), config="", commands=()))
    assert not shown.all("input")
    assert not shown.all("img")
    assert not shown.all("svg")
    assert "None" not in shown.text
    assert "New samples" not in shown.text


def test_a_run_without_any_budget_has_a_page():
    assert "ordered" in Page(page(own=evaluation(rows=[]))).text


# Safety


def test_hostile_names_stay_text():
    hostile = evaluation(
        f"runs/{HOSTILE}".replace("</", "<\\"),
        modality=HOSTILE,
        recipe=HOSTILE,
        extractors={HOSTILE: HOSTILE},
        verdict=(HOSTILE,),
        changes=(HOSTILE,),
        cautions=[HOSTILE],
        floor=Quality(frechet={HOSTILE: 1.0}),
        rows=[row(4).model_copy(update={"reconstruction": {HOSTILE: 1.0}})],
    )
    sheet = Sheet(HOSTILE, png(), (wav(),), "audio/wav", (HOSTILE,))
    told = {"config": HOSTILE, "commands": (HOSTILE,), "changes": (HOSTILE,)}
    html = page(baseline(HOSTILE, HOSTILE, 1.5), own=hostile, shown=[Shown(0.25, 4, (sheet,))], real=sheet, **told)
    parsed = Page(html)
    assert len(parsed.all("script")) == 1
    assert {picture["src"][:15] for picture in parsed.all("img")} == {"data:image/png;"}
    assert not [attributes for _, attributes in parsed.elements if any(name.startswith("on") for name in attributes)]
    assert HOSTILE in parsed.text


def test_the_page_needs_no_other_file():
    html = page(baseline("runs/unordered", "unordered", 1.5), shown=sounds())
    parsed = Page(html)
    loaded = [
        attributes[name]
        for _, attributes in parsed.elements
        for name in ("src", "href", "srcset")
        if name in attributes
    ]
    assert loaded
    assert all(source.startswith("data:") for source in loaded)
    assert "://" not in html
    assert not re.search(r"@import|url\(", html)
    assert "default-src 'none'" in html


def test_the_same_numbers_give_the_same_page():
    assert page() == page()


# Charts


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.043, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
        (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
        (9.2, 10.1, [9.2, 9.4, 9.6, 9.8, 10, 10.2]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_ticks_of_a_logarithmic_scale_are_few():
    assert logarithmic_ticks(0.8, 60) == pytest.approx([1, 2, 5, 10, 20, 50])
    assert logarithmic_ticks(0.8, 6e3) == pytest.approx([1, 10, 100, 1000])
    assert len(logarithmic_ticks(1e-30, 1e30)) <= 7


@pytest.mark.parametrize(
    "values", [[3.0], [0.0, 0.0], [0.3, 0.1 + 0.2], [-2.0, 5.0], [1e-9, 1e9], [0.5, 40.0], [12.0, 15.0]]
)
def test_a_scale_shows_every_value(values):
    scale = value_scale(values)
    assert all(scale.low <= value <= scale.high for value in values)
    assert all(12 <= scale(value) <= 196 for value in values)


def test_the_plot_is_logarithmic_where_values_are_far_apart():
    near = quality_figure([evaluation()])
    far = quality_figure([evaluation(), baseline("runs/other", "unordered", 300.0)])
    title = "Fréchet distance: classifier"
    assert [panel.get_yscale() for panel in near.axes if panel.get_title() == title] == ["linear"]
    assert [panel.get_yscale() for panel in far.axes if panel.get_title() == title] == ["log"]
    assert {panel.get_yscale() for panel in far.axes if panel.get_title() in {"Recall", "Bits per code"}} == {"linear"}


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [
        ([1, 2, 4, 8, 16, 32, 48, 64], [1, 16, 32, 48, 64]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1], [1]),
        ([60, 63, 64], [60, 63, 64]),
    ],
)
def test_labels_of_codes_do_not_touch(numbers, kept):
    assert spaced_ticks(numbers) == kept


def test_panels_of_reconstructions_are_dashed():
    panels = {panel.get_title(): panel for panel in quality_figure([evaluation()]).axes}
    assert {line.get_linestyle() for line in panels["Reconstruction: psnr"].lines} == {"--"}
    assert {line.get_linestyle() for line in panels["Bits per code"].lines} == {"-"}


def test_labels_of_lines_that_end_together_do_not_overlap():
    chart = line_chart("Loss", [Line(name, [(1, 2.0), (4, 1.0)], name) for name in ("one", "two", "three")])
    heights = sorted(float(height) for height in re.findall(r'class="label own" x="[\d.]+" y="([\d.]+)"', chart))
    assert len(heights) == 3
    assert min(np.diff(heights)) >= 13


def test_bars_may_lie_below_zero():
    chart = bar_chart("Gain", [Bar(0, 1, 2.0), Bar(1, 4, -1.0)])
    assert "code 1: 2" in chart
    assert "codes 2 to 4: -1 each" in chart
    assert all(float(height) > 0 for height in re.findall(r'height="([\d.]+)"', chart))
