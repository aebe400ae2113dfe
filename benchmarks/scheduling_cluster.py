"""A pretended cluster on this machine: a head that runs no work and nodes of pretended GPUs, each a raylet of its own.

Every process is started here and ended with the block, by process group. Nodes differ from real ones in that they share
CPUs, memory, clock and network; what the control plane does (leases, heartbeats, actors, objects between nodes) is the
same.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RAY = str(Path(sys.executable).with_name("ray"))
_STORE_BYTES = 200_000_000
_TRIES = 5


@dataclass(frozen=True)
class PretendedCluster:
    """A running cluster; `environment` is that of a driver that joins it."""

    process_ids: list[int]
    environment: dict[str, str]


@contextlib.contextmanager
def pretended_cluster(folder: Path, num_nodes: int, gpus_per_node: int) -> Iterator[PretendedCluster]:
    """A head and so many nodes, each with as many CPUs as GPUs; with none, the head has them. Logs go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # All nodes start their processes on the same few cores: slow is not dead.
        "RAY_worker_register_timeout_seconds": "600",
        "RAY_health_check_failure_threshold": "100",
    }
    environment.pop("RAY_ADDRESS", None)
    port = _free_port()
    address = f"127.0.0.1:{port}"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        on_head = 0 if num_nodes else gpus_per_node
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        head += [f"--num-cpus={on_head}", f"--num-gpus={on_head}"]
        processes.append(_start(head, environment, folder / "head.log"))
        if not _came_up(processes[0], folder / "head.log"):
            raise SystemExit(f"the head does not come up; see {folder}/head.log")
        for number in range(num_nodes):
            node = [f"--address={address}", f"--num-cpus={gpus_per_node}", f"--num-gpus={gpus_per_node}"]
            # One after the other: nodes of one machine that start at once take the same names for their sockets. On a
            # busy machine one may not be heard of within the half minute that Ray gives it.
            for _ in range(_TRIES):
                processes.append(_start(node, environment, folder / f"node-{number}.log"))
                if _came_up(processes[-1], folder / f"node-{number}.log"):
                    break
            else:
                raise SystemExit(f"a node does not come up; see {folder}/node-{number}.log")
        yield PretendedCluster([process.pid for process in processes], environment | {"RAY_ADDRESS": address})
    finally:
        _end(processes)


def _start(options: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [
        _RAY,
        "start",
        "--block",
        "--node-ip-address=127.0.0.1",
        "--disable-usage-stats",
        f"--object-store-memory={_STORE_BYTES}",
        # Fixed defaults of a node are taken by the node before it.
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--dashboard-agent-listen-port={_free_port()}",
        # With ports of their own given, a raylet does not end where its agents take more than 15 s to tell theirs.
        f"--dashboard-agent-grpc-port={_free_port()}",
        f"--runtime-env-agent-port={_free_port()}",
        f"--metrics-export-port={_free_port()}",
        *options,
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End all nodes at once, by process group."""
    for process in processes:
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _came_up(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether a node came up; waited for until its command ends."""
    while process.poll() is None:
        if "Ray runtime started" in log.read_text():
            return True
        time.sleep(0.2)
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
