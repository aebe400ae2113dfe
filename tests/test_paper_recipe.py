"""paper.yaml itself, with tiny models and local files in the columns of OpenWebMath and FreeLaw."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import PROJECT, rcpt
from run_folder import assert_adds_up, manifests, only_folder, rows

from rcpt_ray.corpus.reading.read import read_path


@pytest.mark.parametrize(
    ("arms", "num_trained"),
    [
        (["report.baseline=reasoning", "arms={reasoning: {}}"], 1),
        pytest.param([], 3, marks=pytest.mark.slow, id="all arms"),
    ],
)
def test_paper_recipe_runs_with_tiny_models_on_the_columns_of_its_corpora(
    arms: list[str], num_trained: int, tmp_path: Path
) -> None:
    _write_openwebmath(tmp_path / "openwebmath.parquet")
    _write_freelaw(tmp_path / "freelaw.jsonl")
    run = tmp_path / "run"
    ran = rcpt(
        "run",
        "jobs/recipes/paper.yaml",
        f"run={run}",
        f"corpus.sources.stem.path={tmp_path}/openwebmath.parquet",
        f"corpus.sources.law.path={tmp_path}/freelaw.jsonl",
        "corpus.shard_documents=8",
        "corpus.heldout_share=0.2",
        "student={reference: tiny-random-llama}",
        "thoughts.teacher={reference: tiny-random-llama}",
        "thoughts.engine=fake",  # a real one is started by other tests
        "thoughts.precision=fp32",
        "thoughts.max_model_tokens=2048",
        "thoughts.sampling.max_thought_tokens=48",
        "thoughts.pool={cpus_per_engine: 2}",
        "mixture.row_tokens=512",
        "training.precision=fp32",
        "training.adapter.rank=4",
        "training.global_batch_rows=4",
        "training.num_workers=2",
        "training.cpus_per_worker=1",
        "training.gpus_per_worker=0",
        "evaluation.tasks.quiz.max_questions=60",
        "evaluation.max_length_tokens=2048",
        "evaluation.cpus=2",
        "evaluation.gpus=0",
        "cluster={address: local}",
        "comparison={}",  # one training domain of both sources, for the sake of time
        *arms,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert_adds_up(run)
    corpus = manifests(run, "corpus")[0]
    # A document of one word over and over is cut into passages that repeat each other.
    assert corpus.counts.rejected == {"duplicate_text": 1, "near_duplicate": 1, "no_text": 1, "too_short": 1}
    assert {row["source"] for row in rows(only_folder(run, "corpus"), "part-train-*")} == {"stem", "law"}
    assert len(manifests(run, "training")) == num_trained
    for folder in (run / "training").iterdir():
        assert (folder / "adapter" / "adapter_config.json").exists()
        assert (folder / "model" / "model.safetensors").exists()
        assert "peft" not in json.loads((folder / "model" / "config.json").read_text())
    assert (only_folder(run, "report") / "report.html").exists()


def test_gpu_pins_exist_and_agree_with_those_of_the_cpu(tmp_path: Path) -> None:
    pins, pins_of_cpu = _pins("gpu.txt"), _pins("cpu.txt")
    wanted = [f"{name}=={pins[name]}" for name in ("vllm", "torch", "ray", "transformers", "deepspeed", "lm-eval")]
    chosen = _resolve(tmp_path, "--no-deps", *wanted)
    assert len(chosen) == len(wanted)
    shared = {"torch", "ray", "transformers", "deepspeed", "lm-eval", "peft", "numba", "pyarrow"}
    assert {name: pins[name] for name in shared} == {name: pins_of_cpu[name] for name in shared}


@pytest.mark.slow
def test_gpu_extra_resolves(tmp_path: Path) -> None:
    chosen, pins = _resolve(tmp_path, "-c", "requirements/gpu.txt", ".[gpu]"), _pins("gpu.txt")
    assert chosen["vllm"] == pins["vllm"]
    assert {name: version.split("+")[0] for name, version in chosen.items() if name in pins} == {
        name: version for name, version in pins.items() if name in chosen
    }


def _resolve(folder: Path, *arguments: str) -> dict[str, str]:
    """What `pip install --dry-run` would install: version by name."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += [f"--report={report}", *arguments]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    installed = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {_canonical(metadata["name"]): metadata["version"] for metadata in installed}


def _pins(name: str) -> dict[str, str]:
    lines = (PROJECT / "requirements" / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {_canonical(package): version for package, version in pairs}


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def _sample_texts(name: str) -> list[str]:
    return [record["text"] for record, _, _ in read_path("corpus", f"samples://corpus/{name}.jsonl")]


def _write_openwebmath(path: Path) -> None:
    """Columns of open-web-math/open-web-math: url, text, date, metadata (a JSON string)."""
    texts = [*_sample_texts("stem")[:12], "Too short.", "word " * 700]
    table = pa.table(
        {
            "url": [f"https://example.org/{index}" for index in range(len(texts))],
            "text": texts,
            "date": ["2023-01-01 00:00:00"] * len(texts),
            "metadata": [json.dumps({"extraction_info": {"found_math": True}})] * len(texts),
        }
    )
    pq.write_table(table, path)


def _write_freelaw(path: Path) -> None:
    """Columns of the Pile's FreeLaw: text, meta."""
    texts = [*_sample_texts("law")[:12], ""]
    lines = [json.dumps({"text": text, "meta": {"pile_set_name": "FreeLaw"}}) for text in texts]
    path.write_text("\n".join(lines), encoding="utf-8")
