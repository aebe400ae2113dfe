"""What lm-eval really did, read back from its results and logged samples and compared with what was asked.

Shots, questions, samples a question, the very text of every prompt, how it was generated, and requests that the model
had to cut. Anything else than asked fails the stage: a score of other questions than meant is worse than none.
"""

from collections import Counter
from typing import Any

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.asked import Asked, Row, TaskSet

_SHOWN = 60


class LmEvalDiffers(RuntimeError):
    """lm-eval did something else than it was asked for; the sentence says what."""


def check_ran(asked: Asked, results: dict[str, Any]) -> list[Row]:
    """The logged samples of a task in the order of its items; of a task with several filters one a filter.

    Raises:
        LmEvalDiffers: shots, items, prompts, samples or generation are not those asked for.
    """
    name, samples = asked.name, sorted(results["samples"][asked.name], key=lambda sample: int(sample["doc_id"]))
    _compare(name, "shots", results["n-shot"][name], asked.num_fewshot)
    _compare(name, "items", results["n-samples"][name]["effective"], asked.num_items)
    filters = {sample["filter"] for sample in samples}
    logged = Counter(sample["doc_id"] for sample in samples)
    _compare(name, "logged items", logged, Counter(dict.fromkeys(range(asked.num_items), len(filters))))
    for sample in samples:
        number = sample["doc_id"]
        for responses in sample["resps"]:
            _compare(name, f"samples of item {number}", len(responses), asked.num_samples)
        if asked.continuations is not None:
            weighed = [arguments[1] for arguments in sample["arguments"]]
            _compare(name, f"continuations of item {number}", weighed, list(asked.continuations))
        for arguments in sample["arguments"]:
            if asked.prompts is not None:
                _compare_prompts(name, number, arguments[0], asked.prompts[number])
            elif isinstance(arguments[0], str):
                _check_end(asked, number, arguments[0], sample["doc"])
            if asked.generation is not None:
                _compare(name, f"generation of item {number}", dict(arguments[1]), dict(asked.generation))
    return samples


def check_truncations(task_set: TaskSet, num_truncated: int, max_length_tokens: int) -> None:
    """UserError where requests were cut to the model's context: their questions would have lost their beginning."""
    if num_truncated == 0:
        return
    shots = f", lower evaluation.tasks.{task_set.name}.num_fewshot" if task_set.details.get("num_fewshot") else ""
    raise UserError(
        f"evaluation.max_length_tokens={max_length_tokens}: {num_truncated} requests of {task_set.name} are longer and "
        f"would be cut; raise it as far as the model reads{shots}, or leave the long questions out"
    )


def _check_end(asked: Asked, number: int, prompt: str, document: Row) -> None:
    """A prompt that lm-eval's own task made ends with the very question that is judged, in no chat template."""
    task = asked.task
    if not hasattr(task, "build_qa_turn") or task.OUTPUT_TYPE not in ("multiple_choice", "generate_until"):
        return
    question = task.doc_to_text(document)
    if not isinstance(question, str):
        return
    turn = task.build_qa_turn(
        q=question, gen_prefix=task.doc_to_prefix(document), tgt_delim=task.config.target_delimiter, few_delim=""
    )
    end = "".join(message.to_text() for message in turn)
    if not prompt.endswith(end):
        raise LmEvalDiffers(
            f"lm-eval asked item {number} of {asked.name} with a prompt that ends with {prompt[-_SHOWN:]!r}, but the "
            f"item that it judges ends with {end[-_SHOWN:]!r}"
        )


def _compare_prompts(name: str, number: int, ran: str, wanted: str) -> None:
    if ran == wanted:
        return
    place = next((at for at, (one, other) in enumerate(zip(ran, wanted, strict=False)) if one != other), None)
    place = min(len(ran), len(wanted)) if place is None else place
    raise LmEvalDiffers(
        f"lm-eval asked item {number} of {name} with another prompt than asked for, from character {place} on: "
        f"{ran[place : place + _SHOWN]!r} instead of {wanted[place : place + _SHOWN]!r}"
    )


def _compare(name: str, what: str, ran: object, wanted: object) -> None:
    if ran != wanted:
        raise LmEvalDiffers(f"lm-eval ran {name} with {what} {_short(ran)}, but {_short(wanted)} was asked for")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 2 * _SHOWN else shown[: 2 * _SHOWN] + "..."
