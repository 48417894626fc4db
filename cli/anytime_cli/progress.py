"""The progress of a command, on stderr: a bar for each activity on a terminal, a line now and then elsewhere.

Both say the same, the most important first: what is being done, how much of it is done, the loss if there is one, how
much is done in a second, and the time left. Other numbers follow if there is room.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from anytime_cli import output
from anytime_core.display import shown

if TYPE_CHECKING:
    from rich.text import Text

    from anytime_core.record import Stage
    from anytime_core.training.log import Progress

_FIRST_SECONDS, _SECONDS = 5.0, 30.0
"""Without a terminal: seconds until the first line, and the longest silence after it."""
_TENTHS = 10
_PACE_SECONDS = 60.0
"""The time over which the pace is measured."""
_BAR, _NAME = 12, 11
"""Characters of a bar, and the fewest of a name."""
_ESSENTIAL = 4
"""A long name is cut so that these many parts fit: what is done, the loss, the pace, and the time left."""
_NAMES = {"rate": "learning rate"}


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int, now: str = ..., /) -> None:
        """Show how much is done, how much there is in all, and what is being done now."""
        ...


@dataclass
class Activity:
    """Something that is done piece by piece.

    Attributes:
        name: what is being done.
        clock: the time in seconds.
        done: the number of pieces done.
        total: the number of pieces in all.
        values: numbers to show, the most important first.
        note: what is being done between pieces, such as `validating`.
    """

    name: str
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    total: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    _moments: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

    def reach(self, done: int, total: int, values: Mapping[str, float] | None = None, note: str = "") -> None:
        """Set how much is done."""
        if done < self.done:
            self._moments.clear()
        self.done, self.total, self.values, self.note = done, total, values or self.values, note
        if not note:  # work between pieces says nothing about their pace
            now = self.clock()
            if len(self._moments) > 1 and now - self._moments[-2][0] < _PACE_SECONDS / 100:
                self._moments.pop()
            self._moments.append((now, done))
            while len(self._moments) > 2 and self._moments[1][0] < now - _PACE_SECONDS:
                self._moments.popleft()

    @property
    def pace(self) -> float | None:
        """Recent pieces per second; None until that is known."""
        if len(self._moments) < 2:
            return None
        (first, before), (last, after) = self._moments[0], self._moments[-1]
        return (after - before) / (last - first) if after > before and last > first else None

    def line(self) -> str:
        """The name and all other parts."""
        return "  ".join([self._name, *self._parts])

    def fitting(self, width: int) -> str:
        """As much of the line as fits into `width` characters; a long name is cut so that the essential parts fit."""
        parts = self._parts
        room = width - len("  ".join(parts[:_ESSENTIAL])) - 2
        name = self._name
        text = name if len(name) <= max(room, _NAME) else f"{name[: max(room, _NAME) - 1]}…"
        for part in parts:
            if len(text) + 2 + len(part) > width:
                break
            text = f"{text}  {part}"
        return text

    @property
    def _name(self) -> str:
        return f"{shown(self.name):<{_NAME}}"

    @property
    def _parts(self) -> list[str]:
        """Everything but the name, the most important first."""
        parts = [f"{self.done:,}/{self.total:,}"]
        told = [f"{_NAMES.get(name, name)} {value:.4g}" for name, value in self.values.items()]
        parts += told[:1]
        if self.pace is not None:
            left = timedelta(seconds=round((self.total - self.done) / self.pace))
            parts += [f"{self.pace:.3g}/s", f"{left} left"]
        return [*parts, *filter(None, [self.note]), *told[1:]]


class Lines:
    """Says now and then how far an activity is. It is never quiet for long, even while nothing moves.

    Args:
        say: writes a line.
        tenths: also write a line at each tenth of an activity and at its end.
        clock: the time in seconds.
    """

    def __init__(
        self, say: Callable[[str], None], *, tenths: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.say, self.tenths, self.clock = say, tenths, clock
        self._next = clock() + _FIRST_SECONDS
        self._now: Activity | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()

    def __enter__(self) -> Lines:
        with contextlib.suppress(RuntimeError):  # without one more thread, lines come with steps only
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()

    def show(self, activity: Activity) -> None:
        """Show how far an activity is."""
        with self._lock:
            self._now = activity
            every = max(1, activity.total // _TENTHS)
            tenth = not activity.note and (activity.done % every == 0 or activity.done == activity.total)
            if self.tenths and tenth:
                self._tell()
        self.remind()

    def remind(self) -> None:
        """Say how far the activity is if there was no line for long."""
        with self._lock:
            if self._now is not None and self.clock() >= self._next:
                self._tell()

    def _tell(self) -> None:
        assert self._now is not None
        self._next = self.clock() + _SECONDS
        self.say(self._now.line())

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            self.remind()


class Bars:
    """A bar for each activity on a terminal.

    Args:
        transient: whether they disappear at the end.
    """

    def __init__(self, *, transient: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn
        from rich.table import Column
        from rich.text import Text

        console = Console(stderr=True)

        class Told(ProgressColumn):
            def render(self, task: Any) -> Text:
                return Text(task.fields["activity"].fitting(console.width - _BAR - 1))

        self._bars = Progress(
            BarColumn(bar_width=_BAR),
            Told(table_column=Column(no_wrap=True, overflow="crop")),
            console=console,
            transient=transient,
        )
        self._tasks: dict[int, Any] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def show(self, activity: Activity) -> None:
        """Show how far an activity is."""
        if id(activity) not in self._tasks:
            self._tasks[id(activity)] = self._bars.add_task("", activity=activity)
        self._bars.update(self._tasks[id(activity)], completed=activity.done, total=activity.total)


def _board(*, transient: bool = False, tenths: bool = False) -> Bars | Lines:
    return Bars(transient=transient) if sys.stderr.isatty() else Lines(output.say, tenths=tenths)


@contextlib.contextmanager
def bar(activity: str) -> Iterator[Advance]:
    """Show the progress of one activity after the other."""
    with _board(transient=True) as board:
        now = Activity(activity)

        def advance(done: int, total: int, name: str = activity, /) -> None:
            nonlocal now
            if name != now.name:
                now.name = name
                now.done = total + 1  # another activity has another pace
            now.reach(done, total)
            board.show(now)

        yield advance


class TrainingBoard:
    """Shows the progress of a training, a bar for each stage, and passes on how long it will take once that is known.

    Args:
        on_forecast: called with the seconds that each stage will still take.
    """

    def __init__(self, on_forecast: Callable[[Mapping[Stage, float]], None]) -> None:
        self.on_forecast = on_forecast
        self._board = _board(tenths=True)
        self._stages: dict[str, Activity] = {}

    def __enter__(self) -> TrainingBoard:
        self._board.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        for stage in self._stages.values():
            stage.note = ""
        self._board.__exit__(*exception)

    def update(self, progress: Progress) -> None:
        """Show a `Progress`."""
        if progress.stage not in self._stages:
            for before in self._stages.values():
                before.note = ""
        stage = self._stages.setdefault(progress.stage, Activity(progress.stage))
        stage.reach(progress.step, progress.steps, progress.values, progress.activity)
        self._board.show(stage)
        if progress.forecast is not None:
            self.on_forecast(progress.forecast)
