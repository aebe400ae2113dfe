"""Workers that cannot start: tried again as often as failures are allowed, then given up with the reason."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.execution.callback import WorkerCallback
from training_runs import job_of, write_mixture

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.training.failures_on_ray import fit_while_it_gets_on
from rcpt_ray.training.job import TrainingJob

STARTS = "STARTS_ARE_NOTED_IN"


def a_job(folder: Path, max_failures: int) -> TrainingJob:
    return job_of(folder, folder, folder / "none.parquet", 40, max_failures=max_failures)


def no_start() -> TrainingFailedError:
    return ControllerError(RuntimeError("connection reset by peer"))


def failing(*failures: TrainingFailedError | Callable[[], TrainingFailedError]) -> Callable[[], str]:
    """Fails with one after another, then returns."""
    waiting = list(failures)

    def fit() -> str:
        if not waiting:
            return "trained"
        failure = waiting.pop(0)
        raise failure if isinstance(failure, TrainingFailedError) else failure()

    return fit


def test_start_that_fails_is_tried_again_with_a_word_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert fit_while_it_gets_on(failing(no_start(), no_start()), [a_job(tmp_path, 2)]) == "trained"
    assert "2 of at most 2 times" in caplog.text
    assert "connection reset by peer" in caplog.text


@pytest.mark.parametrize(("max_failures", "num_failures"), [(0, 1), (2, 3)])
def test_more_failed_starts_than_allowed_end_the_training(tmp_path: Path, max_failures: int, num_failures: int) -> None:
    with pytest.raises(ControllerError, match="connection reset"):
        fit_while_it_gets_on(failing(*[no_start()] * num_failures), [a_job(tmp_path, max_failures)])


def test_failures_that_ray_train_has_counted_are_not_counted_twice(tmp_path: Path) -> None:
    with pytest.raises(WorkerGroupError):
        fit_while_it_gets_on(failing(WorkerGroupError("killed", {})), [a_job(tmp_path, 3)])


def test_failed_starts_are_counted_anew_where_the_training_got_on(tmp_path: Path) -> None:
    def fails_after_the_model() -> TrainingFailedError:
        (tmp_path / "model").mkdir()
        return WorkerGroupError("killed", {})

    fit = failing(no_start(), fails_after_the_model, no_start())
    assert fit_while_it_gets_on(fit, [a_job(tmp_path, 1)]) == "trained"


class Noted(WorkerCallback):  # type: ignore[misc]
    """Notes each start of a worker; made in the test's process and sent to Ray's."""

    def __init__(self) -> None:
        self._starts = Path(os.environ[STARTS])

    def note(self) -> int:
        """How many there were."""
        with self._starts.open("a") as starts:
            starts.write("x")
        return len(self._starts.read_text())


class NoInterfaceAtFirst(Noted):
    """The first worker finds no network where it meets the others."""

    def after_init_train_context(self) -> None:
        if self.note() == 1:
            os.environ["GLOO_SOCKET_IFNAME"] = "nowhere0"


class DiesAtFirst(Noted):
    """The first four workers die while they start."""

    def after_init_train_context(self) -> None:
        if self.note() <= 4:
            os._exit(1)


@pytest.fixture
def job(tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingJob]:
    """Ten steps, with one failure allowed, on Ray."""
    monkeypatch.setenv(STARTS, str(tmp_path / "starts"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # Ray's processes find Noted
    with cluster.session():
        cluster.connect(ClusterSpec(num_cpus=2))
        yield job_of(tmp_path / "job", tiny_model_folder, write_mixture(tmp_path, 40), 40, max_failures=1)


@pytest.mark.slow
def test_process_group_that_cannot_be_made_is_made_again(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    from rcpt_ray.training.on_ray import train_on_ray

    monkeypatch.setenv("RAY_TRAIN_CALLBACKS", f"{__name__}.{NoInterfaceAtFirst.__name__}")
    steps = list[int]()
    train_on_ray([job], lambda row: steps.append(row["step"]))
    assert steps == list(range(10))
    assert Path(os.environ[STARTS]).read_text() == "xx"


@pytest.mark.slow
def test_workers_that_die_while_they_start_are_given_up(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    from rcpt_ray.training.on_ray import train_on_ray

    monkeypatch.setenv("RAY_TRAIN_CALLBACKS", f"{__name__}.{DiesAtFirst.__name__}")
    with pytest.raises(ControllerError, match="workers died while they started"):
        train_on_ray([job], lambda row: None)
    assert Path(os.environ[STARTS]).read_text() == "xx"
