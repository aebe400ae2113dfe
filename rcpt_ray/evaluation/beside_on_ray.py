"""Evaluations of checkpoints as Ray tasks beside the training, which they neither stop nor wait for.

A thread of the driver looks for checkpoints and starts a task for one where CPUs and GPUs are free that the training
does not need: what its workers (and the engines of a stream) may take stays free for them, so that workers which are
started again find their place. When the training has ended, what is outstanding is done at once. A task that fails is a
sentence in the record. Price: two looks at a folder and at Ray's books every two seconds.
"""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from rcpt_ray import cluster
from rcpt_ray.evaluation.beside import Point, Row, evaluate_point
from rcpt_ray.evaluation.beside_record import BesideRecord
from rcpt_ray.evaluation.room import Resources, has_room
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.spec import PoolSpec
from rcpt_ray.training.job import TrainingJob

_LOOK_EVERY_S = 2.0


@contextlib.contextmanager
def evaluating(jobs: Sequence[TrainingJob], bar: Bar, engines: PoolSpec | None = None) -> Iterator[None]:
    """Evaluate the checkpoints of these trainings, which share one start of the workers, while the block runs.

    What is outstanding at its end is finished then; where the block raises, what is under way is given up. `engines` is
    the pool that a streaming training takes besides its workers. Ray must be there if a job asks for evaluations.
    """
    wanted = [job for job in jobs if job.beside is not None]
    if not wanted:
        yield
        return
    evaluations = _Evaluations(wanted, _reserved(wanted[0], engines))
    ended = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as thread:
        looking = thread.submit(evaluations.look_until, ended)
        try:
            yield
        except BaseException:
            ended.set()
            wait([looking])
            evaluations.give_up()
            raise
        ended.set()
        if (error := looking.exception()) is not None:
            traceback.print_exception(error)  # the training is none the worse for it
        evaluations.finish(bar)


@dataclass(frozen=True)
class _UnderWay:
    record: BesideRecord
    point: Point


class _Evaluations:
    """The tasks of some trainings."""

    def __init__(self, jobs: Sequence[TrainingJob], reserved: Resources) -> None:
        self._records = [BesideRecord(job) for job in jobs]
        beside = jobs[0].beside
        assert beside is not None
        spec = beside.job.spec
        self._need, self._reserved = Resources(spec.cpus, spec.gpus), reserved
        self._autoscales = beside.autoscales
        machines = cluster.of_machines(spec.machines)
        task = ray.remote(num_cpus=spec.cpus, num_gpus=spec.gpus, resources=machines, max_retries=1)
        self._task = task(_evaluate)
        self._running: dict[Any, _UnderWay] = {}

    def look_until(self, ended: threading.Event) -> None:
        """Start a task whenever there is room for one, until the event is set."""
        while not ended.wait(_LOOK_EVERY_S):
            self._collect(0.0)
            if self._has_room():
                self._start(1)

    def finish(self, bar: Bar) -> None:
        """Do what is outstanding, now that nothing else needs the room."""
        while True:
            self._start(sys.maxsize)
            if not self._running:
                break
            bar.note(f"evaluations of checkpoints, {len(self._running)} left")
            self._collect(_LOOK_EVERY_S)
        for record in self._records:
            record.close()

    def give_up(self) -> None:
        """End the tasks; what they were at is done by the next command."""
        for task in self._running:
            ray.cancel(task, force=True)

    def _has_room(self) -> bool:
        # Workers that have not begun would wait for what an evaluation holds.
        if not any(record.has_steps for record in self._records):
            return False
        if self._autoscales and not self._running:
            return True
        total, available = (_resources(told) for told in (ray.cluster_resources(), ray.available_resources()))
        return has_room(self._need, len(self._running), total, available, self._reserved)

    def _start(self, most: int) -> None:
        """Start so many tasks at most, in the order of the trainings and their steps."""
        for record in self._records:
            under_way = {one.point.step for one in self._running.values() if one.record is record}
            if any(one.point.step == 0 and one.record.student == record.student for one in self._running.values()):
                under_way.add(0)
            for point in record.waiting(under_way):
                if most == 0:
                    return
                if record.take(point):
                    self._running[self._task.remote(record.training, point)] = _UnderWay(record, point)
                    most -= 1

    def _collect(self, timeout_s: float) -> None:
        """Record what has ended; waits for the first to end, or until the time is over."""
        if not self._running:
            return
        ended, _ = ray.wait(list(self._running), timeout=timeout_s)
        for task in ended:
            one = self._running.pop(task)
            try:
                rows, failure = ray.get(task)
            except RayError as error:
                rows, failure = [], _sentence(error)
            one.record.end(one.point, rows, failure)
            for record in self._records:  # trainings of one student begin with the same model
                if one.point.step == 0 and record.student == one.record.student and not record.has(0):
                    record.end(one.point, rows, failure)


def _evaluate(training: TrainingJob, point: Point) -> tuple[list[Row], str]:
    """Rows, or why there are none; runs in a worker."""
    assert training.beside is not None
    if not training.beside.job.spec.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves those of the machine to be seen
    try:
        load_secrets()
        return evaluate_point(training, point), ""
    except Exception as error:  # the training goes on; the manifest tells it
        traceback.print_exc()
        return [], _sentence(error)


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no word'}"


def _reserved(job: TrainingJob, engines: PoolSpec | None) -> Resources:
    """What the training may take."""
    spec = job.spec
    cpus, gpus = float(spec.num_workers * spec.cpus_per_worker), float(spec.num_workers * spec.gpus_per_worker)
    if engines is not None:
        cpus += engines.max_engines * engines.cpus_per_engine
        gpus += engines.max_engines * engines.gpus_per_engine
    return Resources(cpus, gpus)


def _resources(told: Mapping[str, float]) -> Resources:
    return Resources(told.get("CPU", 0.0), told.get("GPU", 0.0))
