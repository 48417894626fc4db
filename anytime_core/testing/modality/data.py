"""Checks of a modality's data."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.testing.modality.subject import CLOSE, LOOKED_AT, Subject, check, content, spread


@check()
def items_are_samples(subject: Subject, folder: Path) -> None:
    """Items hold `x`, float32 of `sample_shape`, finite, in [-1, 1], and `label` if there are classes."""
    shape, datasets = tuple(subject.made.sample_shape()), subject.datasets
    assert all(isinstance(size, int) and size > 0 for size in shape), f"sample_shape() is {shape}"
    for part, dataset in (("train", datasets.train), ("validation", datasets.validation)):
        assert len(dataset) > 0, f"the {part} set is empty"
        for index in spread(len(dataset), LOOKED_AT):
            item = dataset[index]
            x, where = item["x"], f"item {index} of the {part} set"
            assert isinstance(x, Tensor), f"x of {where} is {type(x).__name__}, not a tensor"
            assert x.dtype == torch.float32, f"x of {where} is {x.dtype}, not float32"
            assert tuple(x.shape) == shape, f"x of {where} has shape {tuple(x.shape)}, sample_shape() is {shape}"
            assert x.isfinite().all(), f"x of {where} is not finite"
            assert x.abs().max() <= 1, f"x of {where} reaches {x.abs().max().item():.4g}, beyond [-1, 1]"
            if datasets.classes:
                assert "label" in item, f"{where} has no label, but there are classes"
                label = int(item["label"])
                assert 0 <= label < len(datasets.classes), f"label {label} of {where} is not one of {datasets.classes}"
    names = datasets.classes
    assert len(set(names)) == len(names), f"classes {names} are not all different"


@check()
def data_are_the_same_each_time(subject: Subject, folder: Path) -> None:
    """The same config gives the same items in the same order, and reading an item again gives the same."""
    again = subject.make().datasets()
    for part, first, second in (
        ("train", subject.datasets.train, again.train),
        ("validation", subject.datasets.validation, again.validation),
    ):
        assert len(first) == len(second), f"the {part} set has {len(first)} items, then {len(second)}"
        for index in spread(len(first), 16):
            same = torch.equal(first[index]["x"], second[index]["x"])
            assert same, f"item {index} of the {part} set is different in a second object"
            assert torch.equal(first[index]["x"], first[index]["x"]), f"item {index} of the {part} set changes"


@check()
def validation_is_held_out(subject: Subject, folder: Path) -> None:
    """No validation sample is a training sample, and items differ from each other."""
    train, validation = subject.datasets.train, subject.datasets.validation
    held_out = {content(validation[index]["x"]) for index in spread(len(validation), LOOKED_AT)}
    assert len(held_out) > 1 or len(validation) == 1, "all validation samples are the same"
    learned = (content(train[index]["x"]) for index in spread(len(train), 50 * LOOKED_AT))
    shared = sum(content in held_out for content in learned)
    assert not shared, f"{shared} training samples are validation samples too"


@check("batches")
def batches_are_items(subject: Subject, folder: Path) -> None:
    """Rows of `batch(indices)` are the items."""
    for dataset in subject.parts:
        gather = getattr(dataset, "batch", None)
        if gather is None:
            continue
        indices = spread(len(dataset), 5)[::-1]
        batch = gather(indices)
        for row, index in enumerate(indices):
            assert torch.equal(batch["x"][row], dataset[index]["x"]), (
                f"row {row} of batch({indices}) is not item {index}"
            )
            if "label" in batch:
                assert int(batch["label"][row]) == int(dataset[index]["label"]), f"label {row} is not that of {index}"


@check()
def workers_can_have_it(subject: Subject, folder: Path) -> None:
    """Modality and data sets can be pickled for worker processes, and then give the same items."""
    try:
        made, train = pickle.loads(pickle.dumps((subject.made, subject.datasets.train)))
    except Exception as error:
        raise AssertionError(f"it cannot be pickled: {type(error).__name__}: {error}") from error
    assert torch.equal(train[0]["x"], subject.datasets.train[0]["x"]), "a pickled data set has other items"
    assert made.sample_shape() == subject.made.sample_shape()


@check()
def augmenting_gives_samples(subject: Subject, folder: Path) -> None:
    """`augment` gives samples again, follows from the generator alone, and does not change its input."""
    x = subject.x.clone()
    first, second = (subject.made.augment(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(x, subject.x), "augment changes its input"
    assert first.shape == x.shape, f"augment makes {tuple(first.shape)} of {tuple(x.shape)}"
    assert first.dtype == x.dtype, f"augment makes {first.dtype} of {x.dtype}"
    assert first.isfinite().all(), "augment gives values that are not finite"
    assert first.abs().max() <= 1 + CLOSE, f"augment reaches {first.abs().max().item():.4g}, beyond [-1, 1]"
    assert torch.equal(first, second), "augment gives another view with the same generator"
