"""Batches of a data set."""

from __future__ import annotations

import itertools
import logging

import pytest
import torch

from anytime_core.damaged import damaged, remembering_damaged, say_damaged, with_damaged
from anytime_core.errors import DataError
from anytime_core.found import Found
from anytime_core.modality import Datasets
from anytime_core.training.batches import ShuffledBatches, listed_batches, ordered_batches


class Numbers:
    """Item i is the number i."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": torch.tensor(float(index))}


class Gathered(Numbers):
    """The same, handed out a batch at a time."""

    def batch(self, indices):
        return {"x": torch.tensor(indices, dtype=torch.float32)}


def numbers(loader) -> list[list[int]]:
    return [batch["x"].int().tolist() for batch in loader]


def test_ordered_batches_hold_every_item_once_in_order():
    for dataset in (Numbers(7), Gathered(7)):
        assert numbers(ordered_batches(dataset, 3, workers=0)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_limited_part_is_spread_over_the_whole_set():
    assert numbers(ordered_batches(Numbers(100), 3, limit=5, workers=0)) == [[0, 20, 40], [60, 80]]
    assert numbers(ordered_batches(Numbers(4), 3, limit=9, workers=0)) == [[0, 1, 2], [3]]


def test_each_epoch_is_a_new_permutation_that_follows_from_the_seed():
    def epochs(seed: int) -> list[list[int]]:
        batches = numbers(itertools.islice(ShuffledBatches(Gathered(10), 5, seed=seed, workers=0), 4))
        return [batches[0] + batches[1], batches[2] + batches[3]]

    first, second = epochs(seed=1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert epochs(seed=1) == [first, second]
    assert epochs(seed=2)[0] != first


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert sorted(numbers(itertools.islice(ShuffledBatches(Numbers(3), 8, seed=0, workers=0), 1))[0]) == [0, 1, 2]


def test_workers_give_the_batches_of_the_main_process():
    alone, workers = (
        numbers(itertools.islice(ShuffledBatches(Numbers(12), 4, seed=3, workers=count), 5)) for count in (0, 2)
    )
    assert alone == workers


class Damaged(Numbers):
    """The same, of which some cannot be read; each attempt is counted in this process."""

    def __init__(self, size: int, bad: set[int]) -> None:
        super().__init__(size)
        self.bad = bad
        self.attempts: list[int] = []

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index in self.bad:
            self.attempts.append(index)
            raise DataError(f"number {index} is damaged")
        return super().__getitem__(index)


def remembered(size: int, bad: set[int]) -> Datasets:
    return remembering_damaged(Datasets(Damaged(size, bad), Numbers(3)))


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_items_are_left_out_of_ordered_batches_and_counted(workers):
    train = remembered(8, {0, 4, 5, 6, 7}).train
    batches = ordered_batches(train, 2, workers=workers)
    for _ in range(2):
        assert numbers(batches) == [[1], [2, 3]]
    assert [batch["index"].tolist() for batch in batches] == [[1], [2, 3]]
    assert damaged(train).count == 5
    assert damaged(train).examples[:2] == ("number 0 is damaged", "number 4 is damaged")
    listed = listed_batches(train, [[4, 5], [3, 4]], workers=workers)
    assert [batch and batch["index"].tolist() for batch in listed] == [None, [3]]


def test_a_damaged_item_is_tried_once():
    datasets = remembered(8, {1, 4})
    for _ in range(2):
        list(ordered_batches(datasets.train, 2, workers=0))
    list(itertools.islice(ShuffledBatches(datasets.train, 4, seed=0, workers=0), 20))
    assert sorted(datasets.train.attempts) == [1, 4]


def test_other_items_take_the_place_of_damaged_ones_in_shuffled_batches():
    bad = set(range(0, 40, 4))

    def drawn(workers: int, done: int) -> list[list[int]]:
        batches = ShuffledBatches(remembered(40, bad).train, 8, seed=3, workers=workers, done=done)
        return numbers(itertools.islice(batches, 50 - done))

    batches = drawn(0, 0)
    assert {len(batch) for batch in batches} == {8}
    often = torch.bincount(torch.tensor(batches).flatten(), minlength=40)
    assert not often[list(bad)].any()
    assert often[[index for index in range(40) if index not in bad]].min() >= 10, "each as often as the others"
    assert drawn(2, 0) == batches
    assert drawn(0, 7) == batches[7:], "going on gives what a training without a stop gives"


def test_whole_batches_keep_their_size_in_order_too():
    sizes = [len(batch["x"]) for batch in ordered_batches(remembered(9, {1, 2}).train, 3, workers=0, whole=True)]
    assert sizes == [3, 3, 3]


@pytest.mark.parametrize("make", [ordered_batches, lambda *args, **options: ShuffledBatches(*args, seed=0, **options)])
def test_data_of_which_nothing_can_be_read_is_an_error_that_says_why(make):
    with pytest.raises(DataError, match=r"number \d is damaged"):
        next(iter(make(remembered(4, {0, 1, 2, 3}).train, 2, workers=0)))


def test_damaged_items_are_said_in_one_line_again_only_when_there_are_more_and_kept_in_the_record(caplog):
    datasets = remembered(20, set(range(0, 14, 2)))
    batches = iter(ordered_batches(datasets.train, 5, workers=0))
    next(batches)
    say_damaged(datasets)
    say_damaged(datasets)
    list(batches)
    say_damaged(datasets)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "3 of 20 training samples cannot be read and are left out: number 0 is damaged; number 2 is damaged; "
        "number 4 is damaged",
        "7 of 20 training samples cannot be read and are left out: number 0 is damaged; number 2 is damaged; "
        "number 4 is damaged; number 6 is damaged; number 8 is damaged; and 2 more",
    ]
    found = Found(train=20, validation=3)
    for _ in range(2):
        found = with_damaged(found, datasets)
    (left_out,) = found.passed_over
    assert (left_out.reason, left_out.count) == ("training samples that cannot be read", 7)
