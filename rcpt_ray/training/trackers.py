"""Where figures are shown while training: TensorBoard always, MLflow and Weights & Biases where they are asked for.

The rows on disk are what counts (row_file.py); these are views of them. A training that goes on after a kill goes on in
the same run of each: TensorBoard drops what stands after the checkpoint, the others keep what they have and do not take
it again, since a repeated step has the same figures. Trackers send beside the training; a server that goes away loses
its view of some steps, never the training.
"""

import importlib.util
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.errors import UserError
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.watch_spec import WatchSpec

T = TypeVar("T")
Figures = Mapping[str, float]
_IDS = "trackers.json"
_PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}


class Tracker(Protocol):
    """One view of a training."""

    def log(self, step: int, figures: Figures) -> None:
        """Show figures at a step."""

    def flush(self) -> None:
        """What was shown outlives this process, where that needs no answer from elsewhere."""

    def close(self) -> None:
        """Send what is left."""


def require_packages(watch: WatchSpec) -> None:
    """UserError unless the packages of the trackers that are asked for are installed."""
    for name, package in _PACKAGES.items():
        value = getattr(watch, name)
        if value is not None and importlib.util.find_spec(name) is None:
            raise UserError(
                f"training.watch.{name}={value} needs the package {package}; install it (pip install "
                f"'rcpt-ray[{name}]') or leave training.watch.{name} out"
            )


def begin_runs(job: TrainingJob) -> None:
    """Have a run at each tracker that is asked for, before workers start; a later call finds those that there are.

    Raises:
        UserError: a package is missing, a server does not answer, or no one is logged in.
    """
    watch, file = job.spec.watch, job.folder / _IDS
    require_packages(watch)
    ids: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if watch.mlflow is not None and "mlflow" not in ids:
        ids["mlflow"] = _begin_mlflow(watch.mlflow, job)
    if watch.wandb is not None and "wandb" not in ids:
        _check_wandb(watch.wandb)
        ids["wandb"] = uuid.uuid4().hex[:16]
    if ids:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(ids))


def open_trackers(job: TrainingJob, steps_done: int) -> list[Tracker]:
    """TensorBoard, and the runs that `begin_runs` made."""
    watch, file = job.spec.watch, job.folder / _IDS
    ids: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    trackers: list[Tracker] = [_Forgiving("TensorBoard", lambda: _TensorBoard(job.folder / "tensorboard", steps_done))]
    mlflow, wandb = watch.mlflow, watch.wandb
    if mlflow is not None:
        trackers.append(_Forgiving("MLflow", lambda: _MLflow(mlflow, ids["mlflow"])))
    if wandb is not None:
        trackers.append(_Forgiving("Weights & Biases", lambda: _WeightsAndBiases(wandb, ids["wandb"], job)))
    return trackers


class _Forgiving:
    """A tracker that is given up, in one line, as soon as it raises: the rows on disk are complete without it."""

    def __init__(self, name: str, open_it: Callable[[], Tracker]) -> None:
        self._name = name
        self._tracker: Tracker | None = None
        self._tracker = self._tried(open_it)

    def log(self, step: int, figures: Figures) -> None:
        if self._tracker is not None:
            self._tried(partial(self._tracker.log, step, figures))

    def flush(self) -> None:
        if self._tracker is not None:
            self._tried(self._tracker.flush)

    def close(self) -> None:
        if self._tracker is not None:
            self._tried(self._tracker.close)

    def _tried(self, act: Callable[[], T]) -> T | None:
        try:
            return act()
        except Exception as error:  # of any library and server
            print(f"{self._name} is given up for this attempt: {error}", flush=True)
            self._tracker = None
            return None


class _TensorBoard:
    def __init__(self, folder: Path, steps_done: int) -> None:
        from tensorboardX import SummaryWriter

        # Files are named by the second: the suffix tells two attempts of one second apart.
        suffix = f".from-{steps_done:08d}"
        self._writer = SummaryWriter(str(folder), purge_step=steps_done, flush_secs=30, filename_suffix=suffix)

    def log(self, step: int, figures: Figures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, uri: str, run_id: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client, self._run_id = MlflowClient(tracking_uri=uri), run_id
        self._operation: Any = None
        # What an earlier attempt sent is asked for once a name, when that name is first shown.
        self._sent = dict[str, int]()

    def log(self, step: int, figures: Figures) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        new = [Metric(name, value, now_ms, step) for name, value in figures.items() if step > self._newest(name)]
        if new:
            self._operation = self._client.log_batch(self._run_id, metrics=new, synchronous=False)

    def flush(self) -> None:
        """The server is not waited for."""

    def close(self) -> None:
        if self._operation is not None:
            self._operation.wait()  # one thread sends in order, so the last one sent is all sent
        self._client.set_terminated(self._run_id)

    def _newest(self, name: str) -> int:
        if name not in self._sent:
            history = self._client.get_metric_history(self._run_id, name)
            self._sent[name] = max((metric.step for metric in history), default=-1)
        return self._sent[name]


class _WeightsAndBiases:
    def __init__(self, project: str, run_id: str, job: TrainingJob) -> None:
        import wandb

        self._run = wandb.init(
            project=project,
            id=run_id,
            name=_run_name(job),
            group=str(job.provenance.get("run", "")) or None,
            config=job.spec.model_dump(mode="json"),
            resume="allow",
            dir=str(job.folder),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, figures: Figures) -> None:
        self._run.log(dict(figures), step=step)  # a step that it has is left out by W&B itself

    def flush(self) -> None:
        """A process of its own sends."""

    def close(self) -> None:
        self._run.finish()


def _begin_mlflow(uri: str, job: TrainingJob) -> str:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    name = str(job.provenance.get("run", "rcpt"))
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
        run = client.create_run(experiment_id, run_name=_run_name(job))
        for key, value in job.spec.defining().items():
            client.log_param(run.info.run_id, key, json.dumps(value))
    except (MlflowException, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise UserError(
            f"training.watch.mlflow={uri} cannot be used ({why}); correct it, see to the server, or leave it out"
        ) from None
    return str(run.info.run_id)


def _check_wandb(project: str) -> None:
    import wandb

    if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.login(prompt=False, verify=False):
        raise UserError(
            f"training.watch.wandb={project} needs a login; run `wandb login`, set WANDB_API_KEY, or set "
            "WANDB_MODE=offline to keep it on disk"
        )


def _run_name(job: TrainingJob) -> str:
    return "/".join(str(job.provenance[key]) for key in ("run", "arm") if key in job.provenance) or job.folder.name
