"""Two streams of one run, read in turn or in two threads, give what each gives alone, with every engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from anytime_core.run import load
from anytime_core.sampling.options import SamplingOptions

ENGINES = {
    "tiny_folder": ("plain", "eager", "numba", "exact", "graph"),
    "agnostic_folder": ("plain", "eager", "graph"),
}
ON_A_GPU = {"tiny_folder": ("plain", "eager", "graph"), "agnostic_folder": ("plain", "eager", "graph")}
SUBJECTS = [
    pytest.param((device, folder, engine), id=f"{folder.removesuffix('_folder')} {engine} on {device}", marks=marks)
    for device, engines, marks in (("cpu", ENGINES, ()), ("cuda", ON_A_GPU, pytest.mark.gpu))
    for folder, names in engines.items()
    for engine in names
]
JOBS = [(0, 3), (1, 3), (2, 20)]
"""Seeds and batches, two of one shape; the largest is of another size than small ones run with."""

Stream = Callable[[tuple[int, int]], Iterator[Tensor]]


@pytest.fixture(params=SUBJECTS)
def stream(request: pytest.FixtureRequest) -> Stream:
    """The codes of a job from one run, after 2, 5 and all 8 of them."""
    device, folder, engine = request.param
    if engine == "graph" and device == "cpu":
        request.getfixturevalue("recorded_graphs")
    run = load(request.getfixturevalue(folder), device=device)

    def codes(job: tuple[int, int]) -> Iterator[Tensor]:
        seed, batch = job
        for prefix in run.stream(batch, ["2codes", "5codes", "8codes"], SamplingOptions(seed=seed, engine=engine)):
            yield prefix.codes

    return codes


@pytest.fixture
def expected(stream: Stream) -> list[list[Tensor]]:
    drawn = [list(stream(job)) for job in JOBS]
    assert not torch.equal(drawn[0][-1], drawn[1][-1])
    return drawn


def assert_equal(found: list[list[Tensor]], expected: list[list[Tensor]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(map(torch.equal, one, other))


def test_streams_that_are_read_in_turn_give_what_each_gives_alone(stream, expected):
    turns = itertools.zip_longest(*map(stream, JOBS))
    assert_equal([list(codes) for codes in zip(*turns, strict=True)], expected)


def test_streams_in_threads_give_what_each_gives_alone(stream, expected):
    with ThreadPoolExecutor(len(JOBS)) as threads:
        for _ in range(3):
            assert_equal(list(threads.map(lambda job: list(stream(job)), JOBS)), expected)
