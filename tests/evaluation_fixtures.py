"""Questions of our own for the tests of evaluation, and a model of lm-eval that answers from a table."""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Row = dict[str, Any]


def _question(number: int, subject: str, difficulty: str, **more: Any) -> Row:
    """The sum of two numbers, its answer under a letter of its own."""
    total, answer = 3 * number + 4, number % 4
    choices = [str(total + 5 * (place - answer)) for place in range(4)]
    question = f"What is {number} plus {2 * number + 4}?"
    return {"question": question, "subject": subject, "choices": choices, "answer": answer} | {
        "difficulty": difficulty,
        **more,
    }


QUESTIONS = [
    _question(number, subject, difficulty, id=f"q{number}")
    for number, (subject, difficulty) in enumerate(
        [
            ("formal_logic", "easy"),
            ("formal_logic", "hard"),
            ("formal_logic", "easy"),
            ("virology", "hard"),
            ("virology", "easy"),
        ]
    )
]
"""Five questions under the names of two of MMLU's subjects."""
EXAMPLES = [
    _question(number, ("formal_logic", "virology")[number % 2], "", id=f"e{number}") for number in range(20, 26)
]
PROBLEMS = [
    {
        "question": "A tank holds 1,200 litres and half of it is let out. How much is left?",
        "answer": "It is 1200/2=<<1200/2=600>>600.\n#### 600",
    },
    {
        "question": "Ropes cost $2.50 each. What do three cost?",
        "answer": "Three times 2.5 is <<3*2.5=7.5>>7.5.\n#### $7.50",
    },
]
SOLVED = [
    {"question": f"What is {n} times {n}?", "answer": f"{n} * {n} is <<{n}*{n}={n * n}>>{n * n}.\n#### {n * n}"}
    for n in (3, 4)
]


def write_rows(path: Path, rows: Iterable[Row]) -> str:
    """Rows as a Parquet file, or as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def start_texts(model: Path, folder: Path) -> Path:
    """A copy of a model whose tokenizer puts the start token before each text, as those of Llama and Gemma do."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    shutil.copytree(model, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    start = "<|endoftext|>"
    tokenizer.post_processor = TemplateProcessing(single=f"{start} $A", special_tokens=[(start, 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def table_lm(say: Callable[[Row, int], str | Row], num_truncated: int = 0) -> Any:
    """A model of lm-eval that says what `say(item, number of the sample)` gives, and counts no token that is not there.

    A thought is given as {"thought": words, "output": words}; a limit cuts it, words are its tokens.
    """
    from lm_eval.api.model import LM

    class TableLM(LM):  # type: ignore[misc]
        engine, seeds = "table", "none"

        def __init__(self) -> None:
            super().__init__()
            self.num_truncated = 0
            self.requests: list[Any] = []

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            self.num_truncated += num_truncated
            self.requests += requests
            seen: Counter[str] = Counter()
            return [self._said(request, seen) for request in requests]

        def _said(self, request: Any, seen: Counter[str]) -> str:
            context, settings = request.args
            name = f"{request.task_name}/{request.doc_id}"
            said = say(request.doc, seen[name])
            seen[name] += 1
            if isinstance(said, str):
                return said
            words, limit = said["thought"].split(" "), settings["max_thought_tokens"]
            return json.dumps(
                {
                    "thought": " ".join(words[:limit]),
                    "output": said["output"],
                    "hit_limit": len(words) > limit,
                    "num_prompt_tokens": len(context.split()),
                    "num_thought_tokens": min(len(words), limit),
                }
            )

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            self.num_truncated += num_truncated
            self.requests += requests
            return [(float(say(request.doc, request.idx)), False) for request in requests]

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            raise AssertionError("no whole texts here")

    return TableLM()


Place = tuple[str, int]
"""Subject, and which of its questions: some stand in MMLU twice, word for word."""


def stock_mmlu(
    model: Any, folder: Path, questions: list[Row], examples: list[Row], num_fewshot: int
) -> dict[Place, Row]:
    """The samples that lm-eval's own mmlu tasks log; their data alone is ours."""
    import lm_eval
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    specs = []
    for subject in sorted({question["subject"] for question in questions}):
        files = {}
        for split, rows in (("test", questions), ("dev", examples)):
            own = [row for row in rows if row["subject"] == subject]
            files[split] = write_rows(folder / f"{subject}-{split}.parquet", own)
        data = {"data_files": files, "cache_dir": str(folder / "cache")}
        specs.append(
            {"task": f"mmlu_{subject}", "dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": data}
        )
    tasks = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    results = simple_evaluate(
        model=model,
        tasks=[{"group": "own_data", "task": specs}],
        task_manager=TaskManager(include_defaults=False, include_path=str(tasks)),
        num_fewshot=num_fewshot,
        bootstrap_iters=0,
        log_samples=True,
    )
    return {
        (name.removeprefix("mmlu_"), int(sample["doc_id"])): sample
        for name, samples in results["samples"].items()
        for sample in samples
    }


def assert_same_choices(
    theirs: dict[Place, Row], questions: list[Row], ours: list[Row], item_id: Callable[[Row], str]
) -> None:
    """Question by question: the same log-probabilities, so the same choice and the same score."""
    assert len(theirs) == len(questions) == len(ours)
    of_item = {row["item_id"]: row for row in ours}
    seen: Counter[str] = Counter()
    for question in questions:
        subject = question["subject"]
        sample, own = theirs[subject, seen[subject]], of_item[item_id(question)]
        seen[subject] += 1
        assert sample["doc"]["question"] == question["question"]
        log_likelihoods = [float(responses[0][0]) for responses in sample["resps"]]
        assert own["log_likelihoods"] == pytest.approx(log_likelihoods, abs=1e-3)
        assert sample["acc"] == float(own["choice"] == own["answer"])
        assert own["answer"] == question["answer"]


def first_of_each(rows: list[Row], subjects: Iterable[str] | None, number: int) -> list[Row]:
    """The first so many rows of each subject."""
    own: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        own[row["subject"]].append(row)
    return [row for subject in subjects or sorted(own) for row in own[subject][:number]]
