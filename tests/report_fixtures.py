"""Inputs of reports made by hand. No figure in them was measured.

`make_inputs` is a run of four arms, 40 questions and 24 held-out documents; `make_comparison` a whole comparison of
five arms over training domains and seeds, with generated answers and checkpoints, as large as it is asked to be.
"""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from rcpt_ray.artifacts import Counts, Manifest
from rcpt_ray.recipe import Recipe, recipe_from
from rcpt_ray.records import ANSWER, EVALUATED, HELDOUT_BITS, SCORE, STEP
from rcpt_ray.report.inputs import ArmResult, ReportInputs

ARMS = ("base", "standard", "standard_tokens", "reasoning")
TIERS = ("easy", "medium", "hard", "very_hard")
CATEGORIES = ("STEM", "humanities", "social sciences", "other")
HOSTILE = "Let me see. <script>alert(1)</script> & </pre> ```\n# not a heading\n<img src=x onerror=alert(2)>"
CHANCE = {"tasks": {"quiz": {"kind": "likelihood", "num_items": 40, "chance": 0.25}}}

_BITS_GAINED = {"base": 0.0, "standard": 0.05, "standard_tokens": 0.06, "reasoning": 0.04}
_NUM_RIGHT = {"base": 11, "standard": 12, "standard_tokens": 10, "reasoning": 13}


def make_recipe(**changed: Any) -> Recipe:
    """A recipe of four arms in which a small model teaches itself."""
    values: dict[str, Any] = {
        "name": "small-demo",
        "run": "runs/small-demo",
        "student": {"reference": "example/tiny-instruct", "instruction_tuned": True},
        "corpus": {"sources": {"web": {"path": "web.jsonl", "domain": "stem"}}},
        "thoughts": {"teacher": {"reference": "example/tiny-instruct", "instruction_tuned": True}},
        "evaluation": {"tasks": {"quiz": {"path": "quiz.jsonl"}}},
        "arms": {
            "base": {"train": False, "description": "the student as it is"},
            "standard": {"description": "the same texts alone", "overrides": {"mixture.layout": "text_only"}},
            "standard_tokens": {
                "description": "texts alone, as many tokens as reasoning",
                "overrides": {"mixture.layout": "text_only", "mixture.match_tokens_of": "reasoning"},
            },
            "reasoning": {"description": "thought, then text"},
        },
    }
    return recipe_from(values | changed)


def make_manifest(stage: str, **changed: Any) -> Manifest:
    """A manifest of ten rows, of which one was rejected."""
    values: dict[str, Any] = {
        "stage": stage,
        "fingerprint": f"{stage[:4]}00112233445566"[:16],
        "stage_version": 1,
        "inputs": {},
        "config": {},
        "counts": Counts(unit="document", num_in=10, num_ok=9, rejected={"too_short": 1}),
        "tokens": {"all": 12_345},
        "output_digest": "0" * 64,
        "seconds": 12.3,
        "throughput": {"tokens_per_s": 250.5},
        "hardware": {"num_cpus": 2, "gpus": [], "memory_gib": 23.5},
        "versions": {"rcpt_ray": "0.1.0", "ray": "2.60.0"},
    }
    return Manifest(**(values | changed))


def make_scores(name: str, num_questions: int = 40, num_documents: int = 24) -> pa.Table:
    """Scores of one arm over the same questions and documents for every arm, with a little noise of its own."""
    noise = np.random.default_rng(ARMS.index(name))
    questions = [
        {
            "task": "quiz",
            "item_id": f"q{index:03d}",
            "category": "",
            "domain": ("stem", "law")[index % 2],
            "subject": "logic",
            "difficulty": TIERS[index % 4],
            "metric": "acc",
            "value": float((index * 7 + ARMS.index(name)) % num_questions < _NUM_RIGHT[name]),
            "weight": 1.0,
        }
        for index in range(num_questions)
    ]
    documents = [
        {
            "task": "heldout",
            "item_id": f"d{index:03d}",
            "category": "",
            "domain": ("stem", "law")[index % 2],
            "subject": "",
            "difficulty": "",
            "metric": "bits_per_byte",
            "value": 1.1 + 0.2 * math.sin(index) - _BITS_GAINED[name] + 0.01 * noise.standard_normal(),
            "weight": 500.0 + 40.0 * index,
        }
        for index in range(num_documents)
    ]
    return pa.Table.from_pylist(questions + documents, schema=SCORE)


