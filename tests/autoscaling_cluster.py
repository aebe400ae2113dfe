"""A real Ray cluster whose autoscaler brings up nodes on this machine, and ends them, as it would rent machines.

The head runs no work. A node is a raylet of its own with pretended resources, made by the provider of Ray's own tests
(`fake_multinode`); the autoscaler above it is version 2, the one of `ray up` and of KubeRay. The provider is named by
its class (`external`): by its name version 2 looks for a file of defaults that Ray's wheel lacks.

Everything that belongs to the cluster is in the head's session (setsid), by which nodes are found, killed and ended.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from processes import free_port, wait_until
from ray_cluster import ray_head

ENGINE_NODE = {"CPU": 1, "GPU": 1}
_HEAD_TYPE = "ray.head.default"
_HEAD_ID = f"{0:05d}".rjust(56, "f")
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
_OBJECT_STORE_BYTES = 100_000_000
_STATUS = """
import json, sys
from ray.autoscaler.v2.sdk import get_cluster_status
status = get_cluster_status(sys.argv[1], timeout=60)
demands = status.resource_demands
groups = demands.ray_task_actor_demand + demands.placement_group_demand + demands.cluster_constraint_demand
print(json.dumps([[dict(bundles.bundle), bundles.count] for group in groups for bundles in group.bundles_by_count]))
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `environment` is that of a client who has the token."""

    head_process_id: int
    address: str
    environment: dict[str, str]

    def nodes(self, node_type: str = "") -> list[psutil.Process]:
        """The raylets of the nodes that are up, of one type where one is named, the oldest first."""
        raylets = [one for one in self._processes() if one.name() == "raylet" and _HEAD_ID not in _words_of(one)]
        return sorted((one for one in raylets if node_type in _words_of(one)), key=psutil.Process.create_time)

    def kill_node(self, raylet: psutil.Process) -> None:
        """End a node with all its processes at once, as a machine that is taken away."""
        for process in [raylet, *_below(raylet)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes_of(self, raylet: psutil.Process, name: str) -> list[psutil.Process]:
        """Processes of a node whose command line holds `name`."""
        return [one for one in _below(raylet) if name in _words_of(one)]

    def launches_before_first(self) -> int:
        """How many nodes the autoscaler had asked its provider for when the first of them was up."""
        log = self._log().read_text(encoding="utf-8")
        return sum(map(int, re.findall(r"Launching (\d+) nodes", log.split("Launched ")[0])))

    def demands(self) -> list[tuple[dict[str, float], int]]:
        """What the autoscaler is asked for now: resources, and how often, by tasks, actors, groups and requests."""
        look = [sys.executable, "-c", _STATUS, self.address]
        told = subprocess.run(look, env=self.environment, capture_output=True, text=True, timeout=120, check=True)
        return [(bundle, count) for bundle, count in json.loads(told.stdout.splitlines()[-1])]

    def wait_for_nodes(self, number: int, timeout_s: float = 300, node_type: str = "") -> list[psutil.Process]:
        """Wait until so many nodes are up, no more and no less."""
        wait_until(lambda: len(self.nodes(node_type)) == number, timeout_s)
        return self.nodes(node_type)

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.head_process_id and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def _log(self) -> Path:
        """What the autoscaler writes."""
        (monitor,) = [one for one in self._processes() if "autoscaler/v2/monitor.py" in _words_of(one)]
        (folder,) = re.findall(r"--logs-dir=(\S+)", _words_of(monitor))
        return Path(folder) / "monitor.log"

    def end_nodes(self) -> None:
        """End all but the head's own command, the autoscaler first, so that no node is born meanwhile."""
        while left := [process for process in self._processes() if process.pid != self.head_process_id]:
            for process in sorted(left, key=lambda process: "monitor.py" not in _words_of(process)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)


@contextlib.contextmanager
def autoscaling_cluster(
    folder: Path,
    max_nodes: int = 3,
    node_types: Mapping[str, Mapping[str, float]] | None = None,
    idle_s: float = 6.0,
) -> Iterator[Cluster]:
    """A cluster of a head with no CPU, and up to `max_nodes` nodes of each type.

    A node that has had nothing to do for `idle_s` seconds goes.
    """
    port = free_port()
    config = folder / "cluster.yaml"
    types = node_types or {"engines": ENGINE_NODE}
    config.write_text(json.dumps(_config(f"127.0.0.1:{port}", types, max_nodes, idle_s)))
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_NODE_TYPE_NAME": _HEAD_TYPE,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        # A node that is killed answers at once that it is not there, and is missed after five seconds; one that is slow
        # has ten for each of five answers.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "10000",
        "RAY_health_check_failure_threshold": "5",
    }
    options = [f"--autoscaling-config={config}"]
    with ray_head(folder, *options, num_cpus=0, dashboard=False, variables=variables, gcs_port=port) as head:
        environment = {name: value for name, value in head.environment.items() if name not in variables}
        cluster = Cluster(head.process_id, head.address, environment)
        try:
            yield cluster
        finally:
            cluster.end_nodes()


def _config(
    gcs_address: str, types: Mapping[str, Mapping[str, float]], max_nodes: int, idle_s: float
) -> dict[str, Any]:
    node_types: dict[str, Any] = {
        name: {
            "resources": {**resources, "object_store_memory": _OBJECT_STORE_BYTES},
            "node_config": {},
            "min_workers": 0,
            "max_workers": max_nodes,
        }
        for name, resources in types.items()
    }
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "on-one-machine",
        "max_workers": max_nodes * len(types),
        # With 1, the default, one node comes first, then as many as there are.
        "upscaling_speed": 1000,
        "idle_timeout_minutes": idle_s / 60,
        "provider": {
            "type": "external",
            "module": _PROVIDER,
            "gcs_address": gcs_address,
            "head_node_id": _HEAD_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "head_node_type": _HEAD_TYPE,
        "available_node_types": node_types
        | {_HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0}},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    } | {f"{name}_commands": [] for name in commands}


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _words_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class NodesOverTime:
    """How many nodes are up, looked at now and then; times are seconds since the epoch."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.seen: list[tuple[float, int]] = []

    def look(self) -> int:
        """Look now, and keep what is new."""
        number = len(self._cluster.nodes())
        if not self.seen or self.seen[-1][1] != number:
            self.seen.append((time.time(), number))
        return number
