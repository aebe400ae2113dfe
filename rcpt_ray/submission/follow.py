"""Follow a job's log to its end, whatever becomes of the connection.

The log is asked for from its beginning each time, and what was passed on before is left out, so no line comes twice
and none is missing. A connection that is lost (the head starts again, a tunnel dies) is tried again for `patience_s`.
One that is silent is doubted: every `silence_s` the server is asked for the job's state, because a dead tunnel says
nothing at all. Following changes nothing about the job: whoever follows may be ended at any time.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from rcpt_ray.submission.names import Job

PAUSE_S = 2.0
_PATIENCE_S = 300.0
_SILENCE_S = 30.0
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class LostConnection(Exception):
    """The cluster did not answer; asking again may help. Its words say why."""


class GivenUp(Exception):
    """The cluster did not answer for too long; the job may go on."""


class JobServer(Protocol):
    """What tells of jobs."""

    async def job(self, name: str) -> Job:
        """A job as it is now; LostConnection, or UserError where there is no such job."""

    def log(self, name: str) -> AsyncGenerator[str, None]:
        """A job's log from its beginning, in pieces, until the job is over; LostConnection."""


async def follow(
    server: JobServer,
    name: str,
    write: Callable[[str], object],
    say: Callable[[str], object],
    patience_s: float = _PATIENCE_S,
    silence_s: float = _SILENCE_S,
    pause_s: float = PAUSE_S,
) -> Job:
    """Pass on a job's log until the job is over, and return it as it ended.

    Args:
        server: Where the job is.
        name: The job's.
        write: Takes pieces of the log, without terminal control characters.
        say: Takes a sentence about the connection.
        patience_s: Seconds without an answer before this is given up.
        silence_s: Seconds without a line before the server is asked whether it is there.
        pause_s: Seconds between two tries.

    Raises:
        GivenUp: there was no answer for `patience_s`.
        UserError: there is no such job, or no longer.
    """
    passed_on, lost_s = 0, None
    clock = asyncio.get_running_loop().time
    while True:
        try:
            at = 0
            async with contextlib.aclosing(_pieces(server, name, silence_s)) as pieces:
                async for piece in pieces:
                    new = piece[max(0, passed_on - at) :]
                    at += len(piece)
                    passed_on = max(passed_on, at)
                    if lost_s is not None:
                        say("the connection is back")
                        lost_s = None
                    if new:
                        write(plain(new))
            job = await server.job(name)
            if job.is_over:
                return job
            lost_s = None
        except LostConnection as lost:
            if lost_s is None:
                lost_s = clock()
                say(f"the connection is lost ({lost}); trying again for {patience_s:g} s")
            elif clock() - lost_s > patience_s:
                raise GivenUp(str(lost)) from None
        await asyncio.sleep(pause_s)


async def _pieces(server: JobServer, name: str, silence_s: float) -> AsyncGenerator[str, None]:
    """The pieces of a log; LostConnection where it is silent and the server does not answer either."""
    async with contextlib.aclosing(server.log(name)) as log:
        while True:
            next_piece = asyncio.ensure_future(anext(log, None))
            try:
                while not (await asyncio.wait({next_piece}, timeout=silence_s))[0]:
                    await server.job(name)
            finally:
                if not next_piece.done():
                    next_piece.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await next_piece
            piece = next_piece.result()
            if piece is None:
                return
            yield piece


def plain(text: str) -> str:
    """A text without what would move a terminal's cursor, change its colours or ring its bell.

    >>> plain("a\\x1b[31mb\\rc\\n")
    'abc\\n'
    """
    return _CONTROL.sub("", text)
