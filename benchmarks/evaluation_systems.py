"""One system on the evaluation benchmark's prompts: `evaluation_systems.py SYSTEM PROMPTS MODEL SETTINGS`.

Prints one line of JSON: seconds from the engine being ready to the last answer, start_s, texts and their tokens.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import close_models, open_model
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.mixture.tokenize import token_counter
from rcpt_ray.settings import ModelSpec
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.vllm_client import engine_arguments

CONTEXT_TOKENS = 2046
CLOSING = "\n</thought>\n\n"


def main() -> None:
    system, prompts_file, model, settings = sys.argv[1:]
    options = json.loads(settings)
    prompts = json.loads(Path(prompts_file).read_text(encoding="utf-8"))
    plain = {"until": [], "do_sample": False, "max_gen_toks": options["thought_tokens"]}
    began = time.monotonic()
    match system:
        case "ours":
            texts, start_s, seconds = _ours(model, options, prompts, plain, began)
        case "ours, thought and answer":
            thinking = {
                "thought_close": CLOSING,
                "answer_cue": "Answer:",
                "max_thought_tokens": options["thought_tokens"],
                "max_answer_tokens": options["answer_tokens"],
            }
            texts, start_s, seconds = _ours(model, options, prompts, thinking, began)
            texts = [own["thought"] + own["output"] for own in map(json.loads, texts)]
        case "lm-eval's vLLM":
            texts, start_s, seconds = _timed(lambda: _lm_eval_vllm(model, options), prompts, plain, began)
        case "lm-eval's transformers":
            texts, start_s, seconds = _timed(lambda: _lm_eval_transformers(model, options), prompts, plain, began)
    tokens = sum(token_counter(model)(texts))
    # vLLM writes to standard output while it ends.
    print(json.dumps({"seconds": seconds, "start_s": round(start_s, 1), "tokens": tokens, "texts": texts}), flush=True)


def _timed(
    make: Callable[[], Any], prompts: list[str], settings: dict[str, Any], began: float
) -> tuple[list[str], float, float]:
    """Texts, seconds up to the answer to a first request, seconds of all."""
    model = make()
    short = {key: 1 if key.startswith("max_") else value for key, value in settings.items()}
    model.generate_until(_requests(["Is it up?\n"], short))
    started = time.monotonic()
    texts = model.generate_until(_requests(prompts, settings))
    return texts, started - began, time.monotonic() - started


def _requests(prompts: list[str], settings: dict[str, Any]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance("generate_until", {}, (prompt, dict(settings)), 0, ("benchmark", number, 1))
        for number, prompt in enumerate(prompts)
    ]


def _ours(
    model: str, options: dict[str, Any], prompts: list[str], settings: dict[str, Any], began: float
) -> tuple[list[str], float, float]:
    pool = {"cpus_per_engine": options["cpus"], "gpus_per_engine": options["gpus"]}
    spec = EvaluationSpec.model_validate({"max_length_tokens": CONTEXT_TOKENS, "pool": pool})
    with tempfile.TemporaryDirectory() as folder, cluster.session():
        cluster.connect(ClusterSpec())
        job = EvaluationJob(spec, model, [], Path(folder), seed=17, thought_close=CLOSING)
        found = _timed(lambda: open_model(job, "generation"), prompts, settings, began)
        close_models()
    return found


def _lm_eval_vllm(model: str, options: dict[str, Any]) -> Any:
    """With the arguments that our engines get."""
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("OMP_NUM_THREADS", str(int(options["cpus"])))
    _name_the_cpu_build()
    from lm_eval.models.vllm_causallms import VLLM

    spec = ThoughtsSpec(teacher=ModelSpec(reference=model), max_model_tokens=CONTEXT_TOKENS + 2)
    arguments = engine_arguments(spec, model, seed=17)
    return VLLM(pretrained=arguments.pop("model"), batch_size="auto", **arguments)


def _name_the_cpu_build() -> None:
    """lm-eval asks which version of the package vllm is installed; its CPU build goes by the name vllm-cpu."""
    known = metadata.version

    def version(package: str) -> str:
        try:
            return known(package)
        except metadata.PackageNotFoundError:
            if package != "vllm":
                raise
            # vLLM itself looks for these letters to know on what it runs.
            return known("vllm-cpu") + "+cpu"

    metadata.version = version


def _lm_eval_transformers(model: str, options: dict[str, Any]) -> Any:
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(int(options["cpus"]))
    precision = {"bf16": "bfloat16", "fp32": "float32"}[fast_number_format("auto")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return HFLM(
        pretrained=model,
        dtype=precision,
        device=device,
        batch_size=options["batch_size"],
        max_length=CONTEXT_TOKENS + 2,
    )


if __name__ == "__main__":
    main()
