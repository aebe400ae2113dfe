"""A job as its name, its state and its end: what is told of it, and which one is meant where none is named."""

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rcpt_ray.errors import UserError
from rcpt_ray.terminal import duration

State = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
"""The states of Ray's job API."""
_OVER = ("STOPPED", "SUCCEEDED", "FAILED")
_MOST_LETTERS = 40
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Job:
    """A job as the cluster tells of it."""

    name: str
    state: State
    exit_code: int | None = None
    """Of its command; None while it runs, and where it never began."""
    message: str = ""
    """Ray's words on the state."""
    began_s: float = 0.0
    """Seconds since the epoch."""
    ended_s: float | None = None
    what: str = ""
    """Its command in words."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in _OVER

    def line(self, now_s: float) -> str:
        """The job in one line of a list."""
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.began_s))
        lasted = duration((self.ended_s or now_s) - self.began_s)
        return f"{self.name}  {self.state.lower()}  {began}  {lasted}  {self.what}".rstrip()


def new_name(recipe_name: str, now_s: float) -> str:
    """A name that no other job has: the recipe's, the time here, four digits by chance.

    >>> re.sub("[0-9]{8}-[0-9]{6}-[0-9a-f]{4}$", "...", new_name("demo", 0))
    'demo-...'
    """
    then = time.strftime("%Y%m%d-%H%M%S", time.localtime(now_s))
    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', recipe_name)[:_MOST_LETTERS]}-{then}-{uuid.uuid4().hex[:4]}"


def the_only(jobs: Sequence[Job], verb: str) -> Job:
    """The only job that runs; UserError, with the jobs that there are, where there is none or more than one."""
    running = [job for job in jobs if not job.is_over]
    if len(running) == 1:
        return running[0]
    newest = sorted(running or jobs, key=lambda job: job.began_s, reverse=True)
    shown = ", ".join(f"{job.name} ({job.state.lower()})" for job in newest[:_MOST_SHOWN])
    more = f" and {len(newest) - _MOST_SHOWN} more" if len(newest) > _MOST_SHOWN else ""
    if running:
        raise UserError(f"{len(running)} jobs run there: {shown}{more}; name one: rcpt {verb} JOB")
    if not jobs:
        raise UserError("no job was ever submitted there; look at the address, or submit one: rcpt submit RECIPE")
    raise UserError(f"no job runs there; the newest are {shown}{more}; name one: rcpt {verb} JOB")


def code_of(job: Job) -> int:
    """The exit code for whoever follows a job to its end: the job's own 0, 1 or 2, and 1 for any other end."""
    if job.state == "SUCCEEDED":
        return 0
    return job.exit_code if job.exit_code in (1, 2) and job.state == "FAILED" else 1


def end_in_words(job: Job) -> str:
    """How a job ended, in a sentence."""
    if job.state == "SUCCEEDED":
        return f"job {job.name} is done"
    if job.state == "STOPPED":
        return f"job {job.name} was stopped; submit its recipe again to go on from what is finished"
    if job.exit_code is None:
        return f"job {job.name} failed before its command could end: {job.message.strip() or 'Ray gives no reason'}"
    if job.exit_code == 127:
        return (
            f"job {job.name} failed: its shell did not find the Python to run it with; put the cluster's environment "
            "on PATH where Ray is started, or give --python PATH"
        )
    return f"job {job.name} failed with exit code {job.exit_code}; why stands above"
