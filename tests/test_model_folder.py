"""The folder of a trained model: shards, card, template and settings, and that others can read it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from watched_training import make_job, make_mixture, trained

from rcpt_ray.models import resolve_model
from rcpt_ray.training import model_out
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_card import public_name
from rcpt_ray.training.row_file import read_rows

LORA = {"rank": 4, "alpha": 8}
MEASURED = {"heldout_every_steps": 100}


def loaded(folder: Path, dtype: str = "auto") -> Any:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=dtype, attn_implementation="eager")


def test_a_large_model_is_saved_in_shards(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_out, "_MAX_SHARD", "150KB")
    folder = trained(make_job(tmp_path / "job", tiny_model_folder, inputs[0])) / "model"
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    assert resolve_model(str(folder)).path == str(folder)
    assert loaded(folder).num_parameters() == loaded(tiny_model_folder).num_parameters()


def test_generation_config_and_chat_template_are_the_bases_own(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    """Also a generation config that transformers would refuse to save."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model_folder, base)
    config = json.loads((base / "generation_config.json").read_text()) | {"do_sample": False, "temperature": 0.6}
    (base / "generation_config.json").write_text(json.dumps(config))
    folder = trained(make_job(tmp_path / "job", base, inputs[0])) / "model"
    for name in ("generation_config.json", "chat_template.jinja"):
        assert (folder / name).read_text() == (base / name).read_text()


def test_the_card_says_what_was_trained_and_what_came_of_it(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    job = make_job(tmp_path / "job", tiny_model_folder, *inputs, adapter=LORA, watch=MEASURED)
    sources = {"web": "hf://example/texts/en", "own": "texts.jsonl"}
    mixture = {"settings": {"layout": "thought_first"}}
    job = TrainingJob(**{**vars(job), "provenance": {**job.provenance, "sources": sources, "mixture": mixture}})
    folder = trained(job)
    steps, heldout = read_rows(folder / "steps.jsonl"), read_rows(folder / "heldout.jsonl")
    for place, library, relation in (("model", "transformers", "finetune"), ("adapter", "peft", "adapter")):
        _, front, text = (folder / place / "README.md").read_text().split("---\n", 2)
        matter = yaml.safe_load(front)
        assert (matter["base_model"], matter["base_model_relation"]) == ("example/tiny", relation)
        assert matter["library_name"] == library and matter["datasets"] == ["example/texts"]
        assert "texts after the hidden thoughts behind them" in text and "LoRA of rank 4" in text
        assert f"{sum(row['num_tokens'] for row in steps):,} predicted" in text
        assert f"| all | {steps[0]['loss']:.4f} | {steps[-1]['loss']:.4f} |" in text
        assert f"| law | 3 | {heldout[0]['bits_per_byte']:.4f} | {heldout[-2]['bits_per_byte']:.4f} |" in text
        assert str(tmp_path) not in text and "nan" not in text.lower().split()
        known = json.loads((folder / place / "provenance.json").read_text())
        assert known["arm"] == "reasoning" and known["plan"]["num_steps"] == len(steps) and known["versions"]["torch"]


def test_equal_trainings_leave_equal_folders(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if "model" in f.parts[-2]}

    one, two = (
        trained(make_job(tmp_path / name, tiny_model_folder, *inputs, adapter=LORA, watch=MEASURED)) / "model"
        for name in ("one", "two")
    )
    assert files(one) == files(two) and len(files(one)) >= 7


def test_a_folder_on_this_machine_is_named_without_its_place(tiny_model_folder: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model_folder, make_mixture(tmp_path, 4))
    local = TrainingJob(**{**vars(job), "provenance": {"student": {"reference": "/data/models/own-model"}}})
    assert public_name(local) == "own-model" and public_name(job) == "example/tiny"


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "merged"])
def test_vllm_writes_what_transformers_writes(
    adapter: dict[str, int] | None, tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoTokenizer
    from vllm import LLM, SamplingParams

    job = make_job(tmp_path / "job", tiny_model_folder, inputs[0], num_epochs=8, learning_rate=1e-2, adapter=adapter)
    folder = trained(job) / "model"
    auto: Any = AutoTokenizer
    prompts = auto.from_pretrained(folder)(["The court heard", "A prime is"])["input_ids"]
    engine = LLM(
        str(folder), dtype="float32", max_model_len=128, enforce_eager=True, max_num_seqs=2, kv_cache_memory_bytes=2**28
    )
    wanted = SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True)
    written = engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], wanted)
    engine.llm_engine.engine_core.shutdown()
    model = loaded(folder, "float32")
    for prompt, output in zip(prompts, written, strict=True):
        expected = model.generate(
            torch.tensor([prompt]), max_new_tokens=16, min_new_tokens=16, do_sample=False, eos_token_id=None
        )
        assert list(output.outputs[0].token_ids) == expected[0, len(prompt) :].tolist()
