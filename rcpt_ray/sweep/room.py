"""How many trials a cluster has room for at once: as many as can each have, at any time, what their stages need."""

from dataclasses import dataclass

from rcpt_ray.evaluation.models import engines_used
from rcpt_ray.recipe import Recipe


@dataclass(frozen=True)
class Need:
    """CPUs and GPUs."""

    cpus: float
    gpus: float

    def beside(self, other: "Need") -> "Need":
        """What both need at once."""
        return Need(self.cpus + other.cpus, self.gpus + other.gpus)

    def times_in(self, cpus: float, gpus: float) -> int:
        """How often it fits; at least once, for what is wanting is told by the stage that wants it."""
        fits = [int(have // need) for have, need in ((cpus, self.cpus), (gpus, self.gpus)) if need]
        return max(1, min(fits, default=1))


def need_of_trial(recipe: Recipe) -> Need:
    """The most that a stage of a trial's recipe asks for."""
    (arm,) = recipe.arms
    settings = recipe.arm_settings(arm)
    pool, training, evaluation = settings.thoughts.pool, settings.training, recipe.evaluation
    engine = Need(pool.cpus_per_engine, pool.gpus_per_engine)
    workers = Need(
        training.num_workers * training.cpus_per_worker, float(training.num_workers * training.gpus_per_worker)
    )
    used = engines_used(evaluation)
    measured = Need(evaluation.cpus, evaluation.gpus) if "transformers" in used else Need(0, 0)
    if evaluation.beside_training:
        workers = workers.beside(measured)
    if "vllm" in used:
        measured = Need(
            max(measured.cpus, evaluation.pool.cpus_per_engine), measured.gpus + evaluation.pool.gpus_per_engine
        )
    stages = [engine, workers, measured]
    return Need(max(stage.cpus for stage in stages), max(stage.gpus for stage in stages))
