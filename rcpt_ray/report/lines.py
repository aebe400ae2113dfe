"""Lines of the report: an arm trained on one training domain, over its seeds; and what each is compared with.

Invariant: a variant whose evaluation is missing or failed stands in no line's rows, but in its `missing`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rcpt_ray.recipe import Recipe
from rcpt_ray.report.inputs import ArmResult


@dataclass(frozen=True)
class Line:
    """One arm and training domain."""

    name: str
    arm: str
    domain: str
    """Training domain; empty where the comparison has none, and for an arm that is not trained."""
    description: str
    rows: tuple[int, ...]
    """Places of its measured variants among the arms of the report's inputs, one a seed."""
    missing: tuple[int, ...]
    """Places of its variants that were not measured."""
    trained: bool
    seeds: tuple[int, ...] = ()
    """Of its rows."""

    @property
    def num_seeds(self) -> int:
        """Seeds that were measured."""
        return len(self.rows)


def make_lines(arms: Sequence[ArmResult]) -> list[Line]:
    """The lines in the order in which their first variants stand."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, arm in enumerate(arms):
        places.setdefault((arm.arm or arm.name, arm.training_domain), []).append(place)
    return [
        Line(
            f"{arm}.{domain}" if domain else arm,
            arm,
            domain,
            arms[own[0]].description,
            tuple(place for place in own if arms[place].evaluation is not None),
            tuple(place for place in own if arms[place].evaluation is None),
            any(arms[place].training is not None for place in own),
            tuple(arms[place].seed for place in own if arms[place].evaluation is not None),
        )
        for (arm, domain), own in places.items()
    ]


def counterpart(line: Line, arm: str, lines: Sequence[Line]) -> Line | None:
    """The measured line of `arm` that `line` is compared with: of its own training domain, else of none."""
    of_arm = {other.domain: other for other in lines if other.arm == arm and other.rows}
    found = of_arm.get(line.domain) or of_arm.get("")
    return None if found is None or found.arm == line.arm else found


def paired(line: Line, other: Line) -> tuple[Line, Line]:
    """Two lines as their difference is taken: of two seeds or more that both have, these alone, else of all.

    What differs between the lines is then not which seeds they have. Example: of seeds 17, 18, 19 and 18, 19 the
    difference is taken over 18 and 19 on both sides.
    """
    shared = set(line.seeds) & set(other.seeds)
    if not (line.trained and other.trained) or len(shared) < 2:
        return line, other
    first, second = (_over(one, shared) for one in (line, other))
    return first, second


def have_unequal_seeds(line: Line, other: Line) -> bool:
    """Whether only one of two trained lines tells how far its seeds lie apart, which then counts for both."""
    return line.trained and other.trained and (line.num_seeds == 1) != (other.num_seeds == 1)


def _over(line: Line, seeds: Collection[int]) -> Line:
    kept = [(row, seed) for row, seed in zip(line.rows, line.seeds, strict=True) if seed in seeds]
    return replace(line, rows=tuple(row for row, _ in kept), seeds=tuple(seed for _, seed in kept))


def control_of(recipe: Recipe) -> str | None:
    """The arm that stands for standard CPT: `report.control`, else the first trained on texts alone.

    One that is matched in documents goes before one that is matched in tokens, as the paper has no other.
    """
    if recipe.report.control is not None:
        return recipe.report.control
    trained = [name for name, arm in recipe.arms.items() if arm.train]
    mixtures = {name: recipe.arm_settings(name).mixture for name in trained}
    plain = [name for name in trained if mixtures[name].layout == "text_only"]
    return next((name for name in plain if mixtures[name].match_tokens_of is None), plain[0] if plain else None)


def studied_arms(recipe: Recipe) -> list[str]:
    """The arms of Reasoning CPT: trained on thoughts."""
    return [
        name
        for name, arm in recipe.arms.items()
        if arm.train and recipe.arm_settings(name).mixture.layout not in ("text_only", "paraphrase")
    ]
