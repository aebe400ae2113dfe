"""The model that a training leaves: what was trained, in the base's number format, by itself and merged."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from watched_training import be_one_rank, make_job, make_mixture, trained

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import text_tokenizer
from rcpt_ray.training.attempt import Attempt
from rcpt_ray.training.head import add_losses
from rcpt_ray.training.heldout import HeldoutMeter, mean_bits
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_out import base_dtype, save_best
from rcpt_ray.training.row_file import read_rows

LORA = {"rank": 4, "alpha": 8}
MEASURED = {"heldout_every_steps": 100}


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def last_bits(job: TrainingJob) -> list[float]:
    """Held-out bits per byte as they were measured in the training after its last step."""
    rows = read_rows(job.folder / "heldout.jsonl")
    return [row["bits_per_byte"] for row in rows if row["step"] == job.plan.num_steps]


def bits_of(model: Any, job: TrainingJob) -> list[float]:
    be_one_rank()
    add_losses(model, "torch")
    return [row["bits_per_byte"] for row in HeldoutMeter(job, 0).measure(model, 0)]


def loaded(folder: Path, dtype: str = "auto") -> Any:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def other_format(model: Path, folder: Path, dtype: str) -> Path:
    """The model with weights of another number format."""
    import torch
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    loaded(model).to(getattr(torch, dtype)).save_pretrained(folder)
    auto.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_the_saved_model_is_the_one_that_was_trained(
    zero_stage: int, tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    job = make_job(
        tmp_path / "job",
        tiny_model_folder,
        *inputs,
        precision="bf16",
        attention="eager",
        zero_stage=zero_stage,
        watch=MEASURED,
    )
    model = loaded(trained(job) / "model")
    assert bits_of(model, job) == last_bits(job)
    assert sum(last_bits(job)) < sum(bits_of(loaded(tiny_model_folder), job))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "lm_head.weight" not in weights_of(job.folder / "model"), "tied weights stand once"


@pytest.mark.parametrize(("base", "precision"), [("bfloat16", "fp32"), ("float32", "bf16")])
def test_weights_are_saved_in_the_format_of_the_base(
    base: str, precision: str, tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    model = other_format(tiny_model_folder, tmp_path / "base", base)
    for name, adapter in (("full", None), ("lora", LORA)):
        job = make_job(tmp_path / name, model, inputs[0], precision=precision, adapter=adapter)
        weights = weights_of(trained(job) / "model")
        assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{base}"}
        assert json.loads((job.folder / "model" / "config.json").read_text())["dtype"] == base


def test_a_format_that_the_config_does_not_name_is_read_from_the_weights(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    assert base_dtype(tiny_model_folder) == "bfloat16"
    shutil.copytree(tiny_model_folder, tmp_path / "silent")
    config = json.loads((tmp_path / "silent" / "config.json").read_text())
    del config["dtype"]
    (tmp_path / "silent" / "config.json").write_text(json.dumps(config))
    assert base_dtype(tmp_path / "silent") == "bfloat16"


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_adapters_stand_by_themselves_and_merged_with_one_rounding(
    zero_stage: int, tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel

    job = make_job(
        tmp_path / "job",
        tiny_model_folder,
        *inputs,
        precision="bf16",
        attention="eager",
        learning_rate=1e-2,
        zero_stage=zero_stage,
        adapter=LORA,
        watch=MEASURED,
    )
    folder = trained(job)
    with_adapter = PeftModel.from_pretrained(loaded(tiny_model_folder), folder / "adapter")
    assert bits_of(with_adapter, job) == pytest.approx(last_bits(job), rel=1e-2)
    assert sum(last_bits(job)) < sum(bits_of(loaded(tiny_model_folder), job))
    base, merged, adapter = (weights_of(place) for place in (tiny_model_folder, folder / "model", folder / "adapter"))
    assert set(merged) == set(base)
    for name in base:
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{layer}.lora_A.weight" in adapter:
            down, up = (adapter[f"{layer}.lora_{which}.weight"].float() for which in "AB")
            assert up.abs().max() > 0
            assert torch.equal(merged[name], (base[name].float() + 2.0 * (up @ down)).bfloat16())
        else:
            assert torch.equal(merged[name], base[name])
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("example/tiny", "abc")
    assert config["target_modules"] == sorted(config["target_modules"])


@pytest.mark.parametrize("adapter", [None, LORA])
def test_the_best_checkpoint_is_kept_as_a_model(
    adapter: dict[str, Any] | None, tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    """A learning rate that spoils the whole model soon; the adapters of a random model can do no such harm."""
    job = make_job(
        tmp_path / "job",
        tiny_model_folder,
        *inputs,
        adapter=adapter,
        num_epochs=2,
        learning_rate=0.9,
        warmup_share=1.0,
        max_grad_norm=100.0,
        checkpoint_every_steps=2,
        keep_best_checkpoint=True,
        watch={**MEASURED, "heldout_every_steps": 1},
        guard={"loss_spike": None},
    )
    folder = trained(job)
    rows = read_rows(folder / "heldout.jsonl")
    scores = {row["step"]: mean_bits([one for one in rows if one["step"] == row["step"]]) for row in rows}
    end = max(scores)
    saved = {step: score for step, score in scores.items() if step % 2 == 0 and 0 < step < end}
    best = min(saved, key=lambda step: (saved[step], step))
    assert (folder / "best").exists() == (saved[best] < scores[end])
    save_best(job, Attempt.newest(folder / "checkpoints"), score=math.inf)
    told = json.loads((folder / "best" / "provenance.json").read_text())
    assert (told["steps_done"], told["heldout_bits_per_byte"]) == (best, saved[best])
    bits = bits_of(loaded(folder / "best"), job)
    assert sum(bits) / len(bits) == pytest.approx(saved[best], rel=2e-2), "saved in the base's bf16"


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_rows_of_added_tokens_are_kept_when_adapters_are_merged(
    zero_stage: int, tiny_model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    spec = MixtureSpec(delimiters="special", thought_open="<why>", thought_close="</why>")
    text_tokenizer(str(tiny_model_folder), spec, save_to=tmp_path / "tokenizer")
    job = make_job(
        tmp_path / "job",
        tiny_model_folder,
        make_mixture(tmp_path, 12, (1024, 1025)),
        adapter=LORA,
        zero_stage=zero_stage,
    )
    job = TrainingJob(
        **{**vars(job), "tokenizer_path": str(tmp_path / "tokenizer"), "special_tokens": ("<why>", "</why>")}
    )
    folder = trained(job)
    for place in ("model", "adapter"):
        tokenizer = auto.from_pretrained(folder / place)
        assert tokenizer.convert_tokens_to_ids(["<why>", "</why>"]) == [1024, 1025]
    rows = weights_of(folder / "model")["model.embed_tokens.weight"]
    assert rows.shape[0] == 1026 and not rows[1024].equal(rows[1025]), "both began as the same mean, then were trained"
