"""What an evaluation costs: the hours of what computed it, and their price."""

from dataclasses import dataclass, replace

from rcpt_ray.artifacts import Outcome
from rcpt_ray.evaluation.spec import EvaluationSpec

_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class Held:
    """Seconds for which an evaluation held what computes."""

    transformers_s: float = 0.0
    """Of its own process."""
    engines_s: float = 0.0
    """Summed over the engines of the pool, from when each was asked for."""


def with_cost(outcome: Outcome, spec: EvaluationSpec, held: Held) -> Outcome:
    """The outcome with `engine_hours`, `gpu_hours` and, where pool.price_per_engine_hour is given, its cost."""
    engine_hours = (held.transformers_s + held.engines_s) / _SECONDS_AN_HOUR
    gpu_seconds = held.transformers_s * spec.gpus + held.engines_s * spec.pool.gpus_per_engine
    hours = {"engine_hours": engine_hours, "gpu_hours": gpu_seconds / _SECONDS_AN_HOUR}
    price = spec.pool.price_per_engine_hour
    return replace(outcome, details=hours | dict(outcome.details), cost=None if price is None else price * engine_hours)
