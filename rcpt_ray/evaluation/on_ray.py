"""Evaluation as a Ray task: one model at a time; a worker process serves several arms and imports lm-eval once.

The task reserves what transformers needs, and nothing where engines of a pool do all the work; these ask for their own.
While it waits for them Ray gives its CPUs to others, so a cluster with room for the larger of the two is enough. Its
GPUs it keeps: with transformers and a pool both on GPUs there must be room for both.
"""

import ray

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.cost import with_cost
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import close_models, engines_used
from rcpt_ray.evaluation.run import evaluate
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.submission.secrets import load_secrets


def evaluate_on_ray(job: EvaluationJob) -> Outcome:
    """Score a model on a node with the CPUs and GPUs asked for.

    Raises:
        UserError: a setting does not fit the model, or vLLM cannot start.
    """
    cpus, gpus = _reserved(job.spec)
    machines = cluster.of_machines(job.spec.machines)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, resources=machines, max_retries=1)(_evaluate)
    outcome: Outcome | str = ray.get(task.remote(job))
    if isinstance(outcome, str):
        raise UserError(outcome)
    return outcome


def require_room(spec: EvaluationSpec, cluster_spec: ClusterSpec) -> None:
    """UserError unless the cluster has room for the task and for one engine where engines are used."""
    cpus, gpus = _reserved(spec)
    cluster.require("evaluation", cpus, gpus, cluster_spec, spec.machines)
    if "vllm" in engines_used(spec):
        pool = spec.pool
        both = gpus > 0 and pool.gpus_per_engine > 0
        setting = "evaluation.pool beside evaluation.gpus (none with likelihood_engine=vllm)"
        name = setting if both else "evaluation.pool"
        cluster.require(name, pool.cpus_per_engine, gpus + pool.gpus_per_engine, cluster_spec, pool.machines)


def _reserved(spec: EvaluationSpec) -> tuple[float, float]:
    """CPUs and GPUs of the task itself."""
    return (spec.cpus, spec.gpus) if "transformers" in engines_used(spec) else (0, 0.0)


def _evaluate(job: EvaluationJob) -> Outcome | str:
    """The outcome, with its cost; a user's mistake as its words, which an exception would lose on its way."""
    try:
        load_secrets()
        outcome = evaluate(job)
    except UserError as error:
        return str(error)
    finally:
        held = close_models()
    return with_cost(outcome, job.spec, held)
