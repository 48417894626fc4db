"""What is said of how compared runs were trained."""

from __future__ import annotations

import pytest

from anytime_core.evaluation.trainings import trainings_beside
from anytime_core.record import RunRecord


def changed(record: RunRecord, steps: int | None = None, **values: object) -> RunRecord:
    """The record with other values of its config, by keys with __ for dots, and other steps of its prior."""
    config = {**record.config}
    for key, value in values.items():
        section, name = key.rsplit("__", 1) if "__" in key else ("", key)
        inside = config
        for part in filter(None, section.split("__")):
            inside[part] = {**inside[part]}
            inside = inside[part]
        inside[name] = value
    prior = record.stages["prior"]
    stages = record.stages if steps is None else {**record.stages, "prior": prior.model_copy(update={"steps": steps})}
    return record.model_copy(update={"config": config, "stages": stages})


@pytest.mark.parametrize(
    ("values", "shared", "said"),
    [
        ({}, True, "the same autoencoder; as many steps of the prior ({steps}); all else alike."),
        ({}, False, "as many steps of the autoencoder (1); as many steps of the prior ({steps}); all else alike."),
        ({"steps": 7}, True, "the same autoencoder; 7 steps of the prior, here {steps}; all else alike."),
        ({"prior__kind": "gru", "prior__width": 5}, True, "other values of prior.kind."),
        ({"prior__width": 5}, True, "other values of prior.width."),
        ({"autoencoder__axis": "spatial", "training__device": "cuda:1"}, True, "all else alike."),
        ({"autoencoder__axis": "spatial", "training__device": "cuda:1"}, False, "other values of autoencoder.axis."),
    ],
)
def test_what_is_the_same_is_said_and_only_what_is_not_is_named(tiny_run, values, shared, said):
    own = tiny_run.record
    said = said.replace("{steps}", f"{own.stages['prior'].steps:,}")
    said = said.replace("(1)", f"({own.stages['autoencoder'].steps:,})")
    (sentence,) = trainings_beside(own, [("b", changed(own, **values), shared), ("c", changed(own, **values), shared)])
    assert sentence.startswith("Training of b, c beside this run's: ")
    assert sentence.endswith(said)


def test_without_a_prior_the_autoencoder_counts(tiny_run):
    without = tiny_run.record.before("prior")
    (sentence,) = trainings_beside(tiny_run.record, [("b", without, True)])
    assert sentence == "Training of b beside this run's: the same autoencoder; all else alike."
