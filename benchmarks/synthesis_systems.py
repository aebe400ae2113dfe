"""One system on the engine part's prompts: `synthesis_systems.py ours|bare|ray.data.llm --documents N ...`.

Same token ids in, same sampling, same engine arguments; prints output tokens and the seconds from the engine being
ready to the last thought.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.corpus.digest import documents_schema
from rcpt_ray.corpus.reading.read import read_path
from rcpt_ray.mixture.tokenize import load_tokenizer
from rcpt_ray.models import ResolvedModel, resolve_model
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.generate import make_generation
from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.thoughts.outcome import make_thoughts
from rcpt_ray.thoughts.prompt import PromptFrame, load_prompt
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.vllm_client import engine_arguments

SHARD_DOCUMENTS = 16


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=["ours", "bare", "ray.data.llm", "datatrove"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--thought-tokens", type=int, required=True)
    parser.add_argument("--gpus", type=float, required=True)
    parser.add_argument("--datatrove-python", default="")
    options = parser.parse_args()
    model = resolve_model(options.model)
    spec = ThoughtsSpec.model_validate(
        {
            "teacher": {"reference": options.model},
            "max_model_tokens": 2048,
            "asked_words": 60,
            "keep_logprobs": False,
            # Greedy, so that every system has the same thoughts to write.
            "sampling": {"max_thought_tokens": options.thought_tokens, "temperature": 0.0},
            # Enough in flight to fill the largest batch that vLLM makes on a GPU.
            "pool": {"cpus_per_engine": 2, "gpus_per_engine": options.gpus, "shards_in_flight": 128},
        }
    )
    texts = _texts(options.documents)
    match options.system:
        case "ours":
            result = _ours(spec, model, texts)
        case "bare":
            result = _bare(spec, model, texts)
        case "ray.data.llm":
            result = _ray_data_llm(spec, model, texts)
        case "datatrove":
            result = _datatrove(spec, model, texts, options.datatrove_python)
    print(json.dumps(result))


def _texts(number: int) -> list[str]:
    """The samples, in turn, each copy with a number of its own so that no cache answers for it."""
    samples = [
        row["text"] for name in ("stem", "law") for row, _, _ in read_path("corpus", f"samples://corpus/{name}.jsonl")
    ]
    return [f"{index}. {samples[index % len(samples)]}" for index in range(number)]


def _prompts(spec: ThoughtsSpec, model: ResolvedModel, texts: list[str]) -> list[list[int]]:
    tokenizer: Any = load_tokenizer(model.path)
    frame = PromptFrame(load_prompt(spec.prompt), spec.asked_words, tokenizer)
    return [frame.around(text).token_ids for text in texts]


def _ours(spec: ThoughtsSpec, model: ResolvedModel, texts: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, cluster.session():
        rows = [
            {"doc_id": f"samples/{index}", "source": "samples", "domain": "any", "text": text, "num_words": 0}
            for index, text in enumerate(texts)
        ]
        shards = []
        for start in range(0, len(rows), SHARD_DOCUMENTS):
            piece = rows[start : start + SHARD_DOCUMENTS]
            shards.append(Path(folder) / f"{start:06d}.parquet")
            pq.write_table(pa.Table.from_pylist(piece, schema=documents_schema(piece)), shards[-1])
        out = Path(folder) / "thoughts" / "run"
        out.mkdir(parents=True)
        generation = make_generation(spec, 17, model)
        bar = Bar(Console(quiet=True), "thoughts", None)
        outcome = make_thoughts(generation, shards, len(rows), out, lambda: cluster.connect(ClusterSpec()), bar)
        (meter,) = read_meters(out)
        ended = max(part.stat().st_mtime for part in out.glob("part-*.json"))
        assert meter.ready_s is not None
        return {"tokens": outcome.tokens["thought"], "seconds": ended - meter.ready_s}


def _bare(spec: ThoughtsSpec, model: ResolvedModel, texts: list[str]) -> dict[str, float]:
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    from vllm import LLM, SamplingParams

    engine = LLM(**engine_arguments(spec, model.path, seed=17))
    params = SamplingParams(temperature=0.0, top_p=spec.sampling.top_p, max_tokens=spec.sampling.max_thought_tokens)
    prompts = [{"prompt_token_ids": ids} for ids in _prompts(spec, model, texts)]
    started = time.monotonic()
    outputs = engine.generate(prompts, params, use_tqdm=False)
    return {
        "tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
        "seconds": time.monotonic() - started,
    }


def _ray_data_llm(spec: ThoughtsSpec, model: ResolvedModel, texts: list[str]) -> dict[str, float]:
    """Seconds are the longest that a row was with the engine: all rows are given to it at once when it is ready.

    What Ray's own stages take before and after the engine is left out, in their favour.
    """
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    arguments = {key: value for key, value in engine_arguments(spec, model.path, seed=17).items() if key != "model"}
    sampling = {"temperature": 0.0, "top_p": spec.sampling.top_p, "max_tokens": spec.sampling.max_thought_tokens}
    config = vLLMEngineProcessorConfig(
        model_source=model.path,
        engine_kwargs=arguments,
        batch_size=SHARD_DOCUMENTS,
        max_concurrent_batches=1 + len(texts) // SHARD_DOCUMENTS,
        concurrency=1,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        placement_group_config=None if spec.pool.gpus_per_engine else {"bundles": [{"CPU": 2}]},
    )
    with cluster.session():
        # Its stages want CPUs of their own beside the engine's two, so more are declared than there are.
        cluster.connect(ClusterSpec(num_cpus=6))
        processor = build_processor(
            config,
            preprocess=lambda row: {"tokenized_prompt": row["ids"], "prompt": "", "sampling_params": sampling},
            postprocess=lambda row: {"seconds": row["time_taken_llm"], "num_tokens": row["num_generated_tokens"]},
        )
        rows = processor(ray.data.from_items([{"ids": ids} for ids in _prompts(spec, model, texts)])).take_all()
        return {"tokens": sum(row["num_tokens"] for row in rows), "seconds": max(row["seconds"] for row in rows)}


def _datatrove(spec: ThoughtsSpec, model: ResolvedModel, texts: list[str], python: str) -> dict[str, float]:
    """datatrove's runner in its own environment, against `vllm serve` with the same engine arguments."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        folder, prompts = Path(name), Path(name) / "prompts.json"
        prompts.write_text(json.dumps(_prompts(spec, model, texts)))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        flags = [
            _flag(key, value) for key, value in engine_arguments(spec, model.path, seed=17).items() if key != "model"
        ]
        serve = [sys.executable, str(Path(__file__).parent.parent / "tests" / "vllm_serve.py"), "serve", model.path]
        command = [*serve, "--served-model-name=model", "--host=127.0.0.1", f"--port={port}", *filter(None, flags)]
        environment = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        with (folder / "server.log").open("w") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/v1/models", server)
            script = str(Path(__file__).with_name("synthesis_datatrove.py"))
            arguments = [str(prompts), url, "model", str(spec.sampling.max_thought_tokens), str(folder / "out")]
            ran = subprocess.run([python, script, *arguments], capture_output=True, text=True, check=True)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
        result: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
        return result


def _flag(name: str, value: object) -> str:
    """An engine argument as `vllm serve` takes it."""
    flag = "--" + name.replace("_", "-")
    return ("" if value is False else flag) if isinstance(value, bool) else f"{flag}={value}"


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    while server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.2)
    raise SystemExit("the server ended before it answered")


if __name__ == "__main__":
    sys.exit(main())
