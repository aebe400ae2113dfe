"""The model that a training leaves: what was trained, in the base's number format, with all that others need."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from watched_training import be_one_rank, make_heldout, make_job, make_mixture, trained

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import text_tokenizer
from rcpt_ray.models import resolve_model
from rcpt_ray.training import model_out
from rcpt_ray.training.head import add_losses
from rcpt_ray.training.heldout import HeldoutMeter, mean_bits
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_card import public_name
from rcpt_ray.training.model_out import base_dtype, save_best
from rcpt_ray.training.row_file import read_rows

LORA = {"rank": 4, "alpha": 8}
MEASURED = {"heldout_every_steps": 100}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """A mixture and held-out documents."""
    folder = tmp_path_factory.mktemp("inputs")
    return make_mixture(folder), make_heldout(folder)


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
    save_best(job, folder / "checkpoints", score=math.inf)
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
        **{
            **vars(job),
            "tokenizer_path": str(tmp_path / "tokenizer"),
            "special_tokens": ("<why>", "</why>"),
        }
    )
    folder = trained(job)
    for place in ("model", "adapter"):
        tokenizer = auto.from_pretrained(folder / place)
        assert tokenizer.convert_tokens_to_ids(["<why>", "</why>"]) == [1024, 1025]
    rows = weights_of(folder / "model")["model.embed_tokens.weight"]
    assert rows.shape[0] == 1026 and not rows[1024].equal(rows[1025]), "both began as the same mean, then were trained"


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
        str(folder),
        dtype="float32",
        max_model_len=128,
        enforce_eager=True,
        max_num_seqs=2,
        kv_cache_memory_bytes=2**28,
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
