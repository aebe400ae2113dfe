"""`rcpt sweep RECIPE --plan`: the trials, and how often what they share would be made. Starts nothing."""

from rich.table import Table

from rcpt_ray.artifacts import canonical_json
from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.live import in_words
from rcpt_ray.sweep.proposals import Proposals
from rcpt_ray.sweep.result import Trial
from rcpt_ray.sweep.sensible import definition_of, require_sensible
from rcpt_ray.sweep.trial_recipe import recipe_at
from rcpt_ray.terminal import table_console


def print_sweep(recipe: Recipe) -> None:
    """Print the points of a sweep and the number of distinct stages; of optuna only those that are known before.

    Raises:
        UserError: the sweep cannot be begun.
    """
    sweep = require_sensible(recipe)
    proposals = Proposals(recipe)
    known = proposals.trials if sweep.searcher == "optuna" else list(iter(proposals.next, None))
    console = table_console()
    table = Table(title=f"sweep of {sweep.arm}: {proposals.num_planned} trials, {len(proposals.seeds)} seed(s) a point")
    for column in ("point", "why", "settings", "in the way"):
        table.add_column(column, overflow="fold")
    made: dict[str, set[str]] = {"corpus": set(), "thoughts": set(), "mixture": set(), "training": set()}
    for trial in known:
        refused = _add_stages(recipe, trial, made)
        if trial.seed == proposals.seeds[0]:
            table.add_row(f"{trial.number:04d}", trial.role, in_words(trial.point), refused)
    console.print(table)
    counts = ", ".join(f"{name} {len(keys)}" for name, keys in made.items())
    more = proposals.num_planned - len(known)
    then = f"; {more} more as optuna asks for them" if more else ""
    console.print(f"different settings of stages: {counts}{then}", highlight=False)
    console.print("what one trial takes: rcpt plan of the recipe, whose arm is one of the trials", highlight=False)


def _add_stages(recipe: Recipe, trial: Trial, made: dict[str, set[str]]) -> str:
    """Add what defines a trial's stages by its settings alone; why it cannot be, where settings break a rule."""
    try:
        own = recipe_at(recipe, trial)
    except UserError as mistake:
        return str(mistake)
    (variant,) = own.variants.values()
    parts = definition_of(own)
    if own.variant_settings(variant).mixture.needs_thoughts:
        made["thoughts"].add(canonical_json([parts["corpus"], parts["teacher"], parts["thoughts"][0]]))
    made["corpus"].add(canonical_json(parts["corpus"]))
    del parts["evaluation"]
    made["training"].add(canonical_json(parts))
    del parts["training"]
    made["mixture"].add(canonical_json(parts))
    return ""
