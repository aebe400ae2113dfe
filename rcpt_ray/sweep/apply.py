"""Put the settings that a sweep chose into a new recipe, with the reasons at its top.

    the user's file + what the command line changed + the chosen settings -> the text of a new file

The file is edited in place, so comments and order stay; PyYAML tells where each setting stands. The edited text is read
again and must hold exactly what was to be in it, else (anchors, merged keys) the whole is written anew, without the
file's comments.

Invariants: settings of thoughts, mixture and training become overrides of the swept arm; the proxy's settings are not
put in. The section `sweep` stays: `rcpt run` does not read it, it tells where the settings are from, and `rcpt sweep`
can go on from them in the same run folder, whose corpus and thoughts are paid for.
"""

import textwrap
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe, load_recipe, recipe_from
from rcpt_ray.sweep.answer import Answer
from rcpt_ray.sweep.page.inputs import digits_of, interval_words, measured_by, region_words, settings_words
from rcpt_ray.sweep.page.sentences import PROXY_WARNING, conclusion
from rcpt_ray.sweep.space import Settings, coordinates_of
from rcpt_ray.sweep.trial_recipe import OF_ARMS
from rcpt_ray.sweep.yaml_edit import with_setting
from rcpt_ray.yaml_text import parse_yaml

Keys = tuple[str, ...]
"""Keys from the top of a recipe down to a setting; the last may hold points, as those of overrides do."""
_WIDTH = 110


def applied_recipe(source: Path, recipe: Recipe, answers: Sequence[Answer]) -> str:
    """The text of a recipe's file with the settings that the first objective chose.

    Args:
        source: The file that `recipe` was read from; what the command line changed of it is put in too.
        recipe: What was swept.
        answers: Of the sweep; those after the first are not looked at.

    Raises:
        UserError: no trial has a figure, or the settings do not fit the recipe's other arms.
    """
    sweep = recipe.sweep
    assert sweep is not None
    chosen = answers[0].chosen
    if chosen is None:
        raise UserError(
            f"the sweep has no trial with a figure for {answers[0].name}, so there is nothing to apply; see its report "
            "for why they failed, then run rcpt sweep again"
        )
    text = source.read_text(encoding="utf-8").removeprefix("\ufeff")
    read = parse_yaml(text, f"recipe {source}")
    changes = _command_line(source, recipe) | _changes(sweep.arm, chosen.point)
    wanted = _changed(read, changes)
    if not _holds(wanted, sweep.arm, chosen.point):
        # An override of a whole section that stands behind one of its settings takes it back.
        _put_last(wanted["arms"][sweep.arm]["overrides"], chosen.point)
        text = ""
    edited = _edited(text, changes, wanted)
    if not _holds(wanted, sweep.arm, chosen.point):
        raise UserError(
            f"sweep.arm={sweep.arm} does not take the settings {settings_words(chosen.point)}; set them by hand"
        )
    top = "\n".join(
        textwrap.fill(line, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)
        for line in reasons(recipe, answers[0])
    )
    return f"{top}\n\n{edited}"


def write_applied(to: Path, text: str) -> None:
    """Write the new recipe's file; UserError where there is a file already."""
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{to} exists and is not overwritten; give --apply another name") from None
    except OSError as error:
        raise UserError(f"{to} cannot be written ({error.strerror}); give --apply another name") from None


def reasons(recipe: Recipe, answer: Answer) -> list[str]:
    """Why the settings were chosen, and what speaks against relying on them, a sentence or two each."""
    sweep, chosen = recipe.sweep, answer.chosen
    assert sweep is not None and chosen is not None
    num_trials = sum(len(one.values(answer.name)) for one in answer.points)
    num_trainings = sum(len(one.values) for one in answer.measurements)
    shared = "" if num_trainings == num_trials else f" (on {num_trainings:,} trainings)"
    told = [
        f"Settings of arm {sweep.arm} that a sweep of {recipe.name} chose (rcpt sweep --apply): "
        f"{settings_words(chosen.point)}.",
        f"Sweep: {num_trials:,} trials{shared} at {len(answer.points):,} settings, judged by {answer.name} "
        f"({measured_by(answer)}).",
        conclusion(answer),
        _evidence(answer),
    ]
    if chosen.by == "tried":
        why = "is none: too few settings" if answer.surface is None else "does not predict settings it has not seen"
        told.append(
            f"The response surface {why}, so this is the best tried setting by its mean, which looks better than it is "
            "because it was chosen for it."
        )
    elif answer.optimum is not None:
        parts = [
            f"{one.name} {region_words(extent, one)}"
            for one in coordinates_of(answer.space)
            if (extent := answer.optimum.region.get(one.name)) is not None
        ]
        told.append(
            f"Not distinguishable from the best at {answer.confidence:.0%}, each setting alone: {'; '.join(parts)}."
        )
        if chosen.tried is None:
            told.append("No trial was at these settings; their figure is the surface's.")
    if sweep.proxy:
        told.append(
            f"The trials ran on a proxy ({settings_words(sweep.proxy)}), whose settings are not put in here: "
            f"{PROXY_WARNING}."
        )
    return told