def make_steps(place: int, num_steps: int = 30, has_thoughts: bool = False) -> pa.Table:
    """A falling loss; 4,096 tokens a step."""
    losses = [2.0 + 1.2 * math.exp(-step / 8) + 0.04 * math.sin(3 * step + place) for step in range(num_steps)]
    rows = [
        {
            "step": step + 1,
            "loss": loss - 0.4 * has_thoughts,
            "loss_text": loss if has_thoughts else None,
            "loss_thought": loss - 0.8 if has_thoughts else None,
            "grad_norm": 1.0 + 0.2 * math.cos(step),
            "learning_rate": 1e-4,
            "num_tokens": 4096,
            "tokens_per_s": 4096 / (3.0 + 0.1 * math.sin(step)),
            "mfu": 0.35,
            "memory_bytes": (3 << 30) + (step << 20),
            "seconds": 3.0 + 0.1 * math.sin(step),
            "overhead_seconds": 0.02,
            "wait_seconds": 0.01,
            "pause_seconds": 0.0,
        }
        for step, loss in enumerate(losses)
    ]
    return pa.Table.from_pylist(rows, schema=STEP)


def make_heldout(place: int, num_steps: int = 30) -> pa.Table:
    """Two domains measured four times."""
    rows = [
        {
            "step": step,
            "domain": domain,
            "bits_per_byte": start - 0.002 * step - 0.01 * place,
            "num_documents": 12,
            "num_bytes": 9000,
            "seconds": 1.5,
        }
        for step in range(0, num_steps + 1, 10)
        for domain, start in (("law", 1.2), ("stem", 1.0))
    ]
    return pa.Table.from_pylist(rows, schema=HELDOUT_BITS)


def make_evaluated(place: int, num_steps: int = 30) -> pa.Table:
    """Accuracy and bits per byte of four checkpoints."""
    rows = [
        {
            "step": step,
            "task": task,
            "metric": metric,
            "group": group,
            "value": start + slope * step + 0.01 * place,
            "standard_error": 0.02,
            "num_items": 40,
            "seconds": 3.0,
        }
        for step in range(0, num_steps + 1, 10)
        for task, metric, start, slope in (("quiz", "acc", 0.25, 0.004), ("heldout", "bits_per_byte", 1.1, -0.002))
        for group in ("all", "stem")
    ]
    return pa.Table.from_pylist(rows, schema=EVALUATED)


def make_arm(name: str) -> ArmResult:
    """One arm with everything that it has in a finished run."""
    place = ARMS.index(name)
    description = make_recipe().arms[name].description
    evaluation = make_manifest(
        "evaluation",
        fingerprint=f"{place}a" * 8,
        counts=_all_ok("item", 64),
        details=CHANCE,
        cost=0.25,
        inputs={"quiz/questions": "a"},
    )
    if name == "base":
        return ArmResult(name=name, arm=name, description=description, evaluation=evaluation, scores=make_scores(name))
    num_steps = 20 if name == "standard" else 30
    return ArmResult(
        name=name,
        arm=name,
        seed=17,
        description=description,
        evaluation=evaluation,
        scores=make_scores(name),
        mixture=make_mixture(place, name == "reasoning"),
        training=make_training(place),
        steps=make_steps(place, num_steps, name == "reasoning"),
        heldout=make_heldout(place, num_steps),
    )


