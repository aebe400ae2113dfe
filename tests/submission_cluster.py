"""A cluster as it is in a cloud, on one machine: a head without CPUs, one machine that works, a token, secrets."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import PROJECT, free_port, group, wait_until
from ray_cluster import RAY, Head, ray_head


@dataclass(frozen=True)
class Cloud:
    """A running cluster."""

    head: Head
    kept: Path
    """All that Ray writes on its machines."""


@dataclass(frozen=True)
class Client:
    """A user of the cluster with an environment of their own."""

    environment: dict[str, str]

    def rcpt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `rcpt ARGUMENTS` to its end."""
        command = [sys.executable, "-m", "rcpt_ray", *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=400, check=False
        )

    def start(self, command: list[str], output: Path) -> subprocess.Popen[bytes]:
        """Start a command whose output goes to a file."""
        with output.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def client_of(head: Head, folder: Path, **variables: str) -> Client:
    """A user who knows the cluster's address; the token is theirs if they are given the head's variables."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    home = {"HOME": str(folder), "RAY_API_SERVER_ADDRESS": head.dashboard_url}
    return Client(own | home | variables)


def token_of(head: Head) -> str:
    """The cluster's token."""
    return Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()


@contextlib.contextmanager
def cloud(folder: Path, secrets: Path) -> Iterator[Cloud]:
    """A head without CPUs and a machine with two, which find secrets in a folder; ended with the block."""
    variables = {"RCPT_SECRETS_DIR": str(secrets)}
    with contextlib.ExitStack() as stack:
        # A job joins the cluster that was started last in its Ray's own folder, whoever started it. The path is short
        # because those of sockets, which are in it, have 107 letters at most.
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)))
        head = stack.enter_context(ray_head(folder, f"--temp-dir={kept}/head", num_cpus=0, variables=variables))
        log = folder / "machine.log"
        machine = stack.enter_context(group(_machine(head, kept), head.environment, log))

        def is_up() -> bool:
            nonlocal machine
            # Ray gives a machine 30 s to come up, which a busy one may miss.
            if machine.poll() is not None and "timed out during startup" in log.read_text():
                machine = stack.enter_context(group(_machine(head, kept), head.environment, log))
            return machine.poll() is not None or "Ray runtime started" in log.read_text()

        wait_until(is_up, timeout_s=600)
        assert machine.poll() is None, log.read_text()
        yield Cloud(head, kept)


def _machine(head: Head, kept: Path) -> list[str]:
    return [
        RAY,
        "start",
        f"--address={head.address}",
        # Of its own, as on a machine of its own: two that share one unpack a job's folder over each other's.
        f"--temp-dir={kept}/machine",
        "--block",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=2",
        f"--dashboard-agent-listen-port={free_port()}",
        "--object-store-memory=1000000000",
    ]
