"""What of an evaluation set is looked for in the corpus: each question alone, and followed by its right answer.

Brown et al. (arXiv 2005.14165, appendix C) compare whole examples, datatrove's decontamination the answer and the words
around the border of question and answer; wrong choices are left out by both, since "all of the above" and the like
prove nothing. The question alone finds a short question (looked for whole) wherever it stands; with its answer more of
the short ones are long enough: of MMLU's 14,042 questions 1,100 have fewer than 8 words, 156 with their answer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rcpt_ray.errors import UserError

_QUESTION = ("question", "Question", "text")
"""Columns with a question; GPQA writes it large."""
_CALCULATION = re.compile(r"<<[^<>]*>>")
"""GSM8K's notes for a calculator inside an answer, such as 48/2=<<48/2=24>>24."""


def read_evaluation_texts(set_name: str, records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(set name, item id, text) of each text to look for; the id is the record's own or its number from 0.

    A record has question, choices and answer (the number of a choice) as in MMLU, question and answer as in GSM8K, a
    question alone, or a text.

    Raises:
        UserError: a record has neither a question nor a text, or an answer that is none of its choices.
    """
    for number, record in enumerate(records):
        item_id = str(number if record.get("id") is None else record["id"])
        question = next((text for name in _QUESTION if isinstance(text := record.get(name), str)), None)
        if not isinstance(question, str):
            raise UserError(
                f"decontamination against {set_name}: record {number} has {', '.join(map(str, record)) or 'nothing'}; "
                "give a column question (with choices and answer, or answer) or a column text"
            )
        yield set_name, item_id, question
        answer = _right_answer(set_name, number, record)
        if answer:
            yield set_name, item_id, f"{question}\n{answer}"


def _right_answer(set_name: str, number: int, record: Mapping[str, Any]) -> str:
    answer, choices = record.get("answer"), record.get("choices")
    if choices is None:
        return _CALCULATION.sub("", answer) if isinstance(answer, str) else ""
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise UserError(
            f"decontamination against {set_name}: record {number} has answer={answer!r} and {len(choices)} choices; "
            "give the number of the right choice, from 0"
        )
    return str(choices[answer])
