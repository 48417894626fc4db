"""Charts against numbers of codes, as inline SVG. Colours and fonts come from the style of the page around them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from anytime_core.evaluation.measures import need_logarithms

_WIDTH, _HEIGHT = 380.0, 236.0
_LEFT, _TOP, _BOTTOM = 52.0, 12.0, 196.0  # edges of the plot; the right one leaves room for labels
_LETTER, _LINE = 7.0, 13.0  # width and height of a letter of a label, with the space around it
_LONGEST_LABEL = 16  # letters


@dataclass(frozen=True)
class Line:
    """Values of one run against codes, or network calls.

    Attributes:
        name: what it shows, for tooltips and screen readers.
        points: numbers of codes and values, by ascending codes.
        label: written at its end if several lines have one; empty for none.
        accented: whether it has the accent colour, not grey.
        dashed: whether it is dashed, with hollow points.
    """

    name: str
    points: Sequence[tuple[int, float]]
    label: str = ""
    accented: bool = True
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """What each code after `first`, up to and including `last`, brings."""

    first: int
    last: int
    value: float


@dataclass(frozen=True)
class Scale:
    """Maps values to positions in the picture.

    Attributes:
        low, high: values at its ends.
        start, end: positions of its ends.
        ticks: values to mark.
        logarithmic: whether equal ratios have equal distances.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def line_chart(
    title: str,
    lines: Sequence[Line],
    share: bool = False,
    unit: str = "code",
    levels: Mapping[str, float] | None = None,
) -> str:
    """Lines against codes or calls; on a logarithmic scale if they need one.

    Args:
        title: for screen readers.
        lines: at least one, each with at least one point; the first are drawn on top.
        share: whether values are shares, on a scale from 0 to 1.
        unit: what is counted, in the singular.
        levels: name -> value to compare with, a thin line each.
    """
    levels = levels or {}
    labelled = [line for line in lines if line.label]
    if len(labelled) < 2:
        labelled = []
    letters = max((len(_shortened(line.label)) for line in labelled), default=0)
    x = _code_scale(max(line.points[-1][0] for line in lines), letters)
    values = [*levels.values(), *(value for line in lines for _, value in line.points)]
    y = _share_scale() if share else value_scale(values)
    known = [f"{name}: {brief(value)}" for name, value in levels.items()]
    said = "; ".join([*(_in_words(line, unit) for line in lines), *known])
    svg = _canvas(f"{title} against {unit}s. {said}.", x, y, f"{unit}s")
    for name, value in levels.items():
        ends = [[y(line.points[end][1]) for line in lines] for end in (0, -1)]
        _draw_level(svg, name, value, x, y, ends)
    for line in reversed(lines):
        _draw_line(svg, line, x, y, unit)
    taken = [spot for line in lines for spot in _spots([(x(codes), y(value)) for codes, value in line.points])]
    for line in labelled:
        _write_label(svg, line, x, y, taken)
    return _markup(svg)


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Bars from zero, over the codes that they stand for; at least one."""
    x = _code_scale(max(bar.last for bar in bars))
    values = [bar.value for bar in bars]
    y = _linear_scale(min(0.0, *values), max(0.0, *values))
    svg = _canvas(f"{title} by code. From {_range(bars[0])} to {_range(bars[-1])}.", x, y)
    for bar in bars:
        top, bottom = sorted((y(bar.value), y(0.0)))
        left, right = x(bar.first), x(bar.last)
        gap = min(1.5, (right - left) / 5)
        mark = _add(svg, "rect", class_="bar", x=left + gap / 2, y=top, width=right - left - gap, height=bottom - top)
        _add(mark, "title", _range(bar))
    return _markup(svg)


def value_scale(values: Sequence[float]) -> Scale:
    """A vertical scale that shows all values, from zero if the smallest is less than half the largest."""
    low, high = min(values), max(values)
    if need_logarithms(values):
        return Scale(low / 1.2, high * 1.2, _BOTTOM, _TOP, logarithmic_ticks(low / 1.2, high * 1.2), logarithmic=True)
    return _linear_scale(0.0 if 0 < low < high / 2 else low, high)


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values at equal distances, from at most `low` to at least `high`, with at most `most` steps."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * index for index in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Powers of ten between two positive values, with two and five times each if these are not too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) <= most:
        return ticks
    powers = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
    return powers[:: math.ceil(len(powers) / most)]


def brief(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _linear_scale(low: float, high: float) -> Scale:
    if math.isclose(low, high, rel_tol=1e-6):
        low, high = low - (abs(low) / 10 or 1.0), high + (abs(high) / 10 or 1.0)
    ticks = round_ticks(low, high)
    return Scale(ticks[0], ticks[-1], _BOTTOM, _TOP, ticks)


def _share_scale() -> Scale:
    return Scale(0.0, 1.0, _BOTTOM, _TOP, (0.0, 0.25, 0.5, 0.75, 1.0))


def _code_scale(codes: int, letters: int = 0) -> Scale:
    """A horizontal scale up to a number of codes, with room for labels at the right."""
    whole_quarters = codes % 4 == 0
    ticks = [codes / 4 * quarter for quarter in range(5)] if whole_quarters else round_ticks(0, max(codes, 5))
    return Scale(0, codes, _LEFT, _WIDTH - 14 - letters * _LETTER, [tick for tick in ticks if tick <= codes])


def _canvas(description: str, x: Scale, y: Scale, unit: str = "codes") -> Element:
    """A picture with both axes."""
    svg = Element("svg", {"class": "chart", "viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}", "role": "img"})
    svg.set("aria-label", description)
    for tick in y.ticks:
        _add(svg, "line", class_="grid", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick))
        _add(svg, "text", f"{tick:.6g}", class_="tick end", x=x.start - 8, y=y(tick) + 4)
    _add(svg, "line", class_="axis", x1=x.start, x2=x.end, y1=_BOTTOM, y2=_BOTTOM)
    if y.logarithmic:
        _add(svg, "text", "log scale", class_="tick", x=x.start, y=_TOP - 3)
    for tick in x.ticks:
        _add(svg, "line", class_="axis", x1=x(tick), x2=x(tick), y1=_BOTTOM, y2=_BOTTOM + 4)
        _add(svg, "text", f"{tick:g}", class_="tick middle", x=x(tick), y=_BOTTOM + 18)
    _add(svg, "text", unit, class_="tick middle", x=(x.start + x.end) / 2, y=_HEIGHT - 5)
    return svg


def _draw_line(svg: Element, line: Line, x: Scale, y: Scale, unit: str) -> None:
    look = " ".join(["series", "own" if line.accented else "other", *(["dashed"] if line.dashed else [])])
    group = _add(svg, "g", class_=look)
    path = " ".join(f"{x(codes):.1f},{y(value):.1f}" for codes, value in line.points)
    _add(group, "polyline", points=path)
    for codes, value in line.points:
        point = _add(group, "circle", cx=x(codes), cy=y(value), r=3.2)
        if line.accented and unit == "code":
            point.set("data-codes", str(codes))
        _add(point, "title", f"{line.name}, {_counted(codes, unit)}: {brief(value)}")


def _draw_level(svg: Element, name: str, value: float, x: Scale, y: Scale, ends: Sequence[Sequence[float]]) -> None:
    """A thin line with its name, on the side where the lines of the chart, which end at `ends`, are farther away."""
    height = y(value)
    left, right = (min(abs(height - other) for other in side) for side in ends)
    mark = _add(svg, "line", class_="level", x1=x.start, x2=x.end, y1=height, y2=height)
    _add(mark, "title", f"{name}: {brief(value)}")
    above = height - _LINE > _TOP
    text, across = f"{name} {brief(value)}", x.end if right >= left else x.start + 6
    kind = "tick end" if right >= left else "tick"
    _add(svg, "text", text, class_=kind, x=across, y=height - 4 if above else height + _LINE)


def _write_label(svg: Element, line: Line, x: Scale, y: Scale, taken: list[tuple[float, float]]) -> None:
    """The name of a line, as near to its end as it can be without touching the spots `taken`; its own are added."""
    text = _shortened(line.label)
    across, end = x(line.points[-1][0]), y(line.points[-1][1])
    left, right = across + 9, across + 9 + len(text) * _LETTER
    beside = [other for spot, other in taken if left <= spot <= right]
    heights = sorted((_TOP + 3.0 * step for step in range(60)), key=lambda height: abs(height - end))
    free = (height for height in heights if all(abs(height - other) >= _LINE for other in beside))
    height = next(free, end)
    taken.extend(_spots([(left, height), (right, height)]))
    if abs(height - end) > 1.5 * _LINE:
        _add(svg, "line", class_="leader", x1=across, y1=end, x2=left - 2, y2=height)
    _add(svg, "text", text, class_="label own" if line.accented else "label other", x=left, y=height + 4)


def _spots(corners: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Positions along a line through some corners, close enough to each other that no label fits between two."""
    yield corners[0]
    for (left, top), (right, bottom) in pairwise(corners):
        steps = max(1, round(math.dist((left, top), (right, bottom)) / _LETTER))
        yield from ((left + (right - left) * k / steps, top + (bottom - top) * k / steps) for k in range(1, steps + 1))


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _in_words(line: Line, unit: str) -> str:
    (first, start), (last, end) = line.points[0], line.points[-1]
    if first == last:
        return f"{line.name}: {brief(end)} at {_counted(last, unit)}"
    return f"{line.name}: {brief(start)} at {_counted(first, unit)}, {brief(end)} at {_counted(last, unit)}"


def _counted(number: int, unit: str) -> str:
    return f"1 {unit}" if number == 1 else f"{number} {unit}s"


def _range(bar: Bar) -> str:
    if bar.last == bar.first + 1:
        return f"code {bar.last}: {brief(bar.value)}"
    return f"codes {bar.first + 1} to {bar.last}: {brief(bar.value)} each"


def _add(parent: Element, tag: str, text: str = "", **attributes: str | float) -> Element:
    """Add an element to `parent`; a trailing underscore keeps the name of an attribute from being a Python keyword."""
    element = ElementTree.SubElement(parent, tag)
    for name, value in attributes.items():
        element.set(name.rstrip("_"), value if isinstance(value, str) else f"{value:.1f}")
    element.text = text or None
    return element


def _markup(svg: Element) -> str:
    return ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False)
