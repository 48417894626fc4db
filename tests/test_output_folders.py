"""What lies in an output folder: files of others stay, and what is told of ours is there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from anytime_core.sampling.reconstruct import _unique_names

# Names


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a/x.png", "b/x.png", "c/x.jpg"], ["x.png", "x-2.png", "x-3.png"]),
        (["a/x.png", "x-2.png", "b/x.png"], ["x.png", "x-2.png", "x-3.png"]),
        (["preview.png", "PREVIEW.png"], ["preview-2.png", "PREVIEW-3.png"]),
        (["A.png", "a.png", "b/A.bmp"], ["A.png", "a-2.png", "A-3.png"]),
    ],
)
def test_sources_that_share_a_stem_get_numbers_that_also_hold_where_case_is_not_told_apart(sources, names):
    assert _unique_names([Path(source) for source in sources], ".png") == names


def test_thousands_of_sources_of_one_stem_are_named_at_once():
    started = time.process_time()
    names = _unique_names([Path(f"{number}/a.png") for number in range(20_000)], ".png")
    assert time.process_time() - started < 5, "a second on a slow machine; hours where each name is looked for anew"
    assert names[:2] == ["a.png", "a-2.png"]
    assert names[-1] == "a-20000.png"
