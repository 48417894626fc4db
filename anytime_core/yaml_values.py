"""Values from YAML: numbers are what they look like, and each remembers how it was written.

The rules are those of YAML 1.2, not PyYAML's of 1.1: `010` is ten, `1e3` is a number, and `1:30`, `no`, `on` and dates
are text.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What `load_yaml` raises: PyYAML raises all of these for values that do not fit their tags."""

LONGEST_VALUE = 2048
"""The most characters of a single value."""

_MOST_NODES, _DEEPEST = 10_000, 50
_SHOWN = 200

_DIGITS = "[0-9]+(?:_[0-9]+)*"
_INT = re.compile(rf"[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class WrittenInt(int):
    """An integer and its `text`, which a field for names and paths takes."""

    text: str


class WrittenFloat(float):
    """A number and its `text`, which a field for names and paths takes."""

    text: str


def load_yaml(text: str) -> Any:
    """The one value in `text`, which need not be trusted. Raises one of `YAML_ERRORS`."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses more values or deeper nesting than any config needs.

    A few lines of aliases of aliases can stand for billions of values, so an alias counts each time it is used.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise yaml.YAMLError("an alias refers to a value that contains it")
            self._count(self._sizes[id(node)])
            return node
        before = self.nodes
        self._count(1)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.YAMLError(f"nested deeper than {_DEEPEST} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self.nodes - before
        if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_VALUE:
            raise yaml.YAMLError(f"a value of {len(node.value)} characters")
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, number in keys.items():
            if number > 1:
                raise yaml.YAMLError(f"duplicate key '{shortened(key)}'")
        return node

    def construct_written_int(self, node: yaml.ScalarNode) -> WrittenInt:
        """The number that a node says: the base is 16 after `0x`, 8 after `0o`, else 10, even after a leading zero."""
        digits = node.value.replace("_", "")
        value = WrittenInt(digits, {"0x": 16, "0o": 8}.get(digits[:2].lower(), 10))
        value.text = node.value
        return value

    def construct_written_float(self, node: yaml.ScalarNode) -> WrittenFloat:
        """The number that a node says. YAML writes infinity and NaN with a dot before them."""
        value = WrittenFloat(re.sub(r"\.(?=[in])", "", node.value.lower()))
        value.text = node.value
        return value

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > _MOST_NODES:
            raise yaml.YAMLError(f"more than {_MOST_NODES} values")


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("null", re.compile("null|Null|NULL|~|"), ["n", "N", "~", ""]),
    ("bool", re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile("<<"), ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern.pattern})\Z"), _first)
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_written_int)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_written_float)


def shortened(text: str) -> str:
    """`text`, or its beginning if it is too long for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
