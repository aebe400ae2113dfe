"""The jobs of a Ray cluster, by Ray's own client: its dashboard's address, its token.

What the client raises is told in our words: a cluster that is not there, a token that is missing or wrong, another
version of Ray. The client waits without limit for an answer and never tells, so requests get a limit of their own here.
A job whose answer was lost may have been taken: it is sent again under the same name, which Ray takes once.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from rcpt_ray.errors import UserError
from rcpt_ray.ray_token import home_file, token_source
from rcpt_ray.submission.follow import PAUSE_S, LostConnection
from rcpt_ray.submission.names import Job

_ANSWER_S = 60.0
_BEGIN_S = 90.0
"""For a head that has just been started to take its first job."""
_STOP_S = 120.0
_NOT_ALLOWED = (401, 403)
"""Statuses for no token and for a wrong one."""
_NOT_UP = ("agent", "Agent", "Cannot connect to host")
"""Of the last line of what a head says whose own parts do not find each other yet."""
_CHATTER = (
    "ray.dashboard.modules.job.sdk",
    "ray.dashboard.modules.dashboard_sdk",
    "ray._private.runtime_env.packaging",
    "ray._private.authentication.http_token_authentication",
)


class RayJobs:
    """The jobs of one cluster; `open_jobs` makes it."""

    def __init__(self, client: JobSubmissionClient, address: str) -> None:
        self._client, self.address = client, address

    def submit(
        self, name: str, command: str, folder: Path, environment: Mapping[str, str], hook: str, facts: Mapping[str, str]
    ) -> None:
        """Send a job with its working folder; it has begun, or will, when this returns.

        Args:
            name: A name that no job has had there.
            command: For a shell in the folder.
            folder: Its working folder, on every machine.
            environment: Variables of its processes, for anyone to see.
            hook: The dotted name of a function in the folder that each worker process calls first.
            facts: What is kept beside its name.

        Raises:
            UserError: it is not taken, or nobody can say whether it was.
        """
        runtime_env = {"working_dir": str(folder), "env_vars": dict(environment), "worker_process_setup_hook": hook}
        until_s = time.monotonic() + _BEGIN_S
        while True:
            try:
                self._client.submit_job(
                    entrypoint=command, submission_id=name, runtime_env=dict(runtime_env), metadata=dict(facts)
                )
            except RuntimeError as error:
                if f"{name} already exists" in str(error):
                    return  # taken, though its answer was lost
                said = _last_words(error)
                if not any(word in said for word in _NOT_UP) or time.monotonic() > until_s:
                    raise UserError(f"{self.address} does not take the job: {said}") from None
            except LostConnection as lost:
                if time.monotonic() > until_s:
                    raise UserError(
                        f"{self.address} was lost while job {name} was sent ({lost}), which it may have taken; see "
                        "`rcpt jobs`, and submit it again if it is not there"
                    ) from None
            else:
                return
            time.sleep(PAUSE_S)

    def jobs(self) -> list[Job]:
        """All jobs that were submitted there; UserError where nobody answers."""
        try:
            return [_job(details) for details in self._client.list_jobs() if details.submission_id]
        except (LostConnection, RuntimeError) as error:
            raise UserError(f"{self.address} does not tell of its jobs: {_last_words(error)}; try again") from None

    def stop(self, name: str) -> Job:
        """End a job, and return it when it is over.

        Raises:
            UserError: there is no such job, or it does not end.
        """
        try:
            job = self._now(name)
            if not job.is_over:
                self._client.stop_job(name)
            until_s = time.monotonic() + _STOP_S
            while not job.is_over and time.monotonic() < until_s:
                time.sleep(PAUSE_S / 4)
                job = self._now(name)
        except (LostConnection, RuntimeError) as error:
            raise UserError(f"{self.address} does not say whether {name} ends: {_last_words(error)}") from None
        if not job.is_over:
            raise UserError(f"job {name} was told to stop but still runs after {_STOP_S:.0f} s; try again")
        return job

    async def job(self, name: str) -> Job:
        """A job as it is now."""
        return await asyncio.to_thread(self._now, name)

    async def log(self, name: str) -> AsyncGenerator[str, None]:
        """A job's log from its beginning, until the job is over or the connection is."""
        pieces = self._client.tail_job_logs(name)
        try:
            async for piece in pieces:
                yield piece
        except aiohttp.WSServerHandshakeError as error:
            if error.status in _NOT_ALLOWED:
                _refuse_token(self.address, is_wrong=error.status == _NOT_ALLOWED[1])
            raise LostConnection(f"status {error.status}") from None
        except (aiohttp.ClientError, OSError, RuntimeError, TimeoutError) as error:
            raise LostConnection(_last_words(error)) from None
        finally:
            await pieces.aclose()

    def _now(self, name: str) -> Job:
        try:
            return _job(self._client.get_job_info(name))
        except RuntimeError as error:
            if "status code 404" in str(error):
                raise UserError(
                    f"there is no job {name} at {self.address}, or no longer: a head that is started anew forgets its "
                    "jobs; `rcpt jobs` lists those that there are"
                ) from None
            raise LostConnection(_last_words(error)) from None


