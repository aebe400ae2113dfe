"""Four-choice questions in MMLU's columns, read and checked, and the examples that are shown before each.

Columns: question, choices (4), answer (0-3), and where known subject, domain, category, difficulty, id or index, and,
of an example, the thought that led to its answer. Invariant: no item_id twice in a set.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from rcpt_ray.corpus.reading.files import RECORDS, SourceFile, list_files
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.categories import categories_of
from rcpt_ray.evaluation.files import records_of, task_files
from rcpt_ray.evaluation.spec import GeneratedTask, LikelihoodTask

LETTERS = ("A", "B", "C", "D")
Question = dict[str, Any]
Questions = list[Question]


def read_questions(setting: str, path: str, max_questions: int | None = None) -> Questions:
    """Questions of .parquet, .jsonl or .json files that are here or in a store, with their `item_id` filled in.

    Raises:
        UserError: the file is missing, empty, or a question breaks the layout.
    """
    return questions_of(setting, path, list_files(setting, path, RECORDS), max_questions)


def questions_of(
    setting: str,
    path: str,
    files: list[SourceFile],
    max_questions: int | None = None,
    max_per_subject: int | None = None,
) -> Questions:
    """The questions of files that were found already.

    An item is known by its id, else by subject and index (both must be there), else by a hash of what it asks.
    MMLU's categories stand in for a column `category` where no question has one and every subject is MMLU's.
    """
    questions = first_of(f"{setting}={path}", _questions(setting, files), max_questions, max_per_subject)
    if not any(question["category"] for question in questions):
        category_of = categories_of(question["subject"] for question in questions)
        for question in questions:
            question["category"] = category_of.get(question["subject"], "")
    return questions


def read_task(setting: str, spec: LikelihoodTask | GeneratedTask) -> tuple[Questions, "Examples"]:
    """Questions and examples of a task; UserError unless every question has examples for the shots asked for."""
    files = task_files(setting, spec)
    questions = questions_of(
        f"{setting}.path", spec.path, files["questions"], spec.max_questions, spec.max_questions_per_subject
    )
    shown: Questions = []
    if spec.examples_path:
        shown = questions_of(f"{setting}.examples_path", spec.examples_path, files["examples"])
    examples = Examples(shown, spec.num_fewshot)
    for question in questions:
        if examples.pool_of(question) is None:
            named = question["subject"] or question["domain"] or "this set"
            raise UserError(
                f"{setting}.num_fewshot={spec.num_fewshot} but examples_path has {examples.most_for(question)} "
                f"examples of {named}; add examples or lower num_fewshot"
            )
    return questions, examples


def first_of(
    told: str, questions: Iterable[Question], most: int | None = None, most_per_subject: int | None = None
) -> Questions:
    """The first questions, in all and of each subject; UserError where none is there or two have one id."""
    taken: Counter[str] = Counter()
    first: dict[str, Question] = {}
    for question in questions:
        if len(first) == most:
            break
        taken[question["subject"]] += 1
        if most_per_subject is not None and taken[question["subject"]] > most_per_subject:
            continue
        if question["item_id"] in first:
            raise UserError(f"{told}: id {question['item_id']} stands on two questions; give each its own")
        first[question["item_id"]] = question
    if not first:
        raise UserError(f"{told} holds no questions; give a file with at least one")
    return list(first.values())


def id_of(record: Question, seen: Counter[str], *asked: str) -> str:
    """A record's own id, else 16 hex digits of the hash of what it asks; a repeat of that has its number behind it.

    No name or place of a file: a file is known by its content, and results of one that was renamed are still good.

    >>> id_of({"id": 7}, Counter()), id_of({}, Counter(), "Why?"), id_of({}, Counter({"e554f91c2648e1b7": 1}), "Why?")
    ('7', 'e554f91c2648e1b7', 'e554f91c2648e1b7-2')
    """
    if record.get("id") is not None and str(record["id"]):
        return str(record["id"])
    name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}-{seen[name]}"


class Examples:
    """Few-shot examples: the first ones of the question's own subject where there are enough, else of its domain."""

    def __init__(self, examples: Questions, num_fewshot: int) -> None:
        self._num_fewshot = num_fewshot
        self._pools: dict[str, Questions] = defaultdict(list)
        for example in examples:
            for pool in _pools(example):
                self._pools[pool].append(example)

    def pool_of(self, question: Question) -> str | None:
        """The name of the pool that a question's examples come from; None where no pool has enough."""
        if self._num_fewshot == 0:
            return "all"
        enough = (pool for pool in _pools(question) if len(self._pools.get(pool, ())) >= self._num_fewshot)
        return next(enough, None)

    def of_pool(self, pool: str) -> Questions:
        """The examples that are shown, in order."""
        return self._pools[pool][: self._num_fewshot] if self._num_fewshot else []

    def most_for(self, question: Question) -> int:
        """The size of the largest pool that a question could take."""
        return max(len(self._pools.get(pool, ())) for pool in _pools(question))


def _pools(question: Question) -> list[str]:
    """Where examples for a question are looked for, the best place first; `all` without subject and domain."""
    named = [f"{kind}={question[kind]}" for kind in ("subject", "domain") if question[kind]]
    return named or ["all"]


def _questions(setting: str, files: list[SourceFile]) -> Iterator[Question]:
    seen: Counter[str] = Counter()
    for record, where in records_of(files):
        _check(record, setting, where)
        words = {
            column: str(record.get(column) or "")
            for column in ("subject", "domain", "category", "difficulty", "thought")
        }
        yield {
            "item_id": _item_id(record, seen),
            "question": record["question"].strip(),
            "choices": [str(choice) for choice in record["choices"]],
            "answer": int(record["answer"]),
            **words,
        }


def _item_id(record: Question, seen: Counter[str]) -> str:
    if record.get("id") in (None, "") and record.get("subject") and record.get("index") is not None:
        return f"{record['subject']}-{record['index']}"
    return id_of(record, seen, record["question"], *map(str, record["choices"]))


def _check(record: Question, setting: str, where: str) -> None:
    missing = [column for column in ("question", "choices", "answer") if column not in record]
    if missing:
        raise UserError(f"{setting}: {where} lacks {', '.join(missing)}; give MMLU's columns question, choices, answer")
    choices, answer = record["choices"], record["answer"]
    if not isinstance(record["question"], str) or not isinstance(choices, list) or len(choices) != len(LETTERS):
        raise UserError(f"{setting}: {where} must have a question in words and a list of 4 choices")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(LETTERS):
        raise UserError(f"{setting}: {where} has answer={answer!r}; give the index 0 to 3 of the right choice")
