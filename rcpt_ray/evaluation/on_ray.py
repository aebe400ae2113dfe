"""Evaluation as a Ray task: one model at a time; a worker process serves several arms and imports lm-eval once."""

import ray

from rcpt_ray.artifacts import Outcome
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.run import evaluate


def evaluate_on_ray(job: EvaluationJob) -> Outcome:
    """Score a model on a node with the CPUs and GPUs asked for."""
    task = ray.remote(num_cpus=job.spec.cpus, num_gpus=job.spec.gpus, max_retries=1)(evaluate)
    outcome: Outcome = ray.get(task.remote(job))
    return outcome
