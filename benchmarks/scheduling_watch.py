"""What a run of `rcpt synthesize` on a pretended cluster takes: CPU and memory by role, and its course in time.

Roles are told by the processes' names: driver, gcs (the cluster's state), raylets (one a node), agents and monitors,
engines (one a pretended GPU) and idle workers. Looking costs about 2% of a core.
"""

import contextlib
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rcpt_ray.thoughts.meter import read_meters

_EVERY_S = 1.0
_MEMORY_EVERY = 10
_ENGINE = "EngineActor"


@dataclass
class Watched:
    """Totals by role; CPU in seconds of user and system time, memory in MiB."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    most_mib: dict[str, float] = field(default_factory=dict)
    """The most that a role's processes had to themselves (USS) at once."""
    most_processes: dict[str, int] = field(default_factory=dict)
    driver_peak_rss_mib: float = 0.0
    driver_peak_uss_mib: float = 0.0
    driver_course: list[tuple[float, float, float]] = field(default_factory=list)
    """Of each second: time, the driver's CPU seconds so far, its USS in MiB."""
    store_peak_mib: float = 0.0
    """Shared memory that the raylets have touched: the object stores."""
    busy: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of each engine: when it was first and last seen with a shard in flight."""
    load: list[float] = field(default_factory=list)


class Watch:
    """Looks at the processes once a second for the length of a block."""

    def __init__(self, driver_id: int, node_ids: list[int], run: Path) -> None:
        self.seen = Watched()
        self._driver, self._nodes, self._run = psutil.Process(driver_id), node_ids, run
        self._known: dict[int, tuple[str, psutil.Process]] = {}
        self._cpu: dict[tuple[int, float], tuple[str, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        totals: dict[str, float] = defaultdict(float)
        for role, seconds in self._cpu.values():
            totals[role] += seconds
        self.seen.cpu_s = dict(totals)

    def _watch(self) -> None:
        number = 0
        while not self._ended.wait(_EVERY_S):
            self._look_at_driver()
            self._look_at_nodes(with_memory=number % _MEMORY_EVERY == 0)
            self._look_at_engines()
            self.seen.load.append(psutil.getloadavg()[0])
            number += 1

    def _look_at_driver(self) -> None:
        with contextlib.suppress(psutil.Error):
            memory, times = self._driver.memory_full_info(), self._driver.cpu_times()
            cpu_s = times.user + times.system
            self.seen.driver_peak_rss_mib = max(self.seen.driver_peak_rss_mib, memory.rss / 2**20)
            self.seen.driver_peak_uss_mib = max(self.seen.driver_peak_uss_mib, memory.uss / 2**20)
            self.seen.driver_course.append((time.time(), cpu_s, memory.uss / 2**20))
            self._cpu[self._driver.pid, 0.0] = "driver", cpu_s

    def _look_at_nodes(self, with_memory: bool) -> None:
        sizes: dict[str, float] = defaultdict(float)
        numbers: dict[str, int] = defaultdict(int)
        store = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                role, times = _role(process), process.cpu_times()
                before = self._cpu.get((process.pid, process.create_time()), (role, 0.0))
                # A worker is idle before it is an engine; what it was last is what it was for.
                role = before[0] if before[0] == "engines" else role
                self._cpu[process.pid, process.create_time()] = role, times.user + times.system
                numbers[role] += 1
                if with_memory:
                    memory = process.memory_full_info()
                    sizes[role] += memory.uss / 2**20
                    store += memory.shared / 2**20 if role == "raylets" else 0.0
        for role, size in sizes.items():
            self.seen.most_mib[role] = max(self.seen.most_mib.get(role, 0.0), size)
        for role, number in numbers.items():
            self.seen.most_processes[role] = max(self.seen.most_processes.get(role, 0), number)
        self.seen.store_peak_mib = max(self.seen.store_peak_mib, store)

    def _processes(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for node in self._nodes:
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(node).children(recursive=True)
        return found

    def _look_at_engines(self) -> None:
        now_s = time.time()
        for folder in self._run.glob("thoughts/*"):
            for file in folder.glob("engines/*.json"):
                if json.loads(file.read_text())["num_in_flight"]:
                    first, _ = self.seen.busy.get(file.stem, (now_s, now_s))
                    self.seen.busy[file.stem] = first, now_s


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for role, name in (("gcs", "gcs_server"), ("engines", _ENGINE), ("idle workers", "ray::IDLE")):
        if name in words:
            return role
    if "/raylet/raylet" in words:
        return "raylets"
    return "other workers" if words.startswith("ray::") else "agents"


@dataclass(frozen=True)
class Course:
    """When things happened, in seconds since the command began."""

    first_engine_s: float
    last_engine_s: float
    first_idle_s: float
    last_part_s: float
    manifest_s: float
    steady_documents_per_s: float | None
    """Between the moments at which a fifth and nine tenths of the documents were done, once all engines were up; None
    where the last engine came after that."""
    num_parts: int
    num_engines: int


def course_of(run: Path, began_s: float, busy: dict[str, tuple[float, float]]) -> Course:
    """Read a finished run: receipts' times of change, the engines' readings, what was seen of them."""
    (folder,) = (run / "thoughts").iterdir()
    receipts = sorted((file.stat().st_mtime, file) for file in folder.glob("part-*.json"))
    done, so_far = list[tuple[float, int]](), 0
    for time_s, file in receipts:
        so_far += sum(tally["num_ok"] for tally in json.loads(file.read_text())["tallies"])
        done.append((time_s, so_far))
    readings = [reading for reading in read_meters(folder) if reading.ready_s is not None]
    ready = [reading.ready_s for reading in readings if reading.ready_s is not None]
    late = next(point for point in done if point[1] >= 0.9 * so_far)
    early = next((point for point in done if point[1] >= 0.2 * so_far and point[0] >= max(ready)), late)
    steady = (late[1] - early[1]) / (late[0] - early[0]) if late[0] > early[0] else None
    return Course(
        first_engine_s=min(ready) - began_s,
        last_engine_s=max(ready) - began_s,
        first_idle_s=min((last for _, last in busy.values()), default=began_s) - began_s,
        last_part_s=done[-1][0] - began_s,
        manifest_s=(folder / "manifest.json").stat().st_mtime - began_s,
        steady_documents_per_s=steady,
        num_parts=len(receipts),
        num_engines=len(readings),
    )
