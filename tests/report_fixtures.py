"""Inputs of a report made by hand: four arms, 40 questions, 24 held-out documents. No figure in it was measured."""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from rcpt_ray.artifacts import Counts, Manifest
from rcpt_ray.recipe import Recipe, recipe_from
from rcpt_ray.records import HELDOUT_BITS, SCORE, STEP
from rcpt_ray.report.inputs import ArmResult, ReportInputs

ARMS = ("base", "standard", "standard_tokens", "reasoning")
HOSTILE = "Let me see. <script>alert(1)</script> & </pre> ```\n# not a heading\n<img src=x onerror=alert(2)>"

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
            "domain": ("stem", "law")[index % 2],
            "subject": "logic",
            "difficulty": ("easy", "medium", "hard", "very_hard")[index % 4],
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


def make_steps(name: str, num_steps: int = 30) -> pa.Table:
    """A falling loss; 4,096 tokens a step."""
    has_thoughts = name == "reasoning"
    losses = [
        2.0 + 1.2 * math.exp(-step / 8) + 0.04 * math.sin(3 * step + ARMS.index(name)) for step in range(num_steps)
    ]
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


def make_heldout(name: str, num_steps: int = 30) -> pa.Table:
    """Two domains measured four times."""
    rows = [
        {
            "step": step,
            "domain": domain,
            "bits_per_byte": start - 0.002 * step - 0.01 * ARMS.index(name),
            "num_documents": 12,
            "num_bytes": 9000,
            "seconds": 1.5,
        }
        for step in range(0, num_steps + 1, 10)
        for domain, start in (("law", 1.2), ("stem", 1.0))
    ]
    return pa.Table.from_pylist(rows, schema=HELDOUT_BITS)


def make_arm(name: str) -> ArmResult:
    """One arm with everything that it has in a finished run."""
    description = make_recipe().arms[name].description
    evaluation = make_manifest("evaluation", fingerprint=f"{ARMS.index(name)}a" * 8, counts=_all_ok("item", 64))
    if name == "base":
        return ArmResult(name, description, evaluation, make_scores(name))
    components = {"web/thought": 1.0} if name == "reasoning" else {"web/raw": 0.7, "law/raw": 0.3}
    details = {
        "target": components,
        "achieved": {component: share - 0.001 for component, share in components.items()},
        "num_rows": 240,
        "row_tokens": 512,
        "padding_share": 0.0123,
        "num_draws": 18,
    }
    return ArmResult(
        name,
        description,
        evaluation,
        make_scores(name),
        make_manifest("mixture", fingerprint=f"{ARMS.index(name)}b" * 8, details=details),
        make_manifest(
            "training",
            fingerprint=f"{ARMS.index(name)}c" * 8,
            counts=_all_ok("packed row read", 240),
            details={"num_epochs": 1},
        ),
        make_steps(name, num_steps=20 if name == "standard" else 30),
        make_heldout(name, num_steps=20 if name == "standard" else 30),
    )


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
        ),
        "select": make_manifest("select"),
        "thought_tokens": [40 + (index * 37) % 300 for index in range(180)],
        "examples": [_example("web-1", "First I recall what a prime is. " * 12), _example("web-2", HOSTILE)],
        "arms": [make_arm(name) for name in ARMS],
    }
    return ReportInputs(**(values | changed))


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
