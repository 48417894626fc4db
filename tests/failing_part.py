"""A part of `benchmarks.gpu` in which one item fails and another one takes its process with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from benchmarks.gpu.measures import Measure
from benchmarks.gpu.setting import Item, Setting


def items(setting: Setting) -> Sequence[Item]:
    def found(value: float) -> Iterator[Measure]:
        yield Measure(f"found {value:g}", value)

    def fail() -> Iterator[Measure]:
        yield Measure("half", 0.5)
        raise ValueError("no kernel\nfor this card")

    def die() -> Iterator[Measure]:
        print("illegal memory access", flush=True)
        os._exit(7)
        yield

    return [
        Item("first", 1, lambda: found(1)),
        Item("fails", 1, fail),
        Item("dies", 1, die),
        Item("knows", 1, lambda: found(2 * setting.found["found 1"])),
        Item("too long", 1e6, lambda: found(3)),
    ]
