"""The streaming feed with a real engine and student: SmolLM2-135M writes thoughts and is trained on them at once."""

from collections import Counter
from pathlib import Path

import pytest
from processes import rcpt
from run_folder import assert_adds_up, manifests, only_folder, rows

pytestmark = pytest.mark.slow


def test_vllm_and_deepspeed_run_in_one_job(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = rcpt(
        "train",
        "jobs/recipes/stream.yaml",
        f"run={run}",
        "student.reference=smollm2-135m-instruct",
        "thoughts.teacher.reference=smollm2-135m-instruct",
        "corpus.sources.stem.max_documents=10",
        "corpus.sources.law.max_documents=6",
        "corpus.heldout_share=0",
        "mixture.weights=null",
        "training.adapter={rank: 8, alpha: 16}",
        "training.stream.pool_rows=1",
        "cluster.num_cpus=2",
        timeout_s=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_adds_up(run)
    (training,), (thoughts,) = manifests(run, "training"), manifests(run, "thoughts")
    record = rows(only_folder(run, "training") / "record")
    drawn = Counter((piece["doc_id"], piece["start"]) for row in record for piece in row["pieces"])  # type: ignore[attr-defined]
    assert set(drawn.values()) == {1}
    assert training.counts.num_in == thoughts.counts.num_in == 16
    assert len({doc_id for doc_id, _ in drawn}) == training.counts.num_ok
    assert training.details["thoughts_at_first_step"] <= training.details["thoughts_at_end"]
    assert (only_folder(run, "training") / "model" / "model.safetensors").exists()
