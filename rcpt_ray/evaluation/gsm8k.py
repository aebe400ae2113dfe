"""Word problems in GSM8K's columns: question, and answer with the solution in words and the number after ####.

The solution without its notes for a calculator (<<48/2=24>>) is the thought that an example shows. GSM8K: Cobbe et al.,
arXiv 2110.14168.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rcpt_ray.corpus.reading.files import SourceFile
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.answers import find_number
from rcpt_ray.evaluation.files import records_of, task_files
from rcpt_ray.evaluation.questions import first_of, id_of
from rcpt_ray.evaluation.spec import Gsm8kTask

Problem = dict[str, Any]
_CALCULATION = re.compile(r"<<[^<>]*>>")


def read_problems(setting: str, spec: Gsm8kTask) -> tuple[list[Problem], list[Problem]]:
    """Problems and the examples that are shown before each of them.

    Raises:
        UserError: a file is missing or empty, a problem has no number, or there are fewer examples than shots.
    """
    files = task_files(setting, spec)
    read = _read(f"{setting}.path", files["questions"])
    problems = first_of(f"{setting}.path={spec.path}", read, spec.max_questions, spec.max_questions_per_subject)
    examples: list[Problem] = []
    if spec.examples_path:
        told = f"{setting}.examples_path"
        examples = first_of(f"{told}={spec.examples_path}", _read(told, files["examples"]))
    if len(examples) < spec.num_fewshot:
        raise UserError(
            f"{setting}.num_fewshot={spec.num_fewshot} but examples_path has {len(examples)} examples; "
            "add examples or lower num_fewshot"
        )
    return problems, examples[: spec.num_fewshot]


def _read(setting: str, files: list[SourceFile]) -> Iterator[Problem]:
    seen: Counter[str] = Counter()
    for record, where in records_of(files):
        question, solution = record.get("question"), record.get("answer")
        if not isinstance(question, str) or not isinstance(solution, str) or "####" not in solution:
            raise UserError(f"{setting}: {where} must have a question and an answer that ends with #### and its number")
        worked, _, end = solution.rpartition("####")
        answer = find_number(f"#### {end}")
        if answer is None:
            raise UserError(f"{setting}: {where} has no number after ####; write the answer there in digits")
        yield {
            "item_id": id_of(record, seen, question),
            "question": question.strip(),
            "answer": answer,
            "thought": _CALCULATION.sub("", worked).strip(),
            **{name: str(record.get(name) or "") for name in ("subject", "domain", "category", "difficulty")},
        }
