"""Groups of real workers without Ray: forked from one process that has imported everything once."""

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training_fixtures import be_worker


def run_groups(sizes: Sequence[int], work: Callable[..., Any], arguments: tuple[Any, ...], folder: Path) -> list[Any]:
    """`work(rank, num_workers, *arguments)` in groups of these sizes, all at once; what rank 0 of each returns."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "deepspeed", "transformers", "peft", "training_fixtures"])
    answers = context.Queue()
    workers = [
        context.Process(target=_worker, args=(rank, size, folder / f"store-{size}", work, arguments, answers))
        for size in sizes
        for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    found: dict[int, Any] = {}
    while len(found) < len(sizes):
        size, answer, error = answers.get(timeout=120)
        assert error is None, error
        found[size] = answer
    for worker in workers:
        worker.join(timeout=60)
    return [found[size] for size in sizes]


def _worker(rank: int, size: int, store: Path, work: Callable[..., Any], arguments: Any, answers: Any) -> None:
    try:
        be_worker(rank, size, store)
        answer = work(rank, size, *arguments)
        if rank == 0:
            answers.put((size, answer, None))
    except BaseException:
        answers.put((size, None, traceback.format_exc()))
