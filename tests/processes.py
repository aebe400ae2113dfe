"""Commands as a user types them, in process groups that tests end by their own ids."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def rcpt(*arguments: str, timeout_s: float = 400) -> subprocess.CompletedProcess[str]:
    """Run `rcpt ARGUMENTS` to its end."""
    command = [sys.executable, "-m", "rcpt_ray", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=timeout_s, check=False)


def start_rcpt(*arguments: str) -> subprocess.Popen[str]:
    """Start `rcpt ARGUMENTS`; its output is one stream of text."""
    command = [sys.executable, "-m", "rcpt_ray", *arguments]
    return subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run_until_killed(arguments: Sequence[str], when: Callable[[], bool], timeout_s: float = 300) -> None:
    """Start `rcpt ARGUMENTS`, wait until `when()`, then end it with SIGKILL; it must still be running then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rcpt_ray", *arguments], cwd=PROJECT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: when() or process.poll() is not None, timeout_s)
        assert process.poll() is None, "the command ended before it could be killed"
    finally:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Poll a condition until it holds; TimeoutError after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"nothing happened within {timeout_s} s")
        time.sleep(0.05)


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def group(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, which is ended with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
