"""The knobs of sampling as options of commands: they follow from `SamplingOptions`, so that a new knob is one field."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, TypeVar

import typer

from anytime_core.sampling.options import SamplingOptions

_Function = TypeVar("_Function", bound=Callable[..., Any])

_KNOBS: dict[str, Field[Any]] = {field.name: field for field in fields(SamplingOptions) if "help" in field.metadata}


def with_knobs(*left_out: str, **helps: str) -> Callable[[_Function], _Function]:
    """Decorate a command that has a parameter `sampling`: the user sets each knob, and the command gets them all.

    Args:
        left_out: knobs that the command does not have, or has in another form.
        helps: knob -> what the command's help says of it instead.
    """
    names = [name for name in _KNOBS if name not in left_out]

    def decorate(command: _Function) -> _Function:
        @functools.wraps(command)
        def with_sampling(**arguments: Any) -> Any:
            knobs = {name: arguments.pop(name) for name in names}
            return command(**arguments, sampling=SamplingOptions(**knobs))

        hints = typing.get_type_hints(command, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "sampling":
                parameters += [_option(name, helps.get(name)) for name in names]
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name]))
        wrapped: Any = with_sampling
        wrapped.__signature__ = inspect.Signature(parameters)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del wrapped.__wrapped__  # whose signature has no knobs
        return typing.cast(_Function, wrapped)

    return decorate


def chosen(sampling: SamplingOptions) -> Mapping[str, object]:
    """The knobs that change which samples are drawn and are not at their default, by their short names."""
    short = {name: field.metadata["short"] for name, field in _KNOBS.items()}
    return {short[name]: value for name, value in sampling.changed().items() if short[name]}


def _option(name: str, help: str | None) -> inspect.Parameter:
    field = _KNOBS[name]
    assert field.default is not MISSING
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=help or field.metadata["help"],
        min=field.metadata["min"],
        show_default=field.default is not None,
    )
    hint = typing.get_type_hints(SamplingOptions)[name]
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=field.default, annotation=Annotated[hint, option]
    )
