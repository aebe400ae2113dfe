"""The very text that a model reads: our own rendering, which lm-eval's prompts are compared with.

    likelihood   instruction, examples, question, choices, "Answer:"                      -> " A" .. " D"
    generated    instruction, examples, question, choices, opening delimiter              -> thought
                 closing delimiter, "Answer:"                                             -> " B", up to a newline

The likelihood prompt is that of lm-eval's `mmlu` to the letter (its instruction names the subject), so its figures can
be compared with published ones. An example of a generated task shows its thought where it has one, one of GSM8K its
solution.
"""

from collections.abc import Sequence
from typing import Any

ANSWER_CUE = "Answer:"
BETWEEN_EXAMPLES = "\n\n"
_LETTERS = "ABCD"
_WORD_PROBLEMS = "The following are word problems (with answers).\n\n"


def instruction(question: dict[str, Any]) -> str:
    """The line above the examples.

    >>> instruction({"subject": "formal_logic", "choices": ["p", "q", "p and q", "neither"]})
    'The following are multiple choice questions (with answers) about formal logic.\\n\\n'
    """
    if "choices" not in question:
        return _WORD_PROBLEMS
    about = f" about {question['subject'].replace('_', ' ')}" if question["subject"] else ""
    return f"The following are multiple choice questions (with answers){about}.\n\n"


def question_text(question: dict[str, Any]) -> str:
    """A question with its lettered choices, or a word problem, and the end of its line."""
    if "choices" not in question:
        return f"Question: {question['question']}\n"
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip(_LETTERS, question["choices"], strict=True))
    return f"{question['question']}\n{choices}\n"


def right_answer(question: dict[str, Any]) -> str:
    """The right answer as a model should write it: a letter, or a number."""
    return _LETTERS[question["answer"]] if "choices" in question else str(question["answer"])


def worked(question: dict[str, Any], opening: str, closing: str) -> str:
    """What stands behind an example's question: its thought between the delimiters if it has one, and its answer."""
    thought = f"{opening}{question['thought']}{closing}" if opening and question["thought"] else ""
    return f"{thought}{ANSWER_CUE} {right_answer(question)}"


def likelihood_prompt(question: dict[str, Any], examples: Sequence[dict[str, Any]]) -> str:
    """The text behind which the letters are weighed."""
    return _before(question, examples, "", "") + question_text(question) + ANSWER_CUE


def generated_prompt(question: dict[str, Any], examples: Sequence[dict[str, Any]], opening: str, closing: str) -> str:
    """The text behind which the model begins to think."""
    return _before(question, examples, opening, closing) + question_text(question) + opening


def _before(question: dict[str, Any], examples: Sequence[dict[str, Any]], opening: str, closing: str) -> str:
    shown = [question_text(one) + worked(one, opening, closing) + BETWEEN_EXAMPLES for one in examples]
    return instruction(question) + "".join(shown)