class _Client(JobSubmissionClient):
    """Ray's client, with a limit on each answer; a token may be changed between two of them."""

    def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
        try:
            return super()._do_request(method, endpoint, timeout=_ANSWER_S, **more)
        except requests.exceptions.RequestException as error:
            raise LostConnection(type(error).__name__) from None
        except AuthenticationError as error:
            _refuse_token(self._address, is_wrong="Authentication failed" in str(error))


def open_jobs(address: str) -> RayJobs:
    """The jobs of the cluster whose dashboard is at an address.

    Raises:
        UserError: nobody answers, or not Ray, or another version of it; the token is missing or wrong.
    """
    for name in _CHATTER:
        logging.getLogger(name).setLevel(logging.ERROR)
    # Ray's client takes the address of these variables before the one that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    try:
        client = _Client(address)
        version = client._server_ray_version
    except LostConnection:
        raise UserError(
            f"no Ray cluster answers at {address}; begin the tunnel to its head, or give --address or "
            "RAY_API_SERVER_ADDRESS"
        ) from None
    except UserError:
        raise
    except AuthenticationError as error:
        _refuse_token(address, is_wrong="Authentication failed" in str(error))
    except (RuntimeError, ValueError, KeyError, requests.exceptions.RequestException):
        raise UserError(f"what answers at {address} is no dashboard of Ray; correct the address") from None
    if version != ray.__version__:
        raise UserError(
            f"the cluster at {address} runs Ray {version} but Ray {ray.__version__} is installed here; install "
            f"ray=={version} here, or the other one there"
        )
    return RayJobs(client, address)


def _refuse_token(address: str, is_wrong: bool) -> NoReturn:
    source = token_source().words
    ways = f"set RAY_AUTH_TOKEN_PATH to a file with the cluster's token, or write it into {home_file()}"
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        said = f"{address} asks for a token but RAY_AUTH_MODE=disabled sends none; set RAY_AUTH_MODE=token"
    elif is_wrong:
        said = f"{address} refuses the token of {source}; {ways}"
    else:
        said = f"{address} asks for a token and there is none in {source}; {ways}"
    raise UserError(said) from None


def _job(details: Any) -> Job:
    facts: Mapping[str, str] = details.metadata or {}
    return Job(
        name=details.submission_id,
        state=details.status.value,
        exit_code=details.driver_exit_code,
        message=details.message or "",
        began_s=(details.start_time or 0) / 1000,
        ended_s=details.end_time / 1000 if details.end_time else None,
        what=_what(facts, details.entrypoint),
    )


def _what(facts: Mapping[str, str], command: str) -> str:
    asked: Sequence[str] = [facts[name] for name in ("verb", "recipe", "run") if facts.get(name)]
    return " ".join(asked) or command


def _last_words(error: BaseException) -> str:
    """The last line of what a server says, which is the error itself where that is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1][:300] if lines else type(error).__name__