def _evidence(answer: Answer) -> str:
    """Whether the sweep speaks for a change at all."""
    beside = answer.reference
    if beside is None:
        return "The recipe's own settings are no point of the space, so whether this is any better is not known."
    name = "the recipe's own settings" if beside.role == "recipe" else "equal shares"
    if beside.is_best:
        return f"There is no evidence for a change: the best settings are {name}."
    if beside.distinguishable is None or beside.difference is None:
        return f"Whether this is better than {name} is not known: there is no noise or no figure to compare with."
    apart = interval_words(beside.difference, digits_of(answer), "+")
    if not beside.distinguishable:
        return f"There is no evidence for a change: {name} are not distinguishable from the best ({apart} beside it)."
    return f"It is distinguishable from {name} ({apart} beside it)."


def _changes(arm: str, point: Settings) -> dict[Keys, Any]:
    """Where the chosen settings go."""
    changes: dict[Keys, Any] = {}
    for name, value in point.items():
        own = name.split(".")[0] in OF_ARMS
        changes[("arms", arm, "overrides", name) if own else tuple(name.split("."))] = value
    return changes


def _command_line(source: Path, recipe: Recipe) -> dict[Keys, Any]:
    """What the swept recipe has other than its file: overrides given with the command."""
    try:
        file = load_recipe(source).model_dump(mode="json")
    except UserError:
        # A file that needs settings from the command line is no recipe by itself.
        return {(name,): value for name, value in recipe.model_dump(mode="json", exclude_unset=True).items()}
    return dict(_apart(file, recipe.model_dump(mode="json"), ()))


def _apart(old: Any, new: Any, path: Keys) -> list[tuple[Keys, Any]]:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() <= new.keys():
        return [found for name in new for found in _apart(old.get(name, _MISSING), new[name], (*path, name))]
    return [] if old == new else [(path, new)]


_MISSING = object()


def _changed(values: Mapping[str, Any], changes: Mapping[Keys, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = deepcopy(dict(values))
    for path, value in changes.items():
        inner = changed
        for step in path[:-1]:
            if not isinstance(inner.get(step), dict):
                inner[step] = {}
            inner = inner[step]
        inner[path[-1]] = deepcopy(value)
    return changed


def _holds(values: Mapping[str, Any], arm: str, point: Settings) -> bool:
    """Whether a recipe's arm has the chosen settings; UserError where they break a rule of the recipe."""
    try:
        recipe = recipe_from(values)
    except UserError as mistake:
        raise UserError(f"the sweep's best settings do not fit the recipe: {mistake}") from None
    settings = recipe.arm_settings(arm).model_dump(mode="json")
    return all(_at(settings, name) == value for name, value in point.items() if name.split(".")[0] in OF_ARMS)


def _at(values: Any, name: str) -> Any:
    for step in name.split("."):
        values = values.get(step) if isinstance(values, dict) else None
    return values


def _put_last(overrides: dict[str, Any], point: Settings) -> None:
    for name in point:
        if name in overrides:
            overrides[name] = overrides.pop(name)


def _edited(text: str, changes: Mapping[Keys, Any], wanted: Mapping[str, Any]) -> str:
    """The text with the changes; the whole written anew where it cannot be edited soundly."""
    try:
        for path, value in changes.items() if text else ():
            text = with_setting(text, path, value)
        if text and yaml.safe_load(text) == wanted:
            return text
    except (yaml.YAMLError, ValueError):
        pass  # what the edit broke, such as an anchor that is used elsewhere, is written anew below
    head = "# Written anew: the file's own comments could not be kept.\n"
    return head + yaml.safe_dump(dict(wanted), sort_keys=False, allow_unicode=True, width=_WIDTH)
