"""The `anytime` command: its subcommands, and how errors reach the user."""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from anytime_cli import (
    doctor,
    evaluate,
    interrupts,
    option_types,
    output,
    plugins,
    recipes,
    reconstruct,
    runs,
    sample,
    train,
    train_command,
)
from anytime_core import AnytimeError, __version__
from anytime_core.errors import named_file, system_reason
from anytime_core.exhaustion import exhausted, what_ran_out
from anytime_core.spelling import as_options

_DEBUG = "--debug"
_INTERRUPTED, _READER_GONE = 130, 141
_USAGE_ERROR = typer.BadParameter.__mro__[1]  # click's UsageError, which typer does not export

app = option_types.Commands(
    name="anytime",
    epilog="First steps: anytime train, then anytime sample --budget 0.6",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anytime {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show a traceback with errors. May follow any command.")] = False,
) -> None:
    """Train generative models of images and sounds, and sample them within any budget."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("train", cls=train_command.TrainCommand, epilog=train_command.EXAMPLES)(train.train)
app.command("sample", epilog=sample.EXAMPLES)(sample.sample)
app.command("reconstruct", epilog=reconstruct.EXAMPLES)(reconstruct.reconstruct)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.add_typer(recipes.app, name="recipes")
app.add_typer(runs.app, name="runs")
app.add_typer(plugins.app, name="plugins")
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Entry point of the console script.

    Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 nobody reads what is printed.
    """
    output.prepare_streams()
    logging.basicConfig(level=logging.INFO, handlers=[output.LogToStderr()])
    if _DEBUG not in sys.argv[1:]:
        warnings.showwarning = output.note_warning
    arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
    with interrupts.handled() as interrupted:
        try:
            with as_options():
                status = app(args=arguments, prog_name="anytime", standalone_mode=False) or 0
            sys.stdout.flush()
        except (typer.Abort, KeyboardInterrupt):
            status = _INTERRUPTED
        except output.ReaderGoneError:
            status = _READER_GONE
        except SystemExit as error:
            if _DEBUG in sys.argv[1:]:
                raise
            status = 1
            output.error(
                f"a plugin or a library ended the program, with status {error.code!r}, before it was done; "
                f"{_DEBUG} shows where"
            )
        except Exception as error:
            if _DEBUG in sys.argv[1:]:
                raise
            message, status = _explain(error, arguments)
            if interrupted.came and not isinstance(error, AnytimeError):
                status = _INTERRUPTED  # a library made something else of it
            else:
                output.error(message)
    if status == _INTERRUPTED:
        output.say("interrupted")
        interrupts.leave_what_hangs(status)
    sys.exit(status)


def _explain(error: Exception, arguments: Sequence[str]) -> tuple[str, int]:
    """What to tell the user about an error, and the exit status."""
    if isinstance(error, _USAGE_ERROR):
        context = getattr(error, "ctx", None)
        # An option without its value has no context; the words before the first option name the command.
        named = itertools.takewhile(str.isalpha, arguments[:2])
        command = context.command_path if context else " ".join(["anytime", *named])
        message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        # Not every version of typer says what the option was given.
        value = output.value_of(getattr(getattr(error, "param", None), "opts", ()), arguments)
        found = f", found {value!r}" if value is not None and (value or "''") not in message else ""
        return f"{message}{found}; see {command} --help", 2
    if isinstance(error, AnytimeError):
        return str(error), error.exit_status
    if (cause := exhausted(error)) is not None:
        way_out = "; ask for less at a time, or end other programs" if cause == "memory" else ""
        return what_ran_out(error, cause) + way_out, 1
    if isinstance(error, OSError):
        if error.errno is None:  # a library's own, which names what it is about
            return system_reason(error), 1
        name = named_file(error) or f"a file, here or in {tempfile.gettempdir()}"
        return f"{name}: {system_reason(error)}", 1
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}; this is a bug, --debug shows where", 1


if __name__ == "__main__":
    main()
