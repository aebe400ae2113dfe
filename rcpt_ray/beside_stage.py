"""What the training stages are told of the evaluation beside them: nothing of it is in their fingerprints.

The rows stand outside of the output digest (`model/*`), so neither other questions nor other CPUs redo a training, and
a finished one is not evaluated again. What the rows were measured on has a key of its own (evaluation/beside.py).
"""

from typing import TYPE_CHECKING

from rcpt_ray import cluster
from rcpt_ray.corpus.spec import HELDOUT_PARTS
from rcpt_ray.evaluation.files import task_digests
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Built

if TYPE_CHECKING:
    from rcpt_ray.evaluation.beside import Beside


def beside_of(recipe: Recipe, corpus: Built) -> "Beside | None":
    """How checkpoints are evaluated while a training goes on, None where they are not; call it when Ray is there.

    Raises:
        UserError: a file of questions is missing, or the cluster has no room for an evaluation, even by itself.
    """
    if not recipe.evaluation.beside_training:
        return None
    from rcpt_ray.evaluation.beside import Beside, beside_spec
    from rcpt_ray.evaluation.job import EvaluationJob

    spec = beside_spec(recipe.evaluation)
    cluster.require("evaluation", spec.cpus, spec.gpus, recipe.cluster, spec.machines)
    digests = {"corpus": corpus.record.output_digest}
    for name, task in spec.tasks.items():
        digests |= task_digests(name, f"evaluation.tasks.{name}", task)
    job = EvaluationJob(
        spec, "", corpus.parts(HELDOUT_PARTS), corpus.path, recipe.seed, recipe.student.trust_remote_code
    )
    return Beside(job, digests, recipe.cluster.autoscales)
