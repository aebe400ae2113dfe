"""Four-choice questions in MMLU's columns, read and checked.

Columns: question, choices (4), answer (0-3), and where known subject, domain, difficulty, id.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from rcpt_ray.corpus.reading.files import RECORDS
from rcpt_ray.corpus.reading.read import read_path
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.spec import TaskSpec

LETTERS = ("A", "B", "C", "D")
Questions = list[dict[str, Any]]


def read_questions(setting: str, path: str, max_questions: int | None = None) -> Questions:
    """Questions of .parquet, .jsonl or .json files, with `group` (domain, else subject) and `item_id` filled in.

    Raises:
        UserError: the file is missing, empty, or a question breaks the layout.
    """
    questions: Questions = []
    for record, where, file in read_path(setting, path, RECORDS):
        if len(questions) == max_questions:
            break
        _check(record, setting, where)
        subject = str(record.get("subject") or "")
        questions.append(
            {
                "item_id": str(record.get("id") or f"{Path(file.name).stem}-{len(questions):05d}"),
                "question": record["question"].strip(),
                "choices": [str(choice) for choice in record["choices"]],
                "answer": int(record["answer"]),
                "subject": subject,
                "domain": str(record.get("domain") or ""),
                "difficulty": str(record.get("difficulty") or ""),
                "group": str(record.get("domain") or subject or "all"),
            }
        )
    twice = [item_id for item_id, number in Counter(q["item_id"] for q in questions).items() if number > 1]
    if twice:
        raise UserError(f"{setting}={path}: id {twice[0]} stands on two questions; give each its own")
    if not questions:
        raise UserError(f"{setting}={path} holds no questions; give a file with at least one")
    return questions


def read_task(setting: str, spec: TaskSpec) -> tuple[Questions, Questions]:
    """Questions and examples of a task; UserError unless every group has examples for the shots asked for."""
    questions = read_questions(f"{setting}.path", spec.path, spec.max_questions)
    examples = read_questions(f"{setting}.examples_path", spec.examples_path) if spec.examples_path else []
    for group in sorted({question["group"] for question in questions}):
        have = sum(example["group"] == group for example in examples)
        if have < spec.num_fewshot:
            raise UserError(
                f"{setting}.num_fewshot={spec.num_fewshot} but examples_path has {have} examples of {group}; "
                "add examples or lower num_fewshot"
            )
    return questions, examples


def question_text(question: dict[str, Any]) -> str:
    """A question as the model reads it, ending where its answer's letter follows."""
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, question["choices"], strict=True))
    return f"{question['question']}\n{choices}\nAnswer:"


def _check(record: dict[str, Any], setting: str, where: str) -> None:
    missing = [column for column in ("question", "choices", "answer") if column not in record]
    if missing:
        raise UserError(f"{setting}: {where} lacks {', '.join(missing)}; give MMLU's columns question, choices, answer")
    choices, answer = record["choices"], record["answer"]
    if not isinstance(record["question"], str) or not isinstance(choices, list) or len(choices) != len(LETTERS):
        raise UserError(f"{setting}: {where} must have a question in words and a list of 4 choices")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(LETTERS):
        raise UserError(f"{setting}: {where} has answer={answer!r}; give the index 0 to 3 of the right choice")