def make_mixture(place: int, of_thoughts: bool) -> Manifest:
    """A mixture that comes near its target."""
    components = {"web/thought": 1.0} if of_thoughts else {"web/raw": 0.7, "law/raw": 0.3}
    details = {
        "target": components,
        "achieved": {component: share - 0.001 for component, share in components.items()},
        "num_rows": 240,
        "row_tokens": 512,
        "padding_share": 0.0123,
        "num_draws": 18,
    }
    return make_manifest("mixture", fingerprint=f"{place:x}b" * 8, details=details)


def make_training(place: int) -> Manifest:
    """A training of one epoch."""
    counts = _all_ok("packed row read", 240)
    return make_manifest("training", fingerprint=f"{place:x}c" * 8, counts=counts, details={"num_epochs": 1})


def make_inputs(**changed: Any) -> ReportInputs:
    """A whole report's inputs; `changed` replaces fields."""
    values: dict[str, Any] = {
        "recipe": make_recipe(),
        "student": "example/tiny-instruct, revision 0123abc",
        "teacher": "example/tiny-instruct, revision 0123abc, instruction-tuned",
        "corpus": make_manifest("corpus"),
        "thoughts": make_manifest(
            "thoughts",
            counts=Counts(
                unit="doc_id with sample_index", num_in=200, num_ok=188, rejected={"too_long": 9, "empty_thought": 3}
            ),
            versions={"rcpt_ray": "0.1.0", "ray": "2.60.0", "vllm": "0.32.0"},
            details={"gpu_hours": 1.5},
            cost=3.0,
        ),
        "select": make_manifest("select"),
        "thought_tokens": [40 + (index * 37) % 300 for index in range(180)],
        "examples": [_example("web-1", "First I recall what a prime is. " * 12), _example("web-2", HOSTILE)],
        "arms": [make_arm(name) for name in ARMS],
    }
    return ReportInputs(**(values | changed))


def make_comparison(
    num_questions: int = 570,
    domains: tuple[str, ...] = ("stem", "law", "both"),
    seeds: tuple[int, ...] = (17, 18, 19),
    num_answered: int = 120,
    failed: str = "",
) -> ReportInputs:
    """Five arms over training domains and seeds: 57 subjects, likelihood and generated questions, four samples each.

    Planted: reasoning gains 0, 0.02, 0.05 and 0.10 from easy to very hard over standard CPT, 0.03 more in the
    categories of its own domain, and thinks 40 to 160 tokens by tier. `failed` is a variant without an evaluation.
    """
    recipe = make_recipe(
        name="comparison",
        evaluation={
            "tasks": {"mmlu": {"path": "mmlu.parquet"}, "thinking": {"kind": "generated", "path": "mmlu.parquet"}}
        },
        arms={
            "base": {"train": False, "description": "the student as it is"},
            "standard": {"description": "standard CPT", "overrides": {"mixture.layout": "text_only"}},
            "standard_tokens": {
                "description": "standard CPT with the tokens of reasoning",
                "overrides": {"mixture.layout": "text_only", "mixture.match_tokens_of": "reasoning"},
            },
            "paraphrase": {"description": "the texts in other words", "overrides": {"mixture.layout": "paraphrase"}},
            "reasoning": {"description": "Reasoning CPT"},
        },
    )
    variants = [("base", "", 0)]
    variants += [(arm, domain, seed) for arm in list(recipe.arms)[1:] for domain in domains or ("",) for seed in seeds]
    arms = []
    for place, (arm, domain, seed) in enumerate(variants):
        ending = f".s{seed}" if len(seeds) > 1 and arm != "base" else ""
        name = arm + (f".{domain}" if domain else "") + ending
        arms.append(_variant(recipe, place, name, (arm, domain, seed), num_questions, num_answered, name == failed))
    examples = [_example(f"web-{number}", "First I recall what a prime is. " * (number + 1)) for number in range(10)]
    return make_inputs(recipe=recipe, arms=arms, examples=examples)


