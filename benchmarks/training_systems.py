"""One system trains on the rows of a folder and prints a line of JSON; training.py and training_gpu.py call it.

    python benchmarks/training_systems.py SYSTEM FOLDER MODEL --row-tokens T --steps N --threads n ...

bare      a plain torch loop: the model's own forward, cross_entropy of all logits, bf16 weights, fp32 master weights;
          rows, threads and attention as in ours (--attention eager or sdpa: transformers' masks over whole rows)
ours      rcpt_ray.training.loop.train, as a Ray Train worker calls it, in one process a worker without Ray
packed    Hugging Face Trainer with DeepSpeed, texts concatenated and cut into rows (as run_clm.py does)
unpacked  Hugging Face Trainer with DeepSpeed, a document a row, padded to the longest of its batch

The clock runs from the end of the first step to the end of the last; tokens are real ones, padding left out.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

BATCH_ROWS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=["bare", "ours", "packed", "unpacked"])
    parser.add_argument("folder", type=Path, help="with rows-T.parquet and documents.json")
    parser.add_argument("model")
    parser.add_argument("--row-tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after a first one")
    parser.add_argument("--threads", type=int, default=2, help="of each worker")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpus", type=int, choices=[0, 1], default=0, help="of each worker")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings of training, as JSON")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for one thread on a machine that others use too"
    )
    parser.add_argument("--adapter", type=int, default=None, help="rank of low-rank adapters")
    options = parser.parse_args()
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if options.gpus else "cpu")
    match options.system:
        case "bare":
            result = _bare(options)
        case "ours":
            result = _ours(options)
        case "packed" | "unpacked":
            result = _trainer(options)
    print(json.dumps(result))


def _job(options: argparse.Namespace, folder: Path) -> Any:
    from rcpt_ray.training.job import TrainingJob
    from rcpt_ray.training.packed_rows import PackedRows
    from rcpt_ray.training.plan import make_plan
    from rcpt_ray.training.spec import TrainingSpec

    parts = [options.folder / f"rows-{options.row_tokens}.parquet"]
    num_rows, wanted_rows = PackedRows(parts).num_rows, (options.steps + 2) * BATCH_ROWS
    settings = {
        "num_epochs": -(-wanted_rows // num_rows),
        "global_batch_rows": BATCH_ROWS,
        "num_workers": options.workers,
        "cpus_per_worker": options.threads,
        "gpus_per_worker": options.gpus,
        "precision": options.precision,
        "attention": options.attention,
        "adapter": options.adapter and {"rank": options.adapter, "alpha": 2 * options.adapter},
        "checkpoint_every_steps": 10_000,
        "learning_rate": 1e-5,
        "schedule": "constant",
        "warmup_share": 0.0,
    }
    spec = TrainingSpec(**(settings | options.settings))
    plan = make_plan(spec, num_rows, options.row_tokens, seed=17)
    return TrainingJob(spec, plan, 0, options.model, parts, folder, options.model)


class _Clock:
    """When each step ended, and how long the engine worked in it."""

    def __init__(self, kind: str) -> None:
        self._now = time.monotonic if kind == "wall" else time.process_time
        self.ends, self.in_engine, self._engine_s = list[float](), list[float](), 0.0

    def timed(self, call: Any) -> Any:
        def timed_call(*arguments: Any, **named: Any) -> Any:
            started = self._now()
            try:
                return call(*arguments, **named)
            finally:
                self._engine_s += self._now() - started

        return timed_call

    def end_of_step(self) -> None:
        self.ends.append(self._now())
        self.in_engine.append(self._engine_s)
        self._engine_s = 0.0


class _Enough(Exception):
    """All timed steps are done; the model is not saved."""


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        workers = [
            context.Process(target=_ours_worker, args=(options, rank, Path(folder), answers))
            for rank in range(options.workers)
        ]
        for worker in workers:
            worker.start()
        found = sorted((answers.get() for _ in workers), key=lambda answer: int(answer["rank"]))
        for worker in workers:
            worker.join()
        rows = [json.loads(line) for line in (Path(folder) / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = [row["num_tokens"] for row in rows]
    first = found[0]
    return _result(tokens, first["ends"]) | {
        "peak_mib": sum(answer["peak_mib"] for answer in found),
        "in_engine_s": first["in_engine"],
        "seconds": list(_differences(first["ends"])),
        "loss": rows[-1]["loss"],
    }


def _ours_worker(options: argparse.Namespace, rank: int, folder: Path, answers: Any) -> None:
    import torch

    from rcpt_ray.training import loop

    torch.set_num_threads(options.threads)
    os.environ["LOCAL_RANK"] = str(rank)
    store = torch.distributed.FileStore(str(folder / "store"), options.workers)
    torch.distributed.init_process_group(
        "nccl" if options.gpus else "gloo", store=store, rank=rank, world_size=options.workers
    )
    clock, start_engine = _Clock(options.clock), loop.start_engine

    def start_timed_engine(job: Any) -> Any:
        engine, optimizer = start_engine(job)
        engine_step = clock.timed(engine.step)
        engine_forward, engine.backward = clock.timed(engine.forward), clock.timed(engine.backward)

        def forward(*arguments: Any, **named: Any) -> Any:
            if len(clock.ends) == options.steps + 1:
                raise _Enough
            return engine_forward(*arguments, **named)

        def step() -> None:
            ends_step = engine.is_gradient_accumulation_boundary()
            engine_step()
            if ends_step:
                _wait_for_device(options)
                clock.end_of_step()

        engine.forward, engine.step = forward, step
        return engine, optimizer

    loop.start_engine = start_timed_engine
    job = _job(options, folder)
    with open(os.devnull, "w") as nowhere:
        sys.stdout, shown = nowhere, sys.stdout
        try:
            loop.train(job, rank)
        except _Enough:
            pass
        finally:
            sys.stdout = shown
    answers.put({"rank": rank, "ends": clock.ends, "in_engine": clock.in_engine[1:], "peak_mib": _peak_mib()})


def _bare(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from torch.nn.functional import cross_entropy

    from rcpt_ray.hardware import fast_number_format
    from rcpt_ray.records import PADDING
    from rcpt_ray.training import student
    from rcpt_ray.training.feed import PackedFeed

    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if options.gpus else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        job = _job(options, Path(folder))
    student.add_losses = lambda model, kernel: None  # type: ignore[assignment]
    precision = fast_number_format(options.precision)
    model = student.load_student(job, precision)[0].to(device).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    masters = [weight.detach().float().requires_grad_() for weight in weights]
    optimizer = torch.optim.AdamW(masters, lr=1e-5, weight_decay=0.0, fused=True)
    feed, clock, tokens = PackedFeed(job.mixture_parts, job.plan, 0), _Clock(options.clock), list[int]()
    for step in range(options.steps + 1):
        batches, loss_of_step = feed.batches(step), 0.0
        assert batches is not None
        tokens.append(sum(int((batch.target_kind_BT != PADDING).sum()) for batch in batches))
        for batch in batches:
            targets_BT = torch.from_numpy(batch.target_ids_BT)
            targets_BT[torch.from_numpy(batch.target_kind_BT) == PADDING] = -100
            logits_BTV = model(
                input_ids=torch.from_numpy(batch.input_ids_BT).to(device),
                position_ids=torch.from_numpy(batch.position_ids_BT).to(device),
                use_cache=False,
            ).logits
            loss = cross_entropy(
                logits_BTV.flatten(0, 1).float(), targets_BT.to(device).flatten(), ignore_index=-100, reduction="sum"
            )
            (loss / tokens[-1]).backward()
            loss_of_step += loss.item() / tokens[-1]
            del logits_BTV
        for master, weight in zip(masters, weights, strict=True):
            master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for master, weight in zip(masters, weights, strict=True):
                weight.copy_(master)
        _wait_for_device(options)
        clock.end_of_step()
    return _result(tokens, clock.ends) | {"peak_mib": _peak_mib(), "loss": loss_of_step}


def _trainer(options: argparse.Namespace) -> dict[str, Any]:
    """Defaults of the Trainer but for what makes the runs comparable: rows a step, rate, precision, no files."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(options.threads)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ.setdefault("MASTER_PORT", str(_free_port()))
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    tokenizer = AutoTokenizer.from_pretrained(options.model, local_files_only=True)
    documents: list[list[int]] = json.loads((options.folder / "documents.json").read_text(encoding="utf-8"))
    packed = options.system == "packed"
    if packed:
        stream = [token for document in documents for token in document]
        ends = range(options.row_tokens, len(stream) + 1, options.row_tokens)
        documents = [stream[end - options.row_tokens : end] for end in ends]
    wanted = (options.steps + 1) * BATCH_ROWS
    documents = (documents * (-(-wanted // len(documents))))[:wanted]
    clock, tokens = _Clock(options.clock), list[int]()

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids_BT = torch.full((len(rows), longest), tokenizer.pad_token_id or 0)
        mask_BT, labels_BT = torch.zeros_like(ids_BT), torch.full_like(ids_BT, -100)
        for number, row in enumerate(rows):
            own_T = torch.tensor(row["input_ids"])
            ids_BT[number, : len(own_T)] = labels_BT[number, : len(own_T)] = own_T
            mask_BT[number, : len(own_T)] = 1
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}

    class Times(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            clock.end_of_step()

    rows_a_pass = 1 if packed else BATCH_ROWS
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=not options.gpus,
            bf16=True,
            per_device_train_batch_size=rows_a_pass,
            gradient_accumulation_steps=BATCH_ROWS // rows_a_pass,
            max_steps=options.steps + 1,
            learning_rate=1e-5,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            train_sampling_strategy="sequential",
            deepspeed={
                "bf16": {"enabled": True},
                "zero_optimization": {"stage": 1},
                "train_micro_batch_size_per_gpu": "auto",
                "gradient_accumulation_steps": "auto",
                "train_batch_size": "auto",
                "gradient_clipping": "auto",
                "zero_allow_untested_optimizer": True,
            },
        )
        model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16, local_files_only=True)
        dataset = [{"input_ids": document[: options.row_tokens]} for document in documents]
        trainer = Trainer(model, arguments, data_collator=collate, train_dataset=dataset, callbacks=[Times()])
        trainer.train()
    tokens = [
        sum(len(row["input_ids"]) for row in dataset[first : first + BATCH_ROWS])
        for first in range(0, len(dataset), BATCH_ROWS)
    ]
    return _result(tokens, clock.ends) | {"peak_mib": _peak_mib()}


def _result(tokens: list[int], ends: list[float]) -> dict[str, Any]:
    """The first step warms up and is not counted."""
    return {"tokens_per_s": sum(tokens[1 : len(ends)]) / (ends[-1] - ends[0]), "steps": len(ends) - 1}


def _differences(ends: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(ends)]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for_device(options: argparse.Namespace) -> None:
    if options.gpus:
        import torch

        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
