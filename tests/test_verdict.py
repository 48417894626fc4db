"""What is concluded from the numbers of an evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from anytime_core.evaluation.result import BitsBeside, Evaluation, LabelJudge, Quality, Row
from anytime_core.evaluation.verdict import verdict
from anytime_core.evaluation.versus import bits_beside, versus

CODES = (2, 4, 8, 16)
CONFIG = {
    "autoencoder": {"kind": "ordered", "axis": "channel", "code_length": None},
    "network": {"channels": 16},
    "prior": {"dropout": 0.1, "width": 256, "label_dropout": 0.0},
    "training": {"autoencoder": {"steps": 4000}, "prior": {"steps": 800}},
}
GOOD = LabelJudge(samples=60_000, classes=10, accuracy=0.99, chance=0.1)
GUIDED = {**CONFIG, "prior": {**CONFIG["prior"], "label_dropout": 0.1}}


def evaluation(
    samples: tuple[float, ...] | None,
    reconstructions: tuple[float, ...],
    *,
    floor: float | None = 1.0,
    losses: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1),
    recognised: tuple[float, float] = (0.9, 0.9),
    coverage: tuple[float, float] = (0.9, 0.9),
    **changes: Any,
) -> Evaluation:
    """Fréchet distances of new samples and of reconstructions at each number of codes."""

    def quality(distance: float, which: int) -> Quality:
        return Quality(frechet={"classifier": distance}, label_accuracy=recognised[which], coverage=coverage[which])

    rows = [
        Row(
            budget=codes / 16,
            codes=codes,
            reconstruction={"loss": losses[number]},
            reconstruction_spread={},
            reconstructed=quality(reconstructions[number], 1),
            samples=None if samples is None else quality(samples[number], 0),
        )
        for number, codes in enumerate(CODES[: len(reconstructions)])
    ]
    told: dict[str, Any] = {
        "run": "runs/one",
        "modality": "image",
        "code_length": 16,
        "codebook_size": 64,
        "num": 1000,
        "reference": 1000,
        "seed": 0,
        "extractors": {"classifier": "a classifier"},
        "judge": GOOD,
        "chance": {"samples": 0.1, "reconstructed": 0.1},
        "floor": None if floor is None else Quality(frechet={"classifier": floor}),
        "codebook_use": 1.0,
        "gains": dict(zip(CODES, losses, strict=True)),
        "order_agreement": None,
        "rows": rows,
    }
    return Evaluation.model_validate({**told, **changes})


FALLING = (60.0, 40.0, 20.0, 11.0)
RISING = (141.0, 135.0, 167.0, 196.0)


@pytest.mark.parametrize(
    ("measured", "config", "said"),
    [
        pytest.param(
            evaluation(RISING, FALLING),
            CONFIG,
            [
                "Samples are best with 4 of 16 codes (--budget 4codes), at a Fréchet distance of 135 (classifier), and "
                "get worse with more: 196 with all 16 codes.",
                "The prior is to blame, not the autoencoder: reconstructions from as many codes stand at 11, training "
                "data at 1; first train the prior longer (training.prior.steps=1600, now 800), or let it learn only "
                "the best "
                "codes (prior.code_length=4).",
            ],
            id="rising",
        ),
        pytest.param(
            evaluation(RISING, FALLING, judge=GOOD.model_copy(update={"samples": 2000})),
            CONFIG,
            ["Samples are best with 4", "first raise prior.dropout (now 0.1), or let it learn only the best codes"],
            id="rising-of-few-data",
        ),
        pytest.param(
            evaluation((60.0, 30.0, 21.0, 20.5), (50.0, 12.0, 5.0, 2.0)),
            CONFIG,
            [
                "Samples are best with all 16 codes, at a Fréchet distance of 20.5 (classifier); 8 of 16 codes "
                "come within 5 % of it.",
                "The prior is to blame, not the autoencoder: reconstructions from as many codes stand at 2, training "
                "data at 1; first train the prior longer (training.prior.steps=1600, now 800), or make it larger "
                "(prior.width, now 256).",
            ],
            id="falling-prior",
        ),
        pytest.param(
            evaluation((60.0, 47.0, 44.0, 69.8), (23.0, 22.5, 22.4, 22.6), floor=43.6),
            CONFIG,
            ["Samples are best with 8 of 16", "The prior is to blame, not the autoencoder"],
            id="rising-where-the-autoencoder-is-no-worse-than-training-data",
        ),
        pytest.param(
            evaluation((60.0, 47.0, 40.0, 33.0), (30.0, 20.0, 12.0, 9.4)),
            CONFIG,
            ["Samples are best with all 16", "The prior is to blame more than the autoencoder"],
            id="falling-both-far-off",
        ),
        pytest.param(
            evaluation((60.0, 40.0, 30.0, 22.0), (55.0, 38.0, 27.0, 20.0)),
            CONFIG,
            [
                "Samples are best with all 16 codes, at a Fréchet distance of 22 (classifier).",
                "The autoencoder is to blame rather than the prior: even reconstructions from as many codes stand at "
                "20, training data at 1; first train the autoencoder longer (training.autoencoder.steps=8000, now "
                "4000), or give it "
                "more codes (network.channels, now 16).",
            ],
            id="falling-autoencoder",
        ),
        pytest.param(
            evaluation((60.0, 40.0, 30.0, 14.3), (*FALLING[:3], 5.0), floor=4.8),
            CONFIG,
            [
                "Samples are best with all 16 codes, at a Fréchet distance of 14.3 (classifier).",
                "Autoencoder and prior are to blame alike: reconstructions from as many codes stand at 5, training "
                "data "
                "at 4.8; first train both longer (training.autoencoder.steps=8000, now 4000; "
                "training.prior.steps=1600, now 800).",
            ],
            id="both",
        ),
        pytest.param(
            evaluation((6.1, 6.0, 6.0, 6.1), (6.0, 5.0, 5.0, 5.0)),
            {**CONFIG, "autoencoder": {"kind": "pca", "code_length": 16}},
            [
                "Samples are as good with 2 of 16 codes as with all 16 codes, at a Fréchet distance of 6",
                "first give it more codes (autoencoder.code_length, now 16).",
            ],
            id="flat",
        ),
        pytest.param(
            evaluation((9.0, 8.0, 7.0, 6.0), (9.0, 8.0, 7.0, 6.0)),
            {**CONFIG, "prior": {"code_length": 16}},
            ["best with", "or let the prior learn more of its codes (prior.code_length, now 16)."],
            id="prior-of-fewer-codes",
        ),
        pytest.param(
            evaluation((9.0, 4.0, 2.0, 1.2), (8.0, 3.0, 1.5, 1.1)),
            CONFIG,
            ["best with all 16 codes", "Training data itself stands at 1: neither autoencoder nor prior is to blame."],
            id="good",
        ),
        pytest.param(
            evaluation(RISING, RISING, floor=None),
            {},
            [
                "Samples are best with 4",
                "even reconstructions from as many codes stand at 196; first train the autoencoder longer "
                "(training.autoencoder.steps), or give it more codes.",
            ],
            id="rising-reconstructions-without-floor-or-config",
        ),
        pytest.param(
            evaluation((60.0, 40.0, 35.0, 30.0), FALLING, recognised=(0.7, 0.9)),
            CONFIG,
            ["best with", "or train it with prior.label_dropout=0.1 and sample with --guidance 1.5."],
            id="labels-missed",
        ),
        pytest.param(
            evaluation((60.0, 40.0, 35.0, 30.0), FALLING, recognised=(0.7, 0.9)),
            GUIDED,
            ["best with", "first sample with --guidance 1.5, or train the prior longer"],
            id="labels-missed-of-a-prior-that-can-be-guided",
        ),
        pytest.param(
            evaluation((60.0, 40.0, 35.0, 30.0), FALLING, coverage=(0.5, 0.9), guidance=3.0),
            GUIDED,
            ["best with", "first sample with less --guidance (now 3), or train the prior longer"],
            id="guided-too-far",
        ),
        pytest.param(
            evaluation((60.0, 40.0, 35.0, 30.0), FALLING, recognised=(0.11, 0.9)),
            CONFIG,
            [
                "best with",
                "The prior is to blame",
                "Samples do not follow their labels: 11.0% are recognised, by chance 10.0%.",
            ],
            id="chance",
        ),
        pytest.param(
            evaluation(
                FALLING, FALLING, losses=(0.41, 0.41, 0.41, 0.41), shuffled={"loss": {8: 0.41, 16: 0.411}},
                mean_sample={"loss": 0.4},
            ),
            CONFIG,
            [
                "The autoencoder ignores its input: the loss of all codes is 0.41, and that of predicting the mean "
                "sample 0.4, so that no budget and no prior can help; first train the autoencoder longer "
                "(training.autoencoder.steps=8000, now 4000)"
            ],
            id="no-better-than-the-mean-sample",
        ),
        pytest.param(
            evaluation(FALLING, FALLING, losses=(0.41, 0.41, 0.41, 0.41), shuffled={"loss": {8: 0.41, 16: 0.411}}),
            CONFIG,
            ["The autoencoder ignores its input: the loss of all codes is 0.41, and 0.411 from the codes of another"],
            id="no-better-than-from-the-codes-of-others",
        ),
        pytest.param(
            evaluation(FALLING, FALLING, shuffled={"loss": {16: 0.8}}, mean_sample={"loss": 0.25}),
            CONFIG,
            [
                "best with",
                "The autoencoder is to blame",
                "With up to 4 of 16 codes reconstructions are worse than the mean of the training samples (loss 0.3 "
                "against 0.25), so that they show nothing of a sample.",
            ],
            id="worse-than-the-mean",
        ),
        pytest.param(
            evaluation(None, FALLING),
            CONFIG,
            [
                "Without a prior only reconstructions are judged, and these are best with all 16 codes, at a Fréchet "
                "distance of 11 (classifier).",
                "Training data stands at 1: to come closer, first train the autoencoder longer "
                "(training.autoencoder.steps=8000",
            ],
            id="no-prior",
        ),
        pytest.param(
            evaluation(None, FALLING, floor=12.0),
            CONFIG,
            ["only reconstructions are judged", "Training data itself stands at 12: the autoencoder is not to blame."],
            id="no-prior-and-good",
        ),
        pytest.param(
            evaluation(
                FALLING,
                FALLING,
                judge=GOOD.model_copy(update={"accuracy": 0.7}),
                cautions=["the classifier is a weak judge", "20 new samples are few"],
            ),
            CONFIG,
            ["As far as a weak judge and few samples can tell, samples are best with all"],
            id="weak-and-few",
        ),
        pytest.param(
            evaluation(FALLING, FALLING, cautions=["20 new samples are few"]),
            CONFIG,
            ["As far as few samples can tell, samples are best with all"],
            id="few",
        ),
        pytest.param(
            evaluation(FALLING, FALLING, extractors={}),
            CONFIG,
            ["Nothing here judges how good samples are: name features to compare them by with --extractor."],
            id="no-judge",
        ),
        pytest.param(evaluation((5.0,), (1.0,)), CONFIG, ["best with 2 of 16 codes", "The prior"], id="one-budget"),
        pytest.param(evaluation(FALLING, FALLING, rows=[]), CONFIG, [], id="nothing"),
    ],
)  # fmt: skip
def test_the_conclusion_names_the_best_budget_what_is_to_blame_and_what_to_change(measured, config, said):
    sentences = verdict(measured, config)
    assert len(sentences) == len(said) <= 3
    for sentence, part in zip(sentences, said, strict=True):
        assert part in sentence
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (FALLING, RISING, "nearer to the data at every budget: with 16 codes 11 against 196 (classifier)."),
        (RISING, FALLING, "farther from the data at every budget: with 16 codes 196 against 11 (classifier)."),
        (FALLING, FALLING, "as near to the data at every budget: with 2 codes 60 against 60 (classifier)."),
        (
            (60.0, 40.0, 20.0, 11.0),
            (61.0, 80.0, 20.0, 5.0),
            "nearer with 4 and farther with 16 of 16 codes, else as near: with 4 codes 40 against 80 (classifier).",
        ),
    ],
)
def test_runs_are_set_beside_each_other_budget_by_budget(own, other, said):
    sentence = versus(evaluation(own, FALLING), evaluation(other, FALLING), "unordered")
    assert sentence == f"Beside unordered, samples are {said}"


def test_without_a_prior_reconstructions_are_set_beside_each_other():
    sentence = versus(evaluation(None, FALLING), evaluation(RISING, RISING), "unordered")
    assert "reconstructions are nearer to the data at every budget: with 16 codes 11 against 196" in sentence
    assert versus(evaluation(None, FALLING), evaluation(FALLING, FALLING, rows=[]), "unordered") == ""


@pytest.mark.parametrize(
    ("bits", "told", "said"),
    [
        (4.25, {}, "against 4.250 of b, whose codes are the same: fewer by 0.250, with a standard error of 0.050."),
        (3.75, {}, "against 3.750 of b, whose codes are the same: more by 0.250, with a standard error of 0.050."),
        (4.05, {}, ": too near to tell them apart (a difference of 0.050, with a standard error of 0.050)."),
        (4.25, {"paired": False}, ": fewer by 0.250, with a standard error of at most 0.050."),
        (4.25, {"standard_error": None}, ": a difference of 0.250, whose standard error is not known."),
        (
            4.25,
            {"other_bound": True, "paired": False},
            "against at most 4.250 of b, whose codes are the same: by these bounds, fewer by 0.250, with a standard "
            "error of at most 0.050.",
        ),
    ],
)
def test_bits_of_the_same_codes_are_compared_with_the_error_of_the_difference(bits, told, said):
    def prior(run: str, autoencoder: str, codes: int = 2, **more: Any) -> Evaluation:
        return evaluation(FALLING, FALLING, run=run, autoencoder=autoencoder, bits_per_position=[4.0] * codes, **more)

    beside = BitsBeside(**{"codes": 2, "bits": 4.0, "other_bits": bits, "paired": True, "standard_error": 0.05, **told})
    own = prior("a", "x", bits_beside={"b": beside})
    same, by_calls, foreign = prior("b", "x"), prior("b", "x"), prior("c", "y")
    without = evaluation(None, FALLING, run="d", autoencoder="y")
    named = [("b", same), ("b, 2 calls", by_calls), ("c", foreign), ("d", without)]
    compared, apart = bits_beside(own, named)
    assert compared.startswith("The prior needs 4.000 bits per code against")
    assert compared.endswith(said)
    assert apart == "Bits per code do not compare with those of c, whose autoencoder writes other codes."
    assert list(bits_beside(without, named)) == []


def test_of_priors_of_other_lengths_the_codes_that_both_model_are_compared():
    def prior(run: str, codes: int, **more: Any) -> Evaluation:
        return evaluation(FALLING, FALLING, run=run, autoencoder="x", bits_per_position=[4.0] * codes, **more)

    beside = BitsBeside(codes=2, bits=4.0, other_bits=5.0, paired=True, standard_error=0.1)
    (compared,) = bits_beside(prior("a", 4, bits_beside={"b": beside}), [("b", prior("b", 2))])
    assert "needs 4.000 bits per code for the first 2 codes, which both priors model, against 5.000 of b" in compared
    (not_known,) = bits_beside(prior("a", 4), [("b", prior("b", 2))])
    assert "do not compare with those of b" in not_known
    assert "add 2codes to the budgets" in not_known


@pytest.mark.parametrize(
    ("prior", "larger"),
    [
        ({"width": 256}, ", or make it larger (prior.width, now 256)"),
        ({"hidden": 9}, ", or make it larger (prior.hidden, now 9)"),
        ({}, ""),
    ],
    ids=str,
)
def test_a_prior_is_made_larger_by_what_its_kind_has(prior, larger):
    (_, advice) = verdict(evaluation(FALLING, (1.0,) * 4), {**CONFIG, "prior": prior})
    assert advice.endswith(f"train the prior longer (training.prior.steps=1600, now 800){larger}.")
