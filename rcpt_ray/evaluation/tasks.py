"""Our tasks for lm-eval, from rows in memory: questions by likelihood and held-out text in bits per byte.

A question set becomes one lm-eval task for each group (domain, else subject), so that few-shot examples come from the
question's own group, as in MMLU (Hendrycks et al., arXiv 2009.03300).
"""

from collections import defaultdict
from typing import Any

from rcpt_ray.evaluation.questions import LETTERS, question_text

HELDOUT = "heldout"
Rows = list[dict[str, Any]]


def group_questions(questions: Rows) -> dict[str, Rows]:
    """Questions by group, groups in order of name."""
    groups: dict[str, Rows] = defaultdict(list)
    for question in questions:
        groups[question["group"]].append(question)
    return dict(sorted(groups.items()))


def likelihood_task(name: str, questions: Rows, examples: Rows, num_fewshot: int) -> Any:
    """The lm-eval task that picks the letter with the highest likelihood; metric acc."""
    return _task(
        name,
        {"test": questions, "dev": examples},
        test_split="test",
        fewshot_split="dev" if num_fewshot else None,
        fewshot_config={"sampler": "first_n"} if num_fewshot else None,
        num_fewshot=num_fewshot,
        output_type="multiple_choice",
        doc_to_text=question_text,
        doc_to_choice=list(LETTERS),
        doc_to_target="answer",
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )


def bits_per_byte_task(documents: Rows) -> Any:
    """The lm-eval task that scores whole texts, in windows of the model's context; metric bits_per_byte."""
    return _task(
        HELDOUT,
        {"test": documents},
        test_split="test",
        num_fewshot=0,
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="text",
        metric_list=[{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
    )


def _task(name: str, splits: dict[str, Rows], **config: Any) -> Any:
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    data = DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items() if rows})
    return ConfigurableTask(config={"task": name, "custom_dataset": lambda **_: data, **config})
