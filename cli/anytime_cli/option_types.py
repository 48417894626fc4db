"""What the options and arguments of all commands have in common: paths, and that none is given twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from anytime_core.data.locations import user_path
from anytime_core.errors import UsageError

_Function = TypeVar("_Function", bound=Callable[..., Any])


def path(text: str) -> Path:
    """The `parser` of options and arguments that name a file or folder: `~` is a home folder; empty is an error."""
    try:
        return user_path(text)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


RunOption = Annotated[
    Path | None,
    typer.Option(
        parser=path, metavar="<path>", help="Run folder. Default: the latest one in runs/.", show_default=False
    ),
]


class Command(TyperCommand):
    """A command that refuses an option with two values: otherwise one of them would be ignored silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise BadParameter if an option is given twice with different values."""
        options: dict[str, Any] = {
            name: option for option in self.params for name in option.opts if _has_one_value(option)
        }
        given: dict[Any, str] = {}
        for name, value in _values(args, options):
            before = given.setdefault(options[name], value)
            if before != value:
                raise typer.BadParameter(
                    f"it is given twice, as {before!r} and {value!r}: leave one of them out",
                    ctx=ctx,
                    param=options[name],
                )
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """A group of commands, each of them a `Command`."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **settings: Any
    ) -> Callable[[_Function], _Function]:
        """Add a command, as typer does."""
        return super().command(name, cls=cls, **settings)


def _has_one_value(option: Any) -> bool:
    return option.param_type_name == "option" and not option.is_flag and not option.multiple


def _values(arguments: Sequence[str], options: dict[str, Any]) -> list[tuple[str, str]]:
    """The names and values of the `options` in `arguments`, up to `--`."""
    found = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name in options:
            found.append((name, value if equals else next(rest, "")))
    return found