def _variant(
    recipe: Recipe,
    place: int,
    name: str,
    of: tuple[str, str, int],
    num_questions: int,
    num_answered: int,
    failed: bool,
) -> ArmResult:
    arm, domain, seed = of
    chance = {"tasks": {task: {"chance": 0.25} for task in ("mmlu", "thinking")}}
    evaluation = make_manifest("evaluation", fingerprint=f"{place:02x}" * 8, counts=_all_ok("item", 64), details=chance)
    trained = arm != "base"
    answers = _answers(arm, place, num_answered)
    scores = [_questions(arm, domain, place, num_questions), _documents(arm, domain, place), _sampled(answers)]
    return ArmResult(
        name=name,
        arm=arm,
        training_domain=domain,
        seed=seed,
        description=recipe.arms[arm].description,
        evaluation=None if failed else evaluation,
        scores=SCORE.empty_table() if failed else pa.concat_tables(scores),
        answers=None if failed else answers,
        evaluated=make_evaluated(place) if trained else None,
        failure="the loss became NaN in step 12" if failed else "",
        mixture=make_mixture(place, arm == "reasoning") if trained else None,
        training=make_training(place) if trained and not failed else None,
        steps=make_steps(place, has_thoughts=arm == "reasoning") if trained and not failed else None,
        heldout=make_heldout(place) if trained and not failed else None,
    )


