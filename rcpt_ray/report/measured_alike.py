"""Whether arms were measured in the same way: number formats and engines of their evaluations, planted answers."""

from collections.abc import Sequence
from typing import Final

from rcpt_ray.report.inputs import ArmResult

_ORACLE: Final = "oracle"
_NAMED: Final = 4


def how_measured(arms: Sequence[ArmResult]) -> list[str]:
    """Sentences on what makes figures of these arms no models', or not comparable with each other."""
    precisions, engines = dict[str, list[str]](), dict[str, dict[str, list[str]]]()
    for arm in arms:
        if arm.evaluation is None:
            continue
        details = arm.evaluation.details
        if "precision" in details:
            precisions.setdefault(str(details["precision"]), []).append(arm.name)
        for task, told in {**details.get("tasks", {}), **details.get("heldout", {})}.items():
            if "engine" in told:
                engines.setdefault(task, {}).setdefault(str(told["engine"]), []).append(arm.name)
    sentences = [
        f"Answers to {task} of {_names(by_engine[_ORACLE])} were planted by the oracle, a stand-in for tests: nothing "
        "about models can be read from them."
        for task, by_engine in engines.items()
        if _ORACLE in by_engine
    ]
    if len(precisions) > 1:
        sentences.append(
            f"Models were measured in different number formats: {_sides(precisions)}. Differences between these "
            "arms may come from that (evaluation.precision)."
        )
    sentences += [
        f"{task} was computed by different engines: {_sides(by_engine)}. Differences between these arms may come from "
        "that (evaluation.likelihood_engine, evaluation.generation_engine)."
        for task, by_engine in engines.items()
        if len(by_engine) > 1
    ]
    return sentences


def _sides(names: dict[str, list[str]]) -> str:
    return "; ".join(f"{side} for {_names(of_side)}" for side, of_side in names.items())


def _names(arms: list[str]) -> str:
    more = len(arms) - _NAMED
    return ", ".join(arms[:_NAMED]) + (f" and {more} more" if more > 0 else "")
