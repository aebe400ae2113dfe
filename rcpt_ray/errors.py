"""Exceptions that are told in one sentence: mistakes that a user can mend, and work that stopped itself.

What they say of an error passes `redacted`: libraries quote URLs and headers.
"""

import re

_NAMED_ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception|Timeout)(:|$)")


class UserError(ValueError):
    """A mistake in a recipe, a path or an input, told in one sentence.

    The sentence names the setting, its value, the rule it broke and the way out. The command line prints it without
    a traceback and exits with code 2; any other exception is a defect of ours and keeps its traceback.
    """


class WorkStopped(RuntimeError):
    """Work ended itself because going on is useless, told in one sentence; exit code 1."""


def user_error_behind(error: BaseException) -> UserError | None:
    """The user's mistake behind an exception that came through a worker process."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UserError):
            return UserError(str(seen).strip().splitlines()[-1].removeprefix("rcpt_ray.errors.UserError: "))
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def reason_of(error: BaseException) -> str:
    """Why something failed, in a sentence: its own words where it has some, else the last line of its traceback."""
    from rcpt_ray.redact import redacted

    mistake = user_error_behind(error)
    if mistake is not None:
        return redacted(str(mistake))
    return redacted(str(error) if isinstance(error, WorkStopped) else _last_line(error))


def _last_line(error: BaseException) -> str:
    """The error that a worker's traceback ends with, else the last line of the error itself."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    named = [line.strip() for line in lines if _NAMED_ERROR.match(line) and not line.startswith("ray.exceptions.")]
    if named:
        return named[-1]
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__
