"""The whole pipeline as a job on a Ray cluster with token authentication: real vLLM, DeepSpeed, lm-eval."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from browser import open_page
from processes import PROJECT, wait_until
from ray_cluster import RAY, ray_head
from run_folder import assert_adds_up, manifests, only_folder, rows

ARMS = ("base", "standard", "standard_tokens", "reasoning")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder that `ray job submit ... jobs/pipeline.py tiny.yaml` left, on a cluster of our own."""
    folder = tmp_path_factory.mktemp("job")
    run = folder / "run"
    with ray_head(folder) as head:
        submit = [
            RAY,
            "job",
            "submit",
            "--address",
            head.dashboard_url,
            "--working-dir",
            ".",
            "--",
            sys.executable,
            "jobs/pipeline.py",
            "jobs/recipes/tiny.yaml",
            f"run={run}",
        ]
        job = _submitted(submit, head.environment)
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    assert "report.html" in job.stdout
    return run


def test_every_stage_is_finished_and_adds_up(finished_run: Path) -> None:
    assert_adds_up(finished_run)
    assert [len(manifests(finished_run, stage)) for stage in ("thoughts", "select", "mixture")] == [1, 1, 3]
    assert [len(manifests(finished_run, stage)) for stage in ("training", "evaluation", "report")] == [3, 4, 1]


def test_thoughts_come_from_vllm_with_their_provenance(finished_run: Path) -> None:
    thoughts = rows(only_folder(finished_run, "thoughts"))
    assert {row["model"] for row in thoughts} == {"tiny-random-llama"}
    assert {row["finish_reason"] for row in thoughts} <= {"stop", "length"}
    assert all(0 < row["num_thought_tokens"] <= 32 for row in thoughts if row["status"] == "ok")
    assert all(row["num_prompt_tokens"] > row["num_text_tokens"] > 0 for row in thoughts)


def test_token_matched_control_has_the_tokens_of_reasoning(finished_run: Path) -> None:
    tokens = sorted(manifest.tokens["all"] for manifest in manifests(finished_run, "mixture"))
    longest_document = 1000
    assert tokens[2] - tokens[1] < longest_document
    assert tokens[0] < tokens[1]


def test_trained_models_differ_and_load(finished_run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models = [folder / "model" for folder in sorted((finished_run / "training").iterdir())]
    digests = {manifest.output_digest for manifest in manifests(finished_run, "training")}
    assert len(models) == len(digests) == 3
    for model in models:
        tokenizer = AutoTokenizer.from_pretrained(model)
        ids = tokenizer("A right is not a remedy.", return_tensors="pt").input_ids
        assert AutoModelForCausalLM.from_pretrained(model)(ids).logits.isfinite().all()


def test_scores_are_those_of_every_question_and_heldout_document(finished_run: Path) -> None:
    summary = json.loads((only_folder(finished_run, "report") / "summary.json").read_text())
    assert set(ARMS) <= set(summary.get("arms", summary))
    num_heldout = manifests(finished_run, "corpus")[0].details["num_heldout"]
    for manifest in manifests(finished_run, "evaluation"):
        quiz = manifest.details["tasks"]["quiz"]
        assert manifest.details["heldout"]["heldout"]["num_items"] == num_heldout
        assert manifest.counts.num_in == manifest.counts.num_ok == num_heldout + 60
        assert (quiz["num_items"], quiz["num_fewshot"], quiz["chance"], quiz["num_truncated"]) == (60, 1, 0.25, 0)


def test_report_page_of_the_run_opens_in_a_browser(finished_run: Path, tmp_path: Path) -> None:
    page = open_page(only_folder(finished_run, "report") / "report.html", tmp_path)
    assert all(arm in page.dom for arm in ARMS)
    assert page.dom.count("<svg") >= 4
    assert page.console == []


def _submitted(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The finished job; a cluster whose agent is not up yet refuses it, and is asked again."""
    answers: list[subprocess.CompletedProcess[str]] = []

    def was_taken() -> bool:
        answers.append(
            subprocess.run(
                command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
        )
        return "No available agent" not in answers[-1].stderr + answers[-1].stdout

    wait_until(was_taken, timeout_s=120)
    return answers[-1]
