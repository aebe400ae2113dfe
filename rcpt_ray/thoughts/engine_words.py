"""An engine's own words when it does not start.

vLLM runs its core in a process of its own, whose traceback goes to standard error, while the caller only hears that
the core failed. So standard error goes through a file while an engine starts, and what it says last is the message.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ERROR_LINE = re.compile(r"(?:^|[\s\])])((?:\w+\.)*\w*(?:Error|Exception)): (.+)$")
_NO_CAUSE = ("Engine core initialization failed", "WorkerProc initialization failed")


@dataclass(frozen=True)
class EngineWords:
    """What was written to standard error while the engine started."""

    file: Path

    def of(self, error: BaseException) -> str:
        """The root of an error: the last error named on standard error, else the error itself."""
        found = [match for line in self.file.read_text("utf-8", "replace").splitlines() if (match := _search(line))]
        if found and any(words in str(error) for words in _NO_CAUSE):
            return found[-1]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {' '.join(lines)[:600]}"


@contextlib.contextmanager
def capture_errors() -> Iterator[EngineWords]:
    """Lead this process's standard error through a file for the length of the block, then pass it on."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.NamedTemporaryFile(prefix="engine-", suffix=".err") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield EngineWords(Path(file.name))
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            sys.stderr.write(Path(file.name).read_text("utf-8", "replace"))


def _search(line: str) -> str | None:
    match = _ERROR_LINE.search(line)
    if match is None or any(words in line for words in _NO_CAUSE):
        return None
    return f"{match.group(1)}: {match.group(2).strip()[:600]}"
