"""Stages are found by their fingerprint or made; those that fit together are made in one go."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rcpt_ray.artifacts import Counts, Outcome
from rcpt_ray.errors import UserError
from rcpt_ray.finishing import finish_all
from rcpt_ray.stage import Built, Stage, StageError, Together, failure_of, look_up
from rcpt_ray.terminal import Bar, Terminal
from rcpt_ray.training.in_turn import make_in_turn
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec

_STEP = {"step": 0, "loss": 1.0, "num_tokens": 9, "mfu": 0.1, "memory_bytes": 1, "seconds": 1.0} | dict.fromkeys(
    ("overhead_seconds", "wait_seconds", "pause_seconds"), 0.0
)


class Worker:
    """Writes one file a stage and records which stages it was asked for in one go."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[list[str]] = []
        self.failing = failing

    def stage(self, name: str) -> Stage:
        """A stage that writes its own name."""

        def make(jobs: Sequence[str], folders: Sequence[Path], bar: Bar) -> list[Outcome | Exception]:
            self.calls.append(list(jobs))
            for job, folder in zip(jobs, folders, strict=True):
                (folder / "out.txt").write_text(job)
            done = Outcome(Counts.of("file", 1, {}))
            return [RuntimeError("no luck\nat all") if job == self.failing else done for job in jobs]

        def make_alone(folder: Path, bar: Bar) -> Outcome:
            (outcome,) = make([name], [folder], bar)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return Stage("training", name, 1, {"name": name}, {}, "out.txt", make_alone, Together("workers", name, make))


def _terminal() -> Terminal:
    return Terminal(Console(quiet=True))


def finished(stages: Sequence[Stage], run: Path, terminal: Terminal | None = None) -> list[Built]:
    """The stages, none of which may fail."""
    made = finish_all(stages, run, terminal or _terminal())
    assert not any(isinstance(one, StageError) for one in made), made
    return [one for one in made if isinstance(one, Built)]


def test_stages_that_fit_are_made_in_one_go_and_found_afterwards(tmp_path: Path) -> None:
    worker = Worker()
    stages = [worker.stage("a"), worker.stage("b"), worker.stage("c")]
    made = finished(stages, tmp_path)
    assert [(built.path / "out.txt").read_text() for built in made] == ["a", "b", "c"]
    found = finished(stages, tmp_path)
    assert worker.calls == [["a", "b", "c"]]
    assert [built.digest for built in found] == [built.digest for built in made]


def test_finished_stage_is_not_made_again_with_the_others(tmp_path: Path) -> None:
    worker = Worker()
    finished([worker.stage("b")], tmp_path)
    built = finished([worker.stage("a"), worker.stage("b"), worker.stage("c")], tmp_path)
    assert worker.calls == [["b"], ["a", "c"]]
    assert [(one.path / "out.txt").read_text() for one in built] == ["a", "b", "c"]


def test_stage_finished_by_another_command_in_between_is_not_made_again(tmp_path: Path) -> None:
    worker, other = Worker(), Worker()

    class Meanwhile(Terminal):
        """Between the look and the locks, another command finishes stage b."""

        def bar(self, title: str):  # type: ignore[no-untyped-def]
            if not other.calls:
                finished([other.stage("b")], tmp_path)
            return super().bar(title)

    finished([worker.stage("a"), worker.stage("b"), worker.stage("c")], tmp_path, Meanwhile(Console(quiet=True)))
    assert (worker.calls, other.calls) == ([["a", "c"]], [["b"]])


@pytest.mark.parametrize("names", ["abc", "b"], ids=["among others", "alone"])
def test_stage_that_fails_leaves_word_until_it_is_made_again_and_stops_no_other(tmp_path: Path, names: str) -> None:
    worker = Worker(failing="b")
    made = finish_all([worker.stage(name) for name in names], tmp_path, _terminal())
    assert [isinstance(one, Built) for one in made] == [name != "b" for name in names]
    failed = look_up(worker.stage("b"), tmp_path)
    assert failed.manifest is None and failure_of(failed.folder) == "RuntimeError: at all"
    (again,) = finished([Worker().stage("b")], tmp_path)
    assert failure_of(again.folder) == ""


def test_stages_fail_together_where_what_they_share_cannot_start(tmp_path: Path) -> None:
    def make(jobs: Sequence[str], folders: Sequence[Path], bar: Bar) -> list[Outcome | Exception]:
        raise UserError("the cluster has no room")

    worker = Worker()
    stages = [replace(worker.stage(name), together=Together("workers", name, make)) for name in "ab"]
    made = finish_all(stages, tmp_path, _terminal())
    assert [one.reason for one in made if isinstance(one, StageError)] == ["the cluster has no room"] * 2


def job_in(folder: Path) -> TrainingJob:
    """A job of which only the folder is looked at."""
    folder.mkdir()
    plan = make_plan(TrainingSpec(), num_rows=8, row_tokens=16, seed=1)
    return TrainingJob(TrainingSpec(), plan, 1, "", [], folder, "")


def test_trainings_after_one_that_fails_are_made_all_the_same(tmp_path: Path) -> None:
    """a and d are trained, b stops with nan, c cannot even be begun for want of rows."""
    starts: list[list[str]] = []

    def train(jobs: Sequence[TrainingJob], bar: Bar) -> list[Outcome]:
        starts.append([job.folder.name for job in jobs])
        for job in jobs:
            if job.folder.name == "b":
                raise RuntimeError("its loss is nan")
            (job.folder / "model").mkdir()
            (job.folder / "steps.jsonl").write_text(json.dumps(_STEP) + "\n")
            (job.folder / "peak.json").write_text('{"precision": "fp32"}')
        return [Outcome(Counts.of("row", 1, {})) for _ in jobs]

    def refused() -> TrainingJob:
        raise UserError("no rows")

    jobs = [lambda: job_in(tmp_path / "a"), lambda: job_in(tmp_path / "b"), refused, lambda: job_in(tmp_path / "d")]
    ended = make_in_turn(jobs, Bar(Console(quiet=True), "", None), train)
    assert starts == [["a", "b", "d"], ["d"]]
    assert [str(one) if isinstance(one, Exception) else "trained" for one in ended] == [
        "trained",
        "its loss is nan",
        "no rows",
        "trained",
    ]
