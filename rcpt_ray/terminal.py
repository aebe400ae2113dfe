"""What a person sees: one line a stage, bars while it runs; the chatter of Ray and vLLM goes to a file.

`quiet_terminal` keeps a private copy of the terminal, then points file descriptors 1 and 2 of this process at the log,
so that also lines written below Python (engines, worker processes) land there.

Texts may come from data, models and libraries: none is read as markup, secrets are left out, and control characters are
shown as their codes (`Screen`). The log is without secrets as soon as a line of Python's is written, and, of what was
written below Python, when it is closed; a process that was killed before leaves that as it was.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from rcpt_ray.redact import Redacting, printable, redacted

_LINE_EVERY_S = 15.0
_SILENT_AT_MOST_S = 60.0
_PIECE_BYTES = 2**20
T = TypeVar("T")


class Screen(Console):
    """A console on which texts, in tables too, are characters and nothing else."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich's, of a text that steers nothing and holds no secret."""
        return super().render_str(printable(text), **options)


def table_console() -> Console:
    """A console for tables; wide where no terminal sets the width, so that nothing is folded in a file."""
    return Screen() if sys.stdout.isatty() else Screen(width=200)


def duration(seconds: float) -> str:
    """A time in the two units that matter, such as 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Bar:
    """Progress of one stage; on a terminal a bar, elsewhere a line now and then, at least one a minute."""

    def __init__(self, console: Console, title: str, progress: Progress | None) -> None:
        self._console, self._title, self._progress = console, title, progress
        self._task = progress.add_task(printable(title), total=None, note="") if progress else None
        self._done, self._total, self._note = 0, 0, ""
        self._began_s = self._last_line_s = time.monotonic()

    def total(self, total: int) -> None:
        """Say how many units there are."""
        self._total = total
        self._show()

    def advance(self, amount: int = 1) -> None:
        """Count finished units."""
        self._done += amount
        self._show()

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, each counted as finished when the next one is asked for."""
        for item in items:
            yield item
            self.advance()

    def note(self, note: str) -> None:
        """Say what is going on, in a few words."""
        self._note = printable(note)
        self._show()

    def _show(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._done, total=self._total or None, note=self._note)
        elif time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line_s = time.monotonic()
        count = f"{self._done}/{self._total} " if self._total else ""
        lasted = duration(self._last_line_s - self._began_s)
        words = f"  {self._title}: {count}{self._note}".rstrip(": ")
        self._console.print(f"{words} ({lasted})", highlight=False, soft_wrap=True, markup=False)

    def keep_telling(self, ended: threading.Event, silent_at_most_s: float) -> None:
        """Print a line whenever none was printed for so long, until the event is set."""
        while not ended.wait(self._last_line_s + silent_at_most_s - time.monotonic()):
            if time.monotonic() - self._last_line_s >= silent_at_most_s:
                self._print_line()


class Terminal:
    """The person's screen, or a file that somebody follows."""

    def __init__(self, console: Console, silent_at_most_s: float = _SILENT_AT_MOST_S) -> None:
        self.console, self._silent_at_most_s = console, silent_at_most_s

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        """A bar for the length of the block; it disappears when the block ends."""
        if not self.console.is_terminal:
            bar, ended = Bar(self.console, title, None), threading.Event()
            # A machine that comes, an engine that starts, a model that is fetched: nothing is counted for minutes.
            teller = threading.Thread(target=bar.keep_telling, args=(ended, self._silent_at_most_s), daemon=True)
            teller.start()
            try:
                yield bar
            finally:
                ended.set()
                teller.join()
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield Bar(self.console, title, progress)


@contextlib.contextmanager
def quiet_terminal(log: Path) -> Iterator[Terminal]:
    """A terminal for us alone while everything else that is printed goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(Any, Redacting(out)), cast(Any, Redacting(err))
    try:
        with os.fdopen(os.dup(saved_out), "w", buffering=1, encoding="utf-8", errors="replace") as screen:
            yield Terminal(Screen(file=screen))
    finally:
        sys.stdout, sys.stderr = out, err
        out.flush()
        err.flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        os.close(saved_out)
        os.close(saved_err)
        try:
            _take_secrets_out(log)
        except OSError as error:  # it must not hide how the command itself ended
            print(f"warning: {log} could not be searched for secrets ({error.strerror})", file=sys.stderr)


def _take_secrets_out(log: Path) -> None:
    """Redact what native code and processes below wrote past Python; a log without secrets stays as it is."""
    with log.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        if all(redacted(piece) == piece for piece in _pieces(file)):
            return
        file.seek(0)
        descriptor, beside = tempfile.mkstemp(prefix=f".{log.name}-", dir=log.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as mended:
                mended.writelines(map(redacted, _pieces(file)))
            shutil.copymode(log, beside)
            os.replace(beside, log)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def _pieces(file: TextIO) -> Iterator[str]:
    """The rest of a file, a megabyte of whole lines at a time: `redacted` looks through the environment for each."""
    while lines := file.readlines(_PIECE_BYTES):
        yield "".join(lines)
