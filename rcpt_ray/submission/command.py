"""`rcpt submit`, `rcpt attach`, `rcpt stop` and `rcpt jobs`: what a person does with jobs, in words.

A mistake in a recipe, a file or an address ends with exit code 2 before anything is sent. Whoever follows a job gets
its exit code; Ctrl-C, and any other end of this process, leaves the job as it is.
"""

import asyncio
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcpt_ray import __version__
from rcpt_ray.errors import UserError
from rcpt_ray.recipe import load_recipe
from rcpt_ray.submission.follow import GivenUp, follow
from rcpt_ray.submission.names import code_of, end_in_words, new_name, the_only
from rcpt_ray.submission.pack import RECIPE, pack, refuse_unfit
from rcpt_ray.submission.secrets import HOOK, NAMES, checked_names

if TYPE_CHECKING:
    from rcpt_ray.submission.on_ray import RayJobs

_HERE = "http://127.0.0.1:8265"
_DETACHED = 130


def submit(
    recipe_file: str,
    overrides: Sequence[str],
    *,
    verb: str = "run",
    address: str | None = None,
    secrets: Sequence[str] = (),
    python: str = "python",
    detach: bool = False,
) -> int:
    """Send a recipe as a job and follow it to its end; returns its exit code, 0 at once with `detach`.

    Args:
        recipe_file: A .yaml file of this machine.
        overrides: `key=value` settings.
        verb: The command of rcpt that the job runs.
        address: Of the cluster's dashboard; None takes RAY_API_SERVER_ADDRESS, else this machine's.
        secrets: Names of environment variables whose values the cluster's machines have.
        python: The Python of the cluster's machines, by its name or path there.

    Raises:
        UserError: the recipe, a file, a name or the address is wrong; nothing was sent then.
    """
    recipe = load_recipe(recipe_file, overrides)
    refuse_unfit(recipe)
    names = checked_names(secrets)
    with tempfile.TemporaryDirectory(prefix="rcpt-submit-") as folder:
        packed = pack(Path(recipe_file), recipe, Path(folder))
        jobs = _open(address)
        name = new_name(recipe.name, time.time())
        command = shlex.join([python, "-m", "rcpt_ray.submission.job", verb, RECIPE, *overrides])
        print(f"job {name}: {packed.in_words}, to {jobs.address}", flush=True)
        facts = {"rcpt": __version__, "verb": verb, "recipe": recipe.name, "run": recipe.run}
        jobs.submit(name, command, Path(folder), {NAMES: ",".join(names)} if names else {}, HOOK, facts)
    print(f"it goes on without this command: rcpt attach {name} follows it, rcpt stop {name} ends it", flush=True)
    return 0 if detach else _follow(jobs, name)


def attach(name: str | None, address: str | None = None) -> int:
    """Follow a job from the beginning of its log to its end; returns its exit code.

    Raises:
        UserError: there is no such job, or none is named and not exactly one runs.
    """
    jobs = _open(address)
    return _follow(jobs, name or the_only(jobs.jobs(), "attach").name)


def stop(name: str | None, address: str | None = None) -> int:
    """End a job and wait until it is over; returns 0.

    Raises:
        UserError: there is no such job, none is named and not exactly one runs, or it does not end.
    """
    jobs = _open(address)
    print(end_in_words(jobs.stop(name or the_only(jobs.jobs(), "stop").name)))
    return 0


def list_jobs(address: str | None = None) -> int:
    """Print the jobs of a cluster, the newest last; returns 0."""
    for job in sorted(_open(address).jobs(), key=lambda job: job.began_s):
        print(job.line(time.time()))
    return 0


def address_of(given: str | None) -> str:
    """The URL of the dashboard that is meant.

    >>> address_of("10.0.0.5:8265")
    'http://10.0.0.5:8265'
    """
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS") or _HERE
    scheme, has_scheme, rest = address.partition("://")
    if not has_scheme:
        scheme, rest = "http", address
    if scheme not in ("http", "https") or not rest.strip("/"):
        setting = "--address" if given else "RAY_API_SERVER_ADDRESS"
        raise UserError(f"{setting} {address} must be the URL of the cluster's dashboard, such as {_HERE}; correct it")
    return f"{scheme}://{rest.rstrip('/')}"


def _open(address: str | None) -> "RayJobs":
    url = address_of(address)
    # Before Ray is loaded, which reads it once: a token is sent unless somebody forbids it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from rcpt_ray.submission.on_ray import open_jobs

    return open_jobs(url)


def _follow(jobs: "RayJobs", name: str) -> int:
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def say(text: str) -> None:
        print(f"rcpt: {text}", file=sys.stderr, flush=True)

    again = f"rcpt attach {name} follows it again, rcpt stop {name} ends it"
    try:
        job = asyncio.run(follow(jobs, name, write, say))
    except KeyboardInterrupt:
        say(f"job {name} goes on; {again}")
        return _DETACHED
    except GivenUp as lost:
        say(f"{jobs.address} does not answer any more ({lost}); job {name} may go on; {again}")
        return 1
    say(end_in_words(job))
    return code_of(job)
