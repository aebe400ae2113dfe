"""What a person sees of a running sweep: a table of its trials on a terminal, and a line for each that has ended.

Where there is no terminal, a line now and then says how many are under way.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from rich.live import Live
from rich.table import Table

from rcpt_ray.sweep.proposals import Proposals
from rcpt_ray.sweep.result import Trial, TrialResult
from rcpt_ray.sweep.space import Settings
from rcpt_ray.terminal import Bar, Terminal, duration

_ROWS = 30
"""Of the table; what does not fit is told in its title."""


def in_words(point: Settings) -> str:
    """A point in a few words: settings by their last names."""
    words = []
    for name, value in point.items():
        if isinstance(value, dict):
            words.append(" ".join(f"{part} {share:g}" for part, share in value.items()))
        else:
            shown = f"{value:g}" if isinstance(value, float) else json.dumps(value)
            words.append(f"{name.rpartition('.')[2]} {shown}")
    return ", ".join(words)


class LiveTable:
    """Shows trials; used as a context, and told of each that begins or ends."""

    def __init__(self, terminal: Terminal, proposals: Proposals, folder: Path) -> None:
        self._terminal, self._proposals, self._folder = terminal, proposals, folder
        self._most_at_once = 1
        self._begun: dict[str, float] = {}
        self._live = Live(get_renderable=self._table, console=terminal.console, refresh_per_second=1, transient=True)
        self._lines = contextlib.ExitStack()
        self._bar: Bar | None = None

    def __enter__(self) -> "LiveTable":
        if self._terminal.console.is_terminal:
            self._live.start()
        else:
            self._bar = self._lines.enter_context(self._terminal.bar("trials"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._lines.close()

    def show(self, trial: Trial, result: TrialResult | None) -> None:
        """A trial has begun, or ended with a result."""
        if result is None:
            self._begun[trial.name] = time.monotonic()
            self._most_at_once = max(self._most_at_once, len(self._begun))
        else:
            del self._begun[trial.name]
            self._say_end(trial, result)
        if self._bar is not None:
            ended, planned = len(self._proposals.ended), self._proposals.num_planned
            self._bar.note(f"{len(self._begun)} under way, {ended} of {planned} have ended")

    def _say_end(self, trial: Trial, result: TrialResult) -> None:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in result.objectives.items())
        num_ended = len(self._proposals.ended)
        self._terminal.say(
            f"trial    {trial.name}  {in_words(trial.point)}  {result.status}  {figures or result.reason}  "
            f"{result.seconds:.0f} s  ({num_ended} of {self._proposals.num_planned}, {self._left()})"
        )

    def _left(self) -> str:
        """How long the rest may take: the trials that are left, at the mean time of those that have ended, as many
        at once as there were at most."""
        seconds = [result.seconds for result in self._proposals.ended if result.status == "ok"]
        left = self._proposals.num_planned - len(self._proposals.ended)
        if not seconds or left <= 0:
            return "no trial is left" if left <= 0 else "time left not known yet"
        return f"about {duration(left * sum(seconds) / len(seconds) / self._most_at_once)} left"

    def _table(self) -> Table:
        rows = list(self._rows())
        hidden = len(rows) - _ROWS
        title = f"{len(self._proposals.ended)} of {self._proposals.num_planned} trials have ended, {self._left()}"
        table = Table(title=title + (f"; the last {_ROWS} of {len(rows)}" if hidden > 0 else ""))
        for column in ("trial", "settings", "state", *self._proposals.sweep.objectives, "time"):
            table.add_column(column)
        for row in rows[-_ROWS:]:
            table.add_row(*row)
        return table

    def _rows(self) -> Iterator[list[str]]:
        objectives = list(self._proposals.sweep.objectives)
        ended = {result.trial.name: result for result in self._proposals.ended}
        for trial in self._proposals.trials:
            result = ended.get(trial.name)
            if trial.name in self._begun:
                spent_s, state = time.monotonic() - self._begun[trial.name], self._stage_of(trial)
            elif result is not None:
                spent_s, state = result.seconds, result.status
            else:
                continue
            figures = [f"{result.objectives[name]:.4g}" if result and result.objectives else "" for name in objectives]
            yield [trial.name, in_words(trial.point), state, *figures, duration(spent_s)]

    def _stage_of(self, trial: Trial) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "now" / f"{trial.name}.txt").read_text(encoding="utf-8")
        return "begins"
