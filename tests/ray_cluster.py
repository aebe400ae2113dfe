"""A Ray cluster of a test's own: on loopback, with a token, ended with its block by process id."""

import contextlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from processes import free_port, group

STARTED = "Ray runtime started"
"""What `ray start` says when its node can be used."""
_TRIES = 3
"""A node that does not come up within 30 s, fixed in Ray, ends; on a busy machine another one comes up."""
RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Head:
    """A running head; `environment` is that of a client who has the token."""

    process_id: int
    address: str
    dashboard_url: str
    environment: dict[str, str]


@contextlib.contextmanager
def ray_head(
    folder: Path,
    *more: str,
    num_cpus: int = 2,
    dashboard: bool = True,
    variables: Mapping[str, str] | None = None,
    gcs_port: int | None = None,
) -> Iterator[Head]:
    """A head with further options and environment variables; its output is `folder`/head.log."""
    environment = os.environ | token_environment(folder) | {"RAY_worker_register_timeout_seconds": "300"}
    environment |= variables or {}
    # What tests in this process have joined, and that they were given no GPUs.
    for name in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
        environment.pop(name, None)
    log = folder / "head.log"
    for _ in range(_TRIES):
        ports = {"gcs": gcs_port or free_port(), "dashboard": free_port(), "agent": free_port()}
        command = [
            RAY,
            "start",
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={num_cpus}",
            "--disable-usage-stats",
            f"--port={ports['gcs']}",
            f"--include-dashboard={str(dashboard).lower()}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={ports['dashboard']}",
            # Its fixed default is taken where another Ray runs on this machine; then no job is accepted.
            f"--dashboard-agent-listen-port={ports['agent']}",
            "--object-store-memory=1000000000",
            *more,
        ]
        awaited = [ports["gcs"], *([ports["dashboard"]] if dashboard else [])]
        with group(command, environment, log) as process:
            # The control plane answers long before the head is a node that a driver can join.
            while process.poll() is None and not (STARTED in log.read_text() and all(map(_answers, awaited))):
                time.sleep(0.1)
            if process.poll() is None:
                url = f"http://127.0.0.1:{ports['dashboard']}"
                yield Head(process.pid, f"127.0.0.1:{ports['gcs']}", url, environment)
                return
    raise AssertionError(log.read_text())


def token_environment(folder: Path) -> dict[str, str]:
    """The variables that turn token authentication on, with a new token in `folder`/token."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def _answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
