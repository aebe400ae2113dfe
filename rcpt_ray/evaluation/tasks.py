"""Our tasks of questions for lm-eval, from rows in memory: by likelihood, and thought over and answered in words.

A set becomes one lm-eval task for each pool of examples, so that those of a question are of its own subject, as in MMLU
(Hendrycks et al., arXiv 2009.03300). lm-eval joins instruction, examples and question; our rendering (prompts.py) is
what it is compared with afterwards. A generated task gives the model its opening delimiter last, and these settings:

    thought_close, answer_cue, max_thought_tokens, max_answer_tokens, temperature, top_p, do_sample, until

What the model returns for each sample is the JSON of thought, output, hit_limit, num_prompt_tokens, num_thought_tokens.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from rcpt_ray.evaluation.asked import Asked, Row, TaskSet
from rcpt_ray.evaluation.gsm8k import read_problems
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.prompts import (
    ANSWER_CUE,
    generated_prompt,
    instruction,
    likelihood_prompt,
    question_text,
    right_answer,
    worked,
)
from rcpt_ray.evaluation.questions import LETTERS, Questions, read_task
from rcpt_ray.evaluation.rows import generated_rows, likelihood_rows
from rcpt_ray.evaluation.spec import GeneratedTask, GenerationSettings, Gsm8kTask, LikelihoodTask


def likelihood_set(name: str, spec: LikelihoodTask) -> TaskSet:
    """Questions answered by the letter with the highest likelihood."""
    questions, examples = read_task(f"evaluation.tasks.{name}", spec)
    asked = []
    for pool, own in _by_pool(questions, examples.pool_of).items():
        shown = examples.of_pool(pool)
        task = make_task(
            f"{name}/{pool}",
            {"test": [_document(one, ANSWER_CUE) for one in own], "dev": [_document(one, ANSWER_CUE) for one in shown]},
            description="instruction",
            num_fewshot=len(shown),
            output_type="multiple_choice",
            doc_to_text="prompt",
            doc_to_choice=list(LETTERS),
            doc_to_target="answer",
            metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        )
        prompts = [likelihood_prompt(one, shown) for one in own]
        letters = [f" {letter}" for letter in LETTERS]
        asked.append(Asked(f"{name}/{pool}", task, len(shown), len(own), prompts=prompts, continuations=letters))
    details = {"kind": spec.kind, "num_fewshot": spec.num_fewshot, "num_samples": 1, "chance": 1 / len(LETTERS)}
    num_items = sum(one.num_items for one in asked)
    return TaskSet(name, "likelihood", asked, partial(likelihood_rows, name), details, num_items)


def generated_set(name: str, spec: GeneratedTask | Gsm8kTask, job: EvaluationJob) -> TaskSet:
    """Questions, or word problems, that the model thinks over before it answers in words."""
    pools: list[tuple[str, Questions, Questions]] = []
    if isinstance(spec, Gsm8kTask):
        problems, solved = read_problems(f"evaluation.tasks.{name}", spec)
        pools.append(("all", problems, solved))
    else:
        questions, examples = read_task(f"evaluation.tasks.{name}", spec)
        pools += [(pool, own, examples.of_pool(pool)) for pool, own in _by_pool(questions, examples.pool_of).items()]
    asked, settings = [], generation_settings(spec, job.thought_close)
    for pool, own, shown in pools:
        task = make_task(
            f"{name}/{pool}",
            {"test": [_document(one, job.thought_open) for one in own], "dev": [_example(one, job) for one in shown]},
            description="instruction",
            num_fewshot=len(shown),
            fewshot_config={"target_delimiter": ""},
            output_type="generate_until",
            doc_to_text="prompt",
            doc_to_target="shown",
            generation_kwargs=settings,
            repeats=spec.num_samples,
            # All samples go on; lm-eval would keep the first.
            filter_list=[{"name": "all", "filter": [{"function": "take_first_k", "k": spec.num_samples}]}],
            process_results=_count_samples,
            metric_list=[{"metric": "num_samples", "aggregation": "mean", "higher_is_better": True}],
        )
        prompts = [generated_prompt(one, shown, job.thought_open, job.thought_close) for one in own]
        asked.append(
            Asked(f"{name}/{pool}", task, len(shown), len(own), spec.num_samples, prompts, generation=settings)
        )
    details = {
        "kind": spec.kind,
        "num_fewshot": spec.num_fewshot,
        "num_samples": spec.num_samples,
        "chance": 1 / len(LETTERS) if spec.kind == "generated" else None,
    }
    num_items = sum(one.num_items for one in asked)
    return TaskSet(name, "generation", asked, partial(generated_rows, name), details, num_items)


def generation_settings(spec: GenerationSettings, thought_close: str) -> dict[str, Any]:
    """The arguments of a generated request."""
    return {
        "until": ["\n"],
        "thought_close": thought_close,
        "answer_cue": ANSWER_CUE,
        "max_thought_tokens": spec.max_thought_tokens,
        "max_answer_tokens": spec.max_answer_tokens,
        "do_sample": spec.temperature > 0,
        "temperature": spec.temperature,
        "top_p": spec.top_p,
    }


def make_task(name: str, splits: dict[str, list[Row]], **config: Any) -> Any:
    """A task of lm-eval over rows; the first of split `dev` are its examples."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    data = DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items() if rows})
    of_shots, shots = config.pop("fewshot_config", {}), dict[str, Any]()
    if "dev" in data:
        shots = {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"} | of_shots}
    return ConfigurableTask(
        config={"task": name, "custom_dataset": lambda **_: data, "test_split": "test", **shots, **config}
    )


def _by_pool(questions: Questions, pool_of: Callable[[Row], str | None]) -> dict[str, Questions]:
    """Questions by the pool of their examples, pools in order of name."""
    pools: dict[str, Questions] = defaultdict(list)
    for question in questions:
        pool = pool_of(question)
        assert pool is not None, "read_task has looked"
        pools[pool].append(question)
    return dict(sorted(pools.items()))


def _document(question: Row, ending: str) -> Row:
    """A question as lm-eval holds it: `prompt` is its own part of the prompt, `target` the right answer in words."""
    return question | {
        "instruction": instruction(question),
        "prompt": question_text(question) + ending,
        "shown": right_answer(question),
        "target": right_answer(question),
    }


def _example(question: Row, job: EvaluationJob) -> Row:
    """An example of a generated task: its question, and behind it its thought, if it has one, and its answer."""
    shown = worked(question, job.thought_open, job.thought_close)
    return _document(question, job.thought_open) | {"prompt": question_text(question), "shown": shown}


def _count_samples(document: Row, results: list[list[str]]) -> dict[str, int]:
    return {"num_samples": len(results[0])}