def _questions(arm: str, domain: str, place: int, number: int) -> pa.Table:
    index = np.arange(number)
    subject, tier = index % 57, (index // 57 + index) % 4
    item, own, seeds = np.random.default_rng(1).random(number), np.random.default_rng([2, place]), [3, place]
    category = subject % 4
    chances = np.array([0.85, 0.65, 0.45, 0.3])[tier]
    gained = np.array([0.0, 0.02, 0.05, 0.10])[tier] if arm == "reasoning" else np.zeros(number)
    home = {"stem": category == 0, "law": category == 1, "both": category < 2}.get(domain, category < 0)
    gained = gained + 0.03 * home * (arm == "reasoning")
    gained = gained + 0.005 * np.random.default_rng(seeds).standard_normal()
    right = np.where(own.random(number) < 0.15, own.random(number), item) < chances + gained
    return pa.table(
        {
            "task": pa.repeat("mmlu", number),
            "item_id": _text("q", index),
            "category": pa.array(np.array(CATEGORIES, object)[category]),
            "domain": pa.repeat("", number),
            "subject": pa.array(np.array([f"subject_{n:02d}" for n in range(57)], object)[subject]),
            "difficulty": pa.array(np.array(TIERS, object)[tier]),
            "metric": pa.repeat("acc", number),
            "value": right.astype(np.float64),
            "weight": np.ones(number),
        },
        schema=SCORE,
    )


def _documents(arm: str, domain: str, place: int, number: int = 60) -> pa.Table:
    noise = np.random.default_rng([4, place])
    index = np.arange(number)
    metrics = {
        "bits_per_byte": 1.1 + 0.2 * np.sin(index) - 0.04 * (arm != "base") - 0.02 * (domain == "both"),
        "thought_nats": 2.5 + 0.1 * np.cos(index) - 0.8 * (arm == "reasoning"),
        "gain": 0.05 + 0.01 * np.sin(index) + 0.05 * (arm == "reasoning"),
    }
    return pa.concat_tables(
        pa.table(
            {
                "task": pa.repeat("heldout", number),
                "item_id": _text("d", index),
                "category": pa.repeat("", number),
                "domain": pa.array(np.array(["stem", "law"], object)[index % 2]),
                "subject": pa.repeat("", number),
                "difficulty": pa.repeat("", number),
                "metric": pa.repeat(metric, number),
                "value": values + 0.01 * noise.standard_normal(number) + 0.004 * noise.standard_normal(),
                "weight": 500.0 + 40.0 * index,
            },
            schema=SCORE,
        )
        for metric, values in metrics.items()
    )


def _answers(arm: str, place: int, number: int, num_samples: int = 4) -> pa.Table:
    drawn = np.random.default_rng([5, place])
    index = np.repeat(np.arange(number), num_samples)
    tier = index % 4
    length = np.array([40, 70, 110, 160])[tier] if arm == "reasoning" else np.full(len(index), 60)
    length = np.maximum(5, length + drawn.integers(-20, 20, len(index)))
    right = drawn.random(len(index)) < np.array([0.8, 0.6, 0.4, 0.3])[tier]
    words = np.array(["prime", "so", "therefore", "recall", "divisor", "check", "because", "number"], object)
    thoughts = [" ".join(words[drawn.integers(0, len(words), own // 4)]) + "." for own in length]
    letters = np.where(right, "A", np.array(["B", "C", "D"])[drawn.integers(0, 3, len(index))]).astype(object)
    letters[drawn.random(len(index)) < 0.05] = None
    return pa.table(
        {
            "task": pa.repeat("thinking", len(index)),
            "item_id": _text("q", index),
            "sample_index": pa.array(np.tile(np.arange(num_samples), number), pa.int32()),
            "category": pa.array(np.array(CATEGORIES, object)[index % 57 % 4]),
            "domain": pa.repeat("", len(index)),
            "subject": pa.repeat("logic", len(index)),
            "difficulty": pa.array(np.array(TIERS, object)[tier]),
            "thought": pa.array(thoughts),
            "output": pa.array([f" {letter or 'no idea'}" for letter in letters]),
            "answer": pa.array(letters.tolist(), pa.string()),
            "right": right & (letters == "A"),
            "hit_limit": length > 170,
            "num_prompt_tokens": pa.array(np.full(len(index), 120), pa.int32()),
            "num_thought_tokens": pa.array(length, pa.int32()),
            "num_thought_sentences": pa.array(length // 15 + 1, pa.int32()),
        },
        schema=ANSWER,
    )


def _sampled(answers: pa.Table, num_samples: int = 4) -> pa.Table:
    """Scores of answers whose samples of a question follow each other."""
    first = answers.take(pa.array(range(0, len(answers), num_samples)))
    right = answers["right"].to_numpy().reshape(-1, num_samples)
    found = ~answers["answer"].is_null().to_numpy().reshape(-1, num_samples)
    missed = {
        k: np.array([math.comb(num_samples - c, k) / math.comb(num_samples, k) for c in right.sum(1)])
        for k in (1, 2, 4)
    }
    metrics = {
        "acc": right.mean(1),
        **{f"pass@{k}": 1.0 - share for k, share in missed.items()},
        "maj@4": (right.sum(1) >= 2).astype(np.float64),
        "extracted": found.mean(1),
    }
    shared = {name: first[name] for name in ("task", "item_id", "category", "domain", "subject", "difficulty")}
    ones = np.ones(len(first))
    return pa.concat_tables(
        pa.table(shared | {"metric": pa.repeat(metric, len(first)), "value": values, "weight": ones}, schema=SCORE)
        for metric, values in metrics.items()
    )


def _text(letter: str, index: Any) -> pa.Array:
    return pa.array([f"{letter}{number:05d}" for number in index.tolist()])


def _example(doc_id: str, thought: str) -> dict[str, object]:
    return {
        "doc_id": doc_id,
        "source": "web",
        "domain": "stem",
        "text": "A prime has exactly two divisors. Every number above 1 is a product of primes.\n\n" * 6,
        "thought": thought,
        "status": "ok",
        "reason": "",
        "finish_reason": "stop",
        "num_text_tokens": 120,
        "num_thought_tokens": 96,
    }


def _all_ok(unit: str, number: int) -> Counts:
    return Counts(unit=unit, num_in=number, num_ok=number)
