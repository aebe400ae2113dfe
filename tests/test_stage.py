"""Stages are found by their fingerprint or made; those that fit together are made in one go."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rcpt_ray.artifacts import Counts, Outcome
from rcpt_ray.stage import Stage, Together, finish_all
from rcpt_ray.terminal import Bar, Terminal


class Worker:
    """Writes one file a stage and records which stages it was asked for in one go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def stage(self, name: str) -> Stage:
        """A stage that writes its own name."""

        def make(jobs: Sequence[str], folders: Sequence[Path], bar: Bar) -> list[Outcome]:
            self.calls.append(list(jobs))
            for job, folder in zip(jobs, folders, strict=True):
                (folder / "out.txt").write_text(job)
            return [Outcome(Counts.of("file", 1, {})) for _ in jobs]

        def make_alone(folder: Path, bar: Bar) -> Outcome:
            return make([name], [folder], bar)[0]

        return Stage("training", name, 1, {"name": name}, {}, "out.txt", make_alone, Together("workers", name, make))


def _terminal() -> Terminal:
    return Terminal(Console(quiet=True))


def test_stages_that_fit_are_made_in_one_go_and_found_afterwards(tmp_path: Path) -> None:
    worker = Worker()
    stages = [worker.stage("a"), worker.stage("b"), worker.stage("c")]
    made = finish_all(stages, tmp_path, _terminal())
    assert [(built.path / "out.txt").read_text() for built in made] == ["a", "b", "c"]
    found = finish_all(stages, tmp_path, _terminal())
    assert worker.calls == [["a", "b", "c"]]
    assert [built.digest for built in found] == [built.digest for built in made]


def test_finished_stage_is_not_made_again_with_the_others(tmp_path: Path) -> None:
    worker = Worker()
    finish_all([worker.stage("b")], tmp_path, _terminal())
    built = finish_all([worker.stage("a"), worker.stage("b"), worker.stage("c")], tmp_path, _terminal())
    assert worker.calls == [["b"], ["a", "c"]]
    assert [(one.path / "out.txt").read_text() for one in built] == ["a", "b", "c"]


def test_stage_finished_by_another_command_in_between_is_not_made_again(tmp_path: Path) -> None:
    worker, other = Worker(), Worker()

    class Meanwhile(Terminal):
        """Between the look and the locks, another command finishes stage b."""

        def bar(self, title: str):  # type: ignore[no-untyped-def]
            finish_all([other.stage("b")], tmp_path, _terminal())
            return super().bar(title)

    finish_all([worker.stage("a"), worker.stage("b"), worker.stage("c")], tmp_path, Meanwhile(Console(quiet=True)))
    assert (worker.calls, other.calls) == ([["a", "c"]], [["b"]])
