"""The trained model on disk: Hugging Face safetensors with the tokenizer; adapters by themselves and merged."""

import shutil
from typing import Any

from rcpt_ray.training.job import TrainingJob


def save_model(engine: Any, tokenizer: Any, job: TrainingJob, rank: int) -> None:
    """Write the model beside its place in the job's folder, then rename it into it; all ranks call it."""
    if rank != 0:
        return
    model, folder = engine.module, job.folder
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / "adapter")
        tokenizer.save_pretrained(folder / "adapter")  # with added tokens the base's own would not fit
        model = model.merge_and_unload()
    temporary = folder / ".model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.use_cache = True
    model.save_pretrained(temporary, safe_serialization=True)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder / "model", ignore_errors=True)
    temporary.rename(folder / "model")
