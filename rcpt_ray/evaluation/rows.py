"""From lm-eval's logged samples to rows of scores, answers and choices (records.py). Pure.

A sample is a question as lm-eval was asked it (`doc`) with all that the model returned (`resps`). Fields that an item
does not have are empty.
"""

import json
from collections.abc import Sequence
from typing import Any

from rcpt_ray.evaluation.answers import find_letter, find_number
from rcpt_ray.evaluation.asked import Row, Rows
from rcpt_ray.evaluation.sentences import count_sentences
from rcpt_ray.evaluation.votes import majority, pass_at, sizes_of_draws

GROUPINGS = ("category", "domain", "subject", "difficulty")


def likelihood_rows(set_name: str, name: str, samples: Sequence[Row]) -> Rows:
    """A score and a choice for each question."""
    rows = Rows()
    for sample in samples:
        document, log_likelihoods = sample["doc"], [float(resps[0][0]) for resps in sample["resps"]]
        # The first of equals, as lm-eval has it.
        choice = max(range(len(log_likelihoods)), key=log_likelihoods.__getitem__)
        rows.scores.append(score(set_name, document, "acc", float(sample["acc"])))
        rows.choices.append(
            {
                "task": set_name,
                "item_id": document["item_id"],
                "log_likelihoods": log_likelihoods,
                "choice": choice,
                "answer": document["answer"],
            }
        )
    return rows


def generated_rows(set_name: str, name: str, samples: Sequence[Row]) -> Rows:
    """An answer for each sample of a question, and the question's scores over its samples."""
    rows = Rows()
    for sample in samples:
        document = sample["doc"]
        find = find_letter if "choices" in document else find_number
        answers = [
            _answer(set_name, document, number, json.loads(response), find)
            for number, response in enumerate(sample["resps"][0])
        ]
        rows.answers += answers
        rows.scores += [
            score(set_name, document, metric, value)
            for metric, value in sample_scores([one["answer"] for one in answers], document["target"]).items()
        ]
    return rows


def sample_scores(answers: Sequence[str | None], right: str) -> dict[str, float]:
    """The metrics of one question from the answers of its samples; pass@k and maj@k where there are several.

    >>> sample_scores(["8", None, "7", "8"], "8")["maj@4"]
    1.0
    """
    num_samples, num_right = len(answers), sum(answer == right for answer in answers)
    scores = {
        "acc": num_right / num_samples,
        "extracted": sum(answer is not None for answer in answers) / num_samples,
    }
    if num_samples > 1:
        scores |= {f"pass@{k}": pass_at(k, num_samples, num_right) for k in sizes_of_draws(num_samples)}
        scores[f"maj@{num_samples}"] = float(majority(answers) == right)
    return scores


def score(set_name: str, document: Row, metric: str, value: float, weight: float = 1.0) -> Row:
    """One row of scores."""
    return _item(set_name, document) | {"metric": metric, "value": value, "weight": weight}


def _item(set_name: str, document: Row) -> Row:
    """What is known of an item."""
    return {
        "task": set_name,
        "item_id": document["item_id"],
        **{grouping: document.get(grouping) or "" for grouping in GROUPINGS},
    }


def _answer(set_name: str, document: Row, number: int, written: Row, find: Any) -> Row:
    answer = find(written["output"])
    return _item(set_name, document) | {
        "sample_index": number,
        "thought": written["thought"],
        "output": written["output"],
        "answer": answer,
        "right": answer == document["target"],
        "hit_limit": written["hit_limit"],
        "num_prompt_tokens": written["num_prompt_tokens"],
        "num_thought_tokens": written["num_thought_tokens"],
        "num_thought_sentences": count_sentences(written["thought"]),
    }
