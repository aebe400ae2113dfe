"""An engine's own words when it does not start.

vLLM runs its core in a process of its own, whose traceback goes to standard error, while the caller only hears that
the core failed. So standard error goes through a pipe while an engine starts: everything is passed on, the last lines
are kept, and the last error among them is the message. The engine's processes keep the pipe for as long as they live.
"""

import contextlib
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator

_ERROR_LINE = re.compile(r"(?:^|[\s\])])((?:\w+\.)*\w*(?:Error|Exception)): (.+)$")
_NO_CAUSE = ("Engine core initialization failed", "WorkerProc initialization failed")
_NUM_LINES = 2000
_LAST_WORDS_S = 2.0


class EngineWords:
    """What is written to standard error while the engine starts."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_NUM_LINES)
        self._is_quiet = threading.Event()

    def pass_on(self, source: int, target: int) -> None:
        """Copy lines until every writer is gone."""
        with os.fdopen(source, "rb") as lines, os.fdopen(target, "wb", buffering=0) as out:
            for line in lines:
                self._lines.append(line.decode("utf-8", "replace"))
                with contextlib.suppress(OSError):
                    out.write(line)
        self._is_quiet.set()

    def of(self, error: BaseException) -> str:
        """The root of an error: the last error named on standard error, else the error itself."""
        if any(words in str(error) for words in _NO_CAUSE):
            self._is_quiet.wait(_LAST_WORDS_S)
            found = [match for line in list(self._lines) if (match := _search(line.rstrip()))]
            if found:
                return found[-1]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {' '.join(lines)[:600]}"


@contextlib.contextmanager
def capture_errors() -> Iterator[EngineWords]:
    """Lead this process's standard error through a pipe for the length of the block."""
    words = EngineWords()
    sys.stderr.flush()
    saved = os.dup(2)
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    threading.Thread(target=words.pass_on, args=(source, os.dup(saved)), daemon=True).start()
    try:
        yield words
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


def _search(line: str) -> str | None:
    match = _ERROR_LINE.search(line)
    if match is None or any(words in line for words in _NO_CAUSE):
        return None
    return f"{match.group(1)}: {match.group(2).strip()[:600]}"
