"""The trained model on disk: Hugging Face safetensors with tokenizer, card and provenance; adapters also by themselves.

    model/    config, generation config, weights (in shards where they are large), tokenizer with its chat template,
              README.md (the card), provenance.json
    adapter/  where adapters were trained: their weights, the base model's name, the tokenizer, a card
    best/     as model/, of the kept checkpoint with the fewest held-out bits per byte, where the end has more of them

Invariants: weights are in the number format that the base model's are in, whatever training computed in; model/ appears
whole or not at all; the same training gives the same bytes (no dates, no speeds).
Adapters are merged into the base as it lies on disk: their product is computed in fp32, added in fp32 and rounded once.
Price: rank 0 holds the weights once on the host; with adapters, and under ZeRO 3, that is a copy of the model.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_card import model_card, provenance, public_name
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.saved import best_checkpoint, read_weights
from rcpt_ray.training.student import load_student

_MAX_SHARD: Final = "5GB"
_FORMATS: Final = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_NOTHING: Final[Mapping[str, Any]] = {}
_SAFETENSORS_FORMATS: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def save_model(engine: Any, tokenizer: Any, job: TrainingJob, rank: int) -> None:
    """Write the model beside its place in the job's folder, then rename it into it; all ranks call it."""
    is_adapter = job.spec.adapter is not None
    weights = _gather_weights(engine, rank, only_trained=is_adapter)
    if weights is None:
        return
    dtype = base_dtype(Path(job.model_path))
    model = engine.module
    if is_adapter:
        model, _ = load_student(job, _FORMATS[dtype])  # the base as it lies on disk, adapters beside it in fp32
        unknown = model.load_state_dict(weights, strict=False).unexpected_keys
        assert not unknown, f"trained weights that the model does not have: {unknown}"
        _save_adapter(model, weights, tokenizer, job)
        model = model.merge_and_unload()
        weights = model.state_dict()
    _save_whole(model, weights, tokenizer, job, dtype, "model", {})


def save_best(job: TrainingJob, checkpoints: Path, score: float | None) -> None:
    """Write best/ from the checkpoint that is better than the end, whose score is given; one rank calls it."""
    best = best_checkpoint(checkpoints)
    if best is None or best.score is None or (score is not None and score <= best.score):
        return
    dtype = base_dtype(Path(job.model_path))
    model, tokenizer = load_student(job, _FORMATS[dtype])
    parameters = dict(model.named_parameters())
    for name, flat in read_weights(best).items():
        parameters[name].data.copy_(flat.view_as(parameters[name]))
    if job.spec.adapter is not None:
        model = model.merge_and_unload()
    told = {"steps_done": best.steps_done, "heldout_bits_per_byte": best.score}
    _save_whole(model, model.state_dict(), tokenizer, job, dtype, "best", told)


def _save_whole(
    model: Any, weights: dict[str, Any], tokenizer: Any, job: TrainingJob, dtype: str, name: str, told: dict[str, Any]
) -> None:
    """The folder of that name, whole or not at all; `told` goes into its provenance."""
    temporary = job.folder / f".{name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    _save_weights(model, _cast(weights, dtype), temporary, job, dtype)
    tokenizer.save_pretrained(temporary)
    _write_words(temporary, job, is_adapter=False, told=told)
    for file in temporary.iterdir():
        shutil.copymode(temporary / "config.json", file)  # weights are saved for their owner alone
        with file.open("rb") as content:
            os.fsync(content.fileno())
    shutil.rmtree(job.folder / name, ignore_errors=True)
    temporary.rename(job.folder / name)


def base_dtype(folder: Path) -> str:
    """The number format of a model's weights as torch names it: of its config, else of its first weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("dtype") or config.get("torch_dtype") or config.get("text_config", {}).get("dtype")
    if named in _FORMATS:
        return str(named)
    file = min(folder.glob("*.safetensors"))
    with file.open("rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    found = next(tensor["dtype"] for name, tensor in header.items() if name != "__metadata__")
    return _SAFETENSORS_FORMATS.get(found, "bfloat16")


def _gather_weights(engine: Any, rank: int, *, only_trained: bool) -> dict[str, Any] | None:
    """All weights (or the trained ones) by name, on rank 0; None on the others. All ranks call it."""
    if engine.zero_optimization_partition_weights():
        gathered: dict[str, Any] | None = engine._zero3_consolidated_16bit_state_dict(
            exclude_frozen_parameters=only_trained
        )
        return gathered
    if rank != 0:
        return None
    if only_trained:
        return {name: one.detach() for name, one in engine.module.named_parameters() if one.requires_grad}
    weights: dict[str, Any] = engine.module.state_dict()
    return weights


def _cast(weights: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The weights on the host in a number format; two names of one tensor stay so."""
    import torch

    cast: dict[int, Any] = {}
    for tensor in weights.values():
        wanted = getattr(torch, dtype) if tensor.is_floating_point() else tensor.dtype
        if tensor.data_ptr() not in cast:
            cast[tensor.data_ptr()] = tensor.detach().to("cpu", wanted)
    return {name: cast[tensor.data_ptr()] for name, tensor in weights.items()}


def _save_weights(model: Any, weights: dict[str, Any], folder: Path, job: TrainingJob, dtype: str) -> None:
    from transformers import GenerationConfig

    base = Path(job.model_path)
    model.config.use_cache = True
    # A generation config that asks for sampling in a way that transformers now calls wrong could not be saved.
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder, state_dict=weights, max_shard_size=_MAX_SHARD)
    (folder / "generation_config.json").unlink()
    if (base / "generation_config.json").exists():
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")
    _change_json(folder / "config.json", {"dtype": dtype})  # training may have computed in another


def _save_adapter(model: Any, weights: dict[str, Any], tokenizer: Any, job: TrainingJob) -> None:
    folder = job.folder / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, state_dict={name: tensor.cpu() for name, tensor in weights.items()})
    student = job.provenance.get("student", {})
    modules = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["target_modules"]
    named = {
        "base_model_name_or_path": student.get("reference", job.model_path),
        "target_modules": sorted(modules) if isinstance(modules, list) else modules,  # peft writes a set
    }
    if "/" in public_name(job):
        named["revision"] = student.get("revision")
    _change_json(folder / "adapter_config.json", named)
    tokenizer.save_pretrained(folder)  # with added tokens the base's own would not fit
    _write_words(folder, job, is_adapter=True)


def _write_words(folder: Path, job: TrainingJob, *, is_adapter: bool, told: Mapping[str, Any] = _NOTHING) -> None:
    from rcpt_ray.training.watch import HELDOUT, STEPS

    steps, heldout = read_rows(job.folder / STEPS), read_rows(job.folder / HELDOUT)
    write_atomic(folder / "README.md", model_card(job, steps, heldout, is_adapter=is_adapter))
    write_atomic(
        folder / "provenance.json", json.dumps({**provenance(job), **told}, indent=1, ensure_ascii=False) + "\n"
    )


def _change_json(path: Path, changes: dict[str, Any]) -> None:
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    write_atomic(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
