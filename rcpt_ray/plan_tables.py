"""The part of `rcpt plan` that is read first: a line a stage, and what is left in all.

The variants of an arm stand in one line, so that five arms over three domains and three seeds stay a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from rcpt_ray.pipeline import Pipeline
from rcpt_ray.plan_training import TrainingToDo
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Built, failure_of
from rcpt_ray.terminal import duration


@dataclass(frozen=True)
class Expectation:
    """Tokens, time and cost of a stage and where the time comes from; None where nothing can be said."""

    tokens: float | None = None
    seconds: float | None = None
    source: str = ""
    cost: float | None = None


def print_stages(
    recipe: Recipe, done: Pipeline, stages: Sequence[Built], expected: Mapping[str, Expectation], console: Console
) -> None:
    """Print a line for each stage, or for each arm's stages of one kind where it has several variants."""
    num_variants = sum(recipe.arms[variant.arm].train for variant in done.variants.values())
    num_arms = sum(arm.train for arm in recipe.arms.values())
    if num_variants > num_arms:
        domains, seeds = recipe.comparison.domains or {}, recipe.comparison.seeds or [recipe.seed]
        over = [f"domains {', '.join(domains)}"] * bool(domains) + [f"seeds {', '.join(map(str, seeds))}"]
        console.print(f"{num_arms} trained arms over {' and '.join(over)}: {num_variants} variants", highlight=False)
    table = Table(title=f"plan of {recipe.name} in {recipe.run}")
    with_cost = any(one.cost is not None for one in expected.values())
    for column in ("stage", "fingerprint", "state", "tokens", "time", *["cost"] * with_cost, "from"):
        table.add_column(column, overflow="fold")
    for title, built in _lines(done, stages).items():
        whole = total_of([expected[one.stage.title] for one in built if one.manifest is None])
        cost = ["" if whole.cost is None else f"{whole.cost:,.2f}"] * with_cost
        tokens = "" if whole.tokens is None else f"{whole.tokens:,.0f}"
        seconds = "" if whole.seconds is None else duration(whole.seconds)
        fingerprint = (built[0].stage.fingerprint or "after its inputs") if len(built) == 1 else ""
        table.add_row(title, fingerprint, _state(built), tokens, seconds, *cost, whole.source)
    console.print(table)


def _lines(done: Pipeline, stages: Sequence[Built]) -> dict[str, list[Built]]:
    """The stages by the title of their line, in their order."""
    lines: dict[str, list[Built]] = {}
    for built in stages:
        title, variant = built.stage.title, done.variants.get(built.stage.variant)
        if variant is not None and variant.name != variant.arm:
            title = f"{built.stage.name} of {variant.arm}, its variants"
        lines.setdefault(title, []).append(built)
    return lines


def _state(built: Sequence[Built]) -> str:
    """How many of a line's stages are in which state; of one the state alone."""
    states: dict[str, int] = {}
    for one in built:
        state = "finished" if one.manifest is not None else "failed before" if failure_of(one.folder) else "to do"
        states[state] = states.get(state, 0) + 1
    return ", ".join(state if len(built) == 1 else f"{number} {state}" for state, number in states.items())


def total_of(expected: Sequence[Expectation]) -> Expectation:
    """The sums of what is known, None where nothing is."""

    def total(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return Expectation(
        total([one.tokens for one in expected]),
        total([one.seconds for one in expected]),
        ", ".join(dict.fromkeys(one.source for one in expected if one.source)),
        total([one.cost for one in expected]),
    )


def print_totals(to_do: Sequence[Built], expected: Mapping[str, Expectation], console: Console) -> None:
    """Print what is left: time, tokens to write and to train on, and cost, as far as they are known."""
    if not to_do:
        console.print("nothing is left to do", highlight=False)
        return
    whole = total_of([expected[built.stage.title] for built in to_do])
    words = [f"about {duration(whole.seconds)} of work left" if whole.seconds else "the time left is not known"]
    for stage, what in (("thoughts", "tokens to write"), ("training", "tokens to train on")):
        tokens = total_of([expected[built.stage.title] for built in to_do if built.stage.name == stage]).tokens
        words += [f"{tokens:,.0f} {what}"] if tokens else []
    words += [f"cost {whole.cost:,.2f}"] if whole.cost is not None else []
    unknown = sorted({built.stage.name for built in to_do if expected[built.stage.title].seconds is None})
    words += [f"without {', '.join(unknown)}, whose time is not known"] if unknown and whole.seconds else []
    console.print("; ".join(words), highlight=False, soft_wrap=True)


def largest_of_arms(trainings: Sequence[TrainingToDo], done: Pipeline) -> list[TrainingToDo]:
    """Of each arm the training with the most tokens, which says how many there are."""
    of_arm: dict[str, list[TrainingToDo]] = {}
    for training in trainings:
        of_arm.setdefault(done.variants[training.variant].arm, []).append(training)
    return [max(same, key=lambda one: one.num_tokens).standing_for(len(same)) for same in of_arm.values()]
