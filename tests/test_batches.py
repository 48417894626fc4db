"""Batches of a data set."""

from __future__ import annotations

import itertools

import torch

from anytime_core.training.batches import ordered_batches, shuffled_batches


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
        batches = numbers(itertools.islice(shuffled_batches(Gathered(10), 5, seed=seed, workers=0), 4))
        return [batches[0] + batches[1], batches[2] + batches[3]]

    first, second = epochs(seed=1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert epochs(seed=1) == [first, second]
    assert epochs(seed=2)[0] != first


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert sorted(numbers(itertools.islice(shuffled_batches(Numbers(3), 8, seed=0, workers=0), 1))[0]) == [0, 1, 2]


def test_workers_give_the_batches_of_the_main_process():
    alone, workers = (
        numbers(itertools.islice(shuffled_batches(Numbers(12), 4, seed=3, workers=count), 5)) for count in (0, 2)
    )
    assert alone == workers
