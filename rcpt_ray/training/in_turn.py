"""Several trainings one after another, of which one that fails does not take the others with it.

They share one start of the workers. Each leaves its model when it is done, so after a failure the first one without a
model is the one that failed; the workers are started again for those after it.
"""

from collections.abc import Callable, Sequence

from rcpt_ray.artifacts import Outcome
from rcpt_ray.terminal import Bar
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.outcome import begin, finish_trainings, make_trainings

Train = Callable[[Sequence[TrainingJob], Bar], list[Outcome]]


def make_in_turn(
    jobs: Sequence[Callable[[], TrainingJob]], bar: Bar, train: Train = make_trainings
) -> list[Outcome | Exception]:
    """The outcome of each training, or what it ended with; `jobs` make them, which may fail for one too."""
    ended: dict[int, Outcome | Exception] = {}
    left: dict[int, TrainingJob] = {}
    for place, make in enumerate(jobs):
        try:
            job = make()
            begin(job)
            left[place] = job
        except Exception as error:
            ended[place] = error
    while left:
        try:
            ended |= dict(zip(left, train(list(left.values()), bar), strict=True))
            break
        except Exception as error:
            failed = next((place for place, job in left.items() if not (job.folder / "model").exists()), None)
            if failed is None:
                raise
            bar.note("one training failed; workers start again for the others")
            before = {place: job for place, job in left.items() if place < failed}
            ended |= dict(zip(before, finish_trainings(list(before.values()), bar), strict=True))
            ended[failed] = error
            left = {place: job for place, job in left.items() if place > failed}
    return [ended[place] for place in range(len(jobs))]
