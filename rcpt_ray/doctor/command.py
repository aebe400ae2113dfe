"""`rcpt doctor [RECIPE]`: what there is, what is missing, and what to do about it. Changes nothing.

Each group of checks stands alone: one that breaks is a finding of its own, so that whatever is broken, all the rest is
still said and no traceback is shown. What can end a process (a broken torch, Ray with a wrong token) is asked in a
process of its own (`elsewhere.py`). Price: a few seconds, most of it the import of torch; with a cluster the start of a
worker on each machine.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rcpt_ray.doctor.check import Check
from rcpt_ray.errors import UserError, reason_of

if TYPE_CHECKING:
    from rcpt_ray.recipe import Recipe

Group = tuple[str, Callable[[], Iterable[Check]]]


def print_checks(recipe: "Recipe | None" = None) -> None:
    """Print every check, of a recipe's needs too where one is given; UserError if one is not well."""
    bad: list[str] = []
    for check in all_checks(groups(recipe)):
        print(check.line, flush=True)
        bad += [check.name] * (not check.well)
    if bad:
        raise UserError(f"doctor: {', '.join(dict.fromkeys(bad))} need attention; what to do stands beside each")


def all_checks(wanted: Iterable[Group]) -> Iterator[Check]:
    """The checks of every group; a group that breaks ends with a finding about itself."""
    for name, group in wanted:
        try:
            yield from group()
        except Exception as error:
            yield Check(name, False, f"cannot be checked ({reason_of(error)})", "mend that and run rcpt doctor again")


def groups(recipe: "Recipe | None") -> Iterator[Group]:
    """The groups of checks in the order in which they are said."""
    from rcpt_ray.doctor import gpu, machine, storage, token, versions

    yield "packages", versions.version_checks
    yield "machine", machine.machine_checks
    yield "GPUs", lambda: gpu.gpu_checks(gpu.look(), _gpus_wanted_here(recipe))
    yield "token", lambda: token.token_checks(needs_token=_joins_cluster(recipe))
    yield "dashboard", token.dashboard_checks
    yield "model cache", storage.cache_checks
    if recipe is None:
        yield "disk of this folder", lambda: [storage.space_check("disk of this folder", ".")]
        return
    from rcpt_ray.doctor import cluster_checks, model_access

    yield "run folder", lambda: storage.run_checks(recipe.run)
    yield "models", lambda: model_access.model_checks(recipe)
    yield "cluster", lambda: cluster_checks.cluster_checks(recipe)


def _joins_cluster(recipe: "Recipe | None") -> bool:
    from rcpt_ray.cluster import joined_address

    return recipe is not None and joined_address(recipe.cluster) is not None


def _gpus_wanted_here(recipe: "Recipe | None") -> bool:
    """Whether the recipe puts something on GPUs of this machine."""
    if recipe is None or _joins_cluster(recipe):
        return False
    evaluation = recipe.evaluation
    wanted = [recipe.thoughts.pool.gpus_per_engine, evaluation.pool.gpus_per_engine, evaluation.gpus]
    wanted += [recipe.arm_settings(name).training.gpus_per_worker for name, arm in recipe.arms.items() if arm.train]
    return any(wanted)
