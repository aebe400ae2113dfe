"""Questions asked in a process of their own: what is broken may end a process, hang, or leave Ray half up in it."""

import json
import subprocess
import sys
from typing import Any


class NoAnswer(RuntimeError):
    """The process ended without an answer, or took too long."""


def ask(module: str, *arguments: str, timeout_s: float) -> dict[str, Any]:
    """What `python -m MODULE ARGUMENTS` says: a JSON object in the last line of its output.

    Raises:
        NoAnswer: with the last line of its errors, or how long it was waited for.
    """
    command = [sys.executable, "-m", module, *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer within {timeout_s:.0f} s") from None
    lines = [line for line in ran.stdout.splitlines() if line.strip()]
    try:
        answer = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        said = [line for line in ran.stderr.splitlines() if line.strip()]
        raise NoAnswer(said[-1].strip() if said else f"ended with code {ran.returncode}")
    return answer
