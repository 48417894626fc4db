"""How messages spell arguments: as options if a command was typed, as keyword arguments if Python called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

_options: ContextVar[bool] = ContextVar("options", default=False)


@contextlib.contextmanager
def as_options() -> Iterator[None]:
    """Within the block, messages spell arguments as options of the command line."""
    token = _options.set(True)
    try:
        yield
    finally:
        _options.reset(token)


def argument(name: str, value: object = None, *, option: str | None = None) -> str:
    """An argument as the caller gives it.

    >>> argument("run"), argument("run", "DIR"), argument("stage", "prior"), argument("force", True)
    ('run', 'run=DIR', "stage='prior'", 'force=True')
    >>> with as_options():
    ...     argument("run"), argument("run", "DIR"), argument("stage", "prior"), argument("force", True)
    ('--run', '--run DIR', '--stage prior', '--force')

    Args:
        name: its name in Python.
        value: its value; capitals stand for any value; None: the argument alone.
        option: the name of the option if it differs.
    """
    if _options.get():
        spelled = f"--{option or name}"
        return spelled if value is None or value is True else f"{spelled} {value}"
    return name if value is None else f"{name}={_literal(value)}"


def settings(values: Mapping[str, object]) -> str:
    """Values of the config, by their dotted keys, as the caller sets them.

    >>> settings({"data.root": "DIR", "seed": 3})
    "overrides={'data.root': DIR, 'seed': 3}"
    >>> with as_options():
    ...     settings({"data.root": "DIR", "seed": 3})
    '--set data.root=DIR --set seed=3'

    Args:
        values: as for `argument`.
    """
    if _options.get():
        return " ".join(f"--set {key}={value}" for key, value in values.items())
    return f"overrides={{{', '.join(f'{key!r}: {_literal(value)}' for key, value in values.items())}}}"


def _literal(value: object) -> str:
    return value if isinstance(value, str) and value.isupper() else repr(value)


def named_override(text: str) -> str:
    """A change of the config in a message: `--set 'a.b=c'`, or `override 'a.b=c'`."""
    return f"{'--set' if _options.get() else 'override'} {text}"
