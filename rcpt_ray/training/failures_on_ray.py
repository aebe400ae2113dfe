"""Which failures of a training are tried again where Ray Train itself has given up, and which are told to it.

Ray Train (2.60, `failure_handling/default.py`) counts what happens while the training function runs against
`max_failures`. What happens before is another matter: a process group that cannot be made (a peer that is cut off, a
port that is taken) ends the training at once, and workers that die while they start (an image that lacks a library, too
little memory) are started again for ever, by the same limit as the waits for machines, which must have none. Here both
end a `fit`, which is called again: `max_failures` times in a row without a further checkpoint, each with its reason in
the log. Price: a controller and a placement group anew, some seconds.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from ray.train import ControllerError, TrainingFailedError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback

from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.saved import CHECKPOINTS, latest_checkpoint


class WorkersDied(RuntimeError):
    """Workers died while they started."""


class EndWhereWorkersDie(ControllerCallback):  # type: ignore[misc]
    """Ends a `fit` whose workers die while they start; a machine that leaves with a notice is no failure."""

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Hears of each state of Ray Train's controller; WorkersDied where it is that of a failed start."""
        failure = getattr(getattr(current_state, "training_failed_error", None), "controller_failure", None)
        if isinstance(failure, WorkerGroupStartupFailedError) and not getattr(failure.__cause__, "preempted", False):
            raise WorkersDied(f"workers died while they started: {failure}\n{failure.__cause__}")


def fit_while_it_gets_on(fit: Callable[[], Any], jobs: Sequence[TrainingJob]) -> Any:
    """What `fit` returns, called again where it has failed but left a further checkpoint or a model.

    A training of days on machines that vanish fails more often than any number that is right for one of hours. Where
    nothing was left, a failure that Ray Train has not counted is tried again up to `max_failures` times in a row.

    Raises:
        ray.train.TrainingFailedError: the last failure; the first one where `max_failures` is 0.
    """
    max_failures = jobs[0].spec.max_failures
    num_in_vain = 0
    while True:
        before = _how_far(jobs)
        try:
            return fit()
        except TrainingFailedError as failure:
            if max_failures == 0:
                raise
            if _how_far(jobs) != before:
                num_in_vain = 0
                continue
            num_in_vain += 1
            if not isinstance(failure, ControllerError) or num_in_vain > max_failures:
                raise
            logging.getLogger(__name__).warning(
                "Ray Train gave up, %d of at most %d times without a further checkpoint; it begins again: %s",
                num_in_vain,
                max_failures,
                failure,
            )


def _how_far(jobs: Sequence[TrainingJob]) -> list[tuple[bool, int | None]]:
    """Of each job, whether its model is there, and its newest whole checkpoint."""
    return [((job.folder / "model").exists(), latest_checkpoint(job.folder / CHECKPOINTS)) for job in jobs]
