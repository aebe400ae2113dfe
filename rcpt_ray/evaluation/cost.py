"""What an evaluation costs: the hours of engines that it held, and their price."""

from dataclasses import replace

from rcpt_ray.artifacts import Outcome
from rcpt_ray.evaluation.models import engines_used
from rcpt_ray.evaluation.spec import EvaluationSpec


def with_cost(outcome: Outcome, spec: EvaluationSpec, hours: float) -> Outcome:
    """The outcome of an evaluation that took so many hours, with `engine_hours`, `gpu_hours` and its cost.

    An outcome that has a cost knows its own hours; otherwise all engines that the pool asks for are taken to be held
    the whole time, or the one process of transformers.
    """
    on_pool, price, cost = "vllm" in engines_used(spec), spec.pool.price_per_engine_hour, outcome.cost
    engine_hours = (spec.pool.max_engines if on_pool else 1) * hours
    if price and cost is not None:
        engine_hours = cost / price
    elif price is not None:
        cost = price * engine_hours
    gpu_hours = engine_hours * (spec.pool.gpus_per_engine if on_pool else spec.gpus)
    details = {"engine_hours": engine_hours, "gpu_hours": gpu_hours} | dict(outcome.details)
    return replace(outcome, details=details, cost=cost)
