"""The trained model on disk: Hugging Face safetensors with tokenizer, card and provenance; adapters also by themselves.

    model/    config, generation config, weights (in shards where they are large), tokenizer with its chat template,
              README.md (the card), provenance.json
    adapter/  where adapters were trained: their weights, the base model's name, the tokenizer, a card
    best/     as model/, of the kept checkpoint with the fewest held-out bits per byte, where the end has more of them

Every model is made in one way from fp32 weights by name, those that the optimizer updates: of the engine at the end, of
a checkpoint's parts for best/ and for an evaluation beside the training. So the same step gives the same bytes of
weights, config and tokenizer, whichever way it is taken.

Invariants: weights are in the number format that the base model's are in, whatever training computed in, and rounded to
it once; model/ appears whole or not at all; the same training gives the same bytes (no dates, no speeds).
Adapters are merged into the base as it lies on disk: their product is computed in fp32, added in fp32 and rounded once.
Price: rank 0's host holds the trained weights in fp32 beside the model in its own format.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.attempt import Attempt
from rcpt_ray.training.fragments import gather_weights
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_card import model_card, provenance, public_name
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.saved import Saved, best_checkpoint, read_weights
from rcpt_ray.training.student import load_student

_MAX_SHARD: Final = "5GB"
_FORMATS: Final = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_NOTHING: Final[Mapping[str, Any]] = {}
_SAFETENSORS_FORMATS: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def save_model(engine: Any, job: TrainingJob, rank: int, attempt: Attempt) -> None:
    """Write the model beside its place in the job's folder, then rename it into it; all ranks call it.

    Raises:
        AttemptOver: another attempt has begun meanwhile; nothing is put into the place.
    """
    weights = gather_weights(engine, rank)
    if weights is not None:
        _save_whole(job, weights, "model", {}, attempt)


def save_best(job: TrainingJob, attempt: Attempt, score: float | None) -> None:
    """Write best/ from the checkpoint that is better than the end, whose score is given; one rank calls it.

    Raises:
        AttemptOver: another attempt has begun meanwhile; nothing is put into the place.
    """
    best = best_checkpoint(attempt.checkpoints)
    if best is None or best.score is None or (score is not None and score <= best.score):
        return
    told = {"steps_done": best.steps_done, "heldout_bits_per_byte": best.score}
    _save_whole(job, read_weights(best), "best", told, attempt)


def save_checkpoint_model(job: TrainingJob, saved: Saved | None, folder: Path) -> None:
    """Write the model of a checkpoint as a folder for transformers, None the student as it begins; needs no DeepSpeed.

    Weights, config and tokenizer are those that `save_model` would write at that step; there is no card.
    """
    model, tokenizer = _merged(job, {} if saved is None else read_weights(saved))
    _save_weights(model, folder, job)
    tokenizer.save_pretrained(folder)


def _save_whole(job: TrainingJob, trained: dict[str, Any], name: str, told: dict[str, Any], attempt: Attempt) -> None:
    """The folder of that name, whole or not at all; `told` goes into its provenance."""
    attempt.require_newest()
    adapter = job.folder / "adapter" if name == "model" else None
    model, tokenizer = _merged(job, trained, adapter)
    for left_by_another in job.folder.glob(f".{name}.*.tmp"):
        shutil.rmtree(left_by_another, ignore_errors=True)
    temporary = job.folder / f".{name}.{attempt.name}.tmp"
    _save_weights(model, temporary, job)
    tokenizer.save_pretrained(temporary)
    _write_words(temporary, job, is_adapter=False, told=told)
    for file in temporary.iterdir():
        shutil.copymode(temporary / "config.json", file)  # weights are saved for their owner alone
        with file.open("rb") as content:
            os.fsync(content.fileno())
    attempt.require_newest()
    shutil.rmtree(job.folder / name, ignore_errors=True)
    temporary.rename(job.folder / name)


def _merged(job: TrainingJob, trained: dict[str, Any], adapter_folder: Path | None = None) -> tuple[Any, Any]:
    """The model with these fp32 weights (flat, by name) in the base's number format, and its tokenizer.

    Adapters are written to `adapter_folder`, if one is given, before they are merged.
    """
    # The base as it lies on disk, adapters beside it in fp32.
    model, tokenizer = load_student(job, _FORMATS[base_dtype(Path(job.model_path))], to_train=False)
    parameters = dict(model.named_parameters())
    for name, flat in trained.items():
        parameters[name].data.copy_(flat.view_as(parameters[name]))
    if job.spec.adapter is not None:
        if adapter_folder is not None:
            of_adapter = {name: flat.view_as(parameters[name]) for name, flat in trained.items()}
            _save_adapter(model, of_adapter, tokenizer, job, adapter_folder)
        model = model.merge_and_unload()
    return model, tokenizer


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


def _save_weights(model: Any, folder: Path, job: TrainingJob) -> None:
    from transformers import GenerationConfig

    base = Path(job.model_path)
    model.config.use_cache = True
    # A generation config that asks for sampling in a way that transformers now calls wrong could not be saved.
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder, max_shard_size=_MAX_SHARD)
    (folder / "generation_config.json").unlink()
    if (base / "generation_config.json").exists():
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")
    if job.trust_remote_code:
        for code in base.glob("*.py"):
            shutil.copyfile(code, folder / code.name)
    _change_json(folder / "config.json", {"dtype": base_dtype(base)})  # a base may not name its own


def _save_adapter(model: Any, weights: dict[str, Any], tokenizer: Any, job: TrainingJob, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, state_dict=weights)
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
