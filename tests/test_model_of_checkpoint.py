"""The model made of a checkpoint is the one that the training would leave at that step, to the bit."""

from pathlib import Path
from typing import Any

import pytest
from watched_training import be_one_rank, make_job, make_mixture

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import text_tokenizer
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.model_out import save_checkpoint_model
from rcpt_ray.training.saved import CHECKPOINTS, whole_checkpoints

LAST_STEP = 4
LORA = {"rank": 4, "alpha": 8}
CASES: dict[str, dict[str, Any]] = {
    "full, ZeRO 0": {"zero_stage": 0},
    "full, ZeRO 1": {"zero_stage": 1},
    "full, ZeRO 3": {"zero_stage": 3},
    "adapters, added tokens, ZeRO 2": {"zero_stage": 2, "adapter": LORA},
    "full, added tokens": {"zero_stage": 2},
}


class FeedThatEnds(PackedFeed):
    """The packed feed up to a step, without having said that there would be no more."""

    def batches(self, step: int) -> list[Batch] | None:
        return super().batches(step) if step < LAST_STEP else None


def with_added_tokens(job: TrainingJob, folder: Path) -> TrainingJob:
    spec = MixtureSpec(delimiters="special", thought_open="<why>", thought_close="</why>")
    text_tokenizer(job.model_path, spec, save_to=folder)
    tokens = {"tokenizer_path": str(folder), "special_tokens": ("<why>", "</why>")}
    return TrainingJob(**{**vars(job), **tokens})


def files_of(folder: Path) -> dict[str, bytes]:
    """What transformers reads."""
    told = {"README.md", "provenance.json"}
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in told}


def base_in_fp32(model: Path, folder: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    auto: Any = AutoModelForCausalLM
    tokenizers: Any = AutoTokenizer
    auto.from_pretrained(model, dtype=torch.float32).save_pretrained(folder)
    tokenizers.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("case", "base"), [(case, "fp32") for case in CASES] + [("full, ZeRO 1", "bf16")], ids=" ".join
)
def test_a_checkpoint_is_the_model_of_its_step(case: str, base: str, tiny_model_folder: Path, tmp_path: Path) -> None:
    """Trained in bf16: of a base in fp32 the optimizer's weights are saved, not those rounded for the passes."""
    model = tiny_model_folder if base == "bf16" else base_in_fp32(tiny_model_folder, tmp_path / "base")
    adds_tokens = "added" in case
    parts = make_mixture(tmp_path, delimiters=(1024, 1025) if adds_tokens else (300, 301))
    settings = {"precision": "bf16", "checkpoint_every_steps": 2, "learning_rate": 1e-2} | CASES[case]
    job = make_job(tmp_path / "job", model, parts, **settings)
    if adds_tokens:
        job = with_added_tokens(job, tmp_path / "tokenizer")
    be_one_rank()
    train(job, 0, FeedThatEnds(job.mixture_parts, job.plan, 0))
    saved = whole_checkpoints(job.folder / CHECKPOINTS)[-1]
    assert saved.steps_done == LAST_STEP
    save_checkpoint_model(job, saved, tmp_path / "made")
    left, made = files_of(job.folder / "model"), files_of(tmp_path / "made")
    assert left.keys() == made.keys() and "model.safetensors" in left
    assert [name for name in left if left[name] != made[name]] == []
    save_checkpoint_model(job, None, tmp_path / "begun")
    assert files_of(tmp_path / "begun")["model.safetensors"] != made["model.safetensors"]


def test_a_base_in_fp32_keeps_what_bf16_would_round(tiny_model_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = base_in_fp32(tiny_model_folder, tmp_path / "base")
    job = make_job(tmp_path / "job", model, make_mixture(tmp_path, 12), precision="bf16", learning_rate=1e-3)
    be_one_rank()
    train(job, 0)
    weight = load_file(job.folder / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert not weight.equal(weight.bfloat16().float())
