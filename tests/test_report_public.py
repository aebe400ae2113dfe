"""What a report writes down holds names, and never where things were on a machine."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_fixtures import make_arm, make_inputs, make_recipe

from rcpt_ray.records import SCORE
from rcpt_ray.report.public import public_recipe, public_words
from rcpt_ray.report.write import write_report


@pytest.mark.parametrize(
    ("words", "public"),
    [
        ("corpus.sources.web.path=/srv/data/web.jsonl is missing", "corpus.sources.web.path=web.jsonl is missing"),
        ("No space left on device: '/home/me/runs/a/training/x'", "No space left on device: 'RUN/training/x'"),
        ("/home/me/runs/a: full", "RUN: full"),
        ("runs/a/evaluation is gone", "RUN/evaluation is gone"),
        ("/home/me/runs/a2 is another run", "a2 is another run"),
        ("~/models/tiny/ and ../tiny and file:///srv/tiny", "tiny and tiny and tiny"),
        ("web/raw, tokens/s, </think>, s3://bucket/key", "web/raw, tokens/s, </think>, s3://bucket/key"),
        ("owner/name (revision 1a2b, https://hub/owner/name)", "owner/name (revision 1a2b, https://hub/owner/name)"),
    ],
)
def test_paths_in_sentences(words: str, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcpt_ray.report.public.run_path", lambda path: Path("/home/me") / path)
    assert public_words(words, "runs/a") == public
    assert public_words(public, "runs/a") == public


def test_settings_that_are_no_paths_stay_and_once_is_enough() -> None:
    recipe = make_recipe(
        student={"reference": "owner/model"},
        mixture={"thought_open": "<think>\n", "thought_close": "\n</think>\n"},
        corpus={"sources": {"web": {"path": "hf://owner/data", "domain": "stem"}}},
    ).model_dump(mode="json")
    public = public_recipe(recipe)
    assert public == public_recipe(public)
    assert public | {"run": recipe["run"], "cluster": recipe["cluster"]} == recipe


def test_no_path_of_the_machine_is_written(tmp_path: Path) -> None:
    """Paths of every kind that a recipe may have, a cluster's address, and a failure that tells of a file."""
    recipe = make_recipe(
        run=str(tmp_path / "secret-user" / "run"),
        student={"reference": str(tmp_path / "secret-user" / "student")},
        thoughts={"teacher": {"reference": "~/secret-user/teacher"}},
        corpus={"sources": {"web": {"path": "../secret-user/web/*.jsonl", "domain": "stem"}}},
        evaluation={
            "tasks": {
                "quiz": {"path": "/secret-user/quiz.jsonl", "examples_path": "./secret-user/dev.jsonl"},
                "mmlu": {"kind": "stock", "name": "mmlu", "data": {"test": "/secret-user/mmlu.parquet"}},
            }
        },
        cluster={"address": "secret-user-head:6379"},
    )
    why = f"FileNotFoundError: {tmp_path}/secret-user/run/training/0a1b/model, nor /secret-user/other"
    failed = replace(make_arm("reasoning"), scores=SCORE.empty_table(), evaluation=None, failure=why)
    inputs = make_inputs(
        recipe=recipe,
        student=f"{tmp_path}/secret-user/student (local, not instruction-tuned)",
        teacher="~/secret-user/teacher (local, instruction-tuned)",
        arms=[make_arm("base"), make_arm("standard"), failed],
    )
    write_report(inputs, tmp_path / "report")
    for name in ("report.html", "report.md", "inputs.json"):
        written = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert "secret-user" not in written and str(tmp_path) not in written
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "reasoning failed: FileNotFoundError: RUN/training/0a1b/model, nor other." in markdown
    assert "Student: student (local, not instruction-tuned)." in markdown
    assert "path: quiz.jsonl" in markdown and "path: '*.jsonl'" in markdown and "test: mmlu.parquet" in markdown
