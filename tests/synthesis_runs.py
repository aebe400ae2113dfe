"""Runs of synthesis that are killed at random moments, and what must hold after them."""

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
from processes import start_rcpt, wait_until
from run_folder import manifests, only_folder, rows

from rcpt_ray.thoughts.meter import read_meters


def write_corpus(path: Path, num_documents: int, num_words: int = 40) -> None:
    """A JSON Lines corpus of drawn words, a document an id."""
    draw = random.Random(num_documents)
    words = [f"w{number}" for number in range(2000)]
    with path.open("w", encoding="utf-8") as lines:
        for number in range(num_documents):
            text = " ".join(draw.choices(words, k=num_words))
            lines.write(json.dumps({"id": str(number), "text": text}) + "\n")


def synthesis_of(run: Path, corpus: Path, *more: str) -> list[str]:
    """Arguments of `rcpt synthesize` for a corpus that was written here."""
    return [
        "jobs/recipes/tiny.yaml",
        f"run={run}",
        f"corpus.sources={{drawn: {{path: {corpus}, domain: stem}}}}",
        "corpus.heldout_share=0",
        *more,
    ]


def receipts(run: Path) -> dict[Path, int]:
    """Receipts of the one generate stage, with their times of change."""
    return {path: path.stat().st_mtime_ns for path in run.glob("thoughts/*/part-*.json")}


def engine_processes(driver: psutil.Process, name: str) -> list[psutil.Process]:
    """Processes below a command whose command line holds `name`."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def synthesize_with_kills(
    arguments: list[str],
    run: Path,
    kills: list[str],
    num_shards: int,
    seed: int,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Run `rcpt synthesize ARGUMENTS` with one kill after another, then to its end.

    A kill is `job` (the command itself, which is then typed again) or what the command line of a process below it
    holds. Each comes when a random number of further shards is done; a shard that is done is never made again.
    `look` is called while synthesis is under way.
    """
    draw, before, process = random.Random(seed), dict[Path, int](), None
    try:
        for number, kill in enumerate(kills):
            left = (num_shards - len(before)) // (len(kills) - number + 1)
            target = len(before) + 1 + draw.randrange(max(1, left))
            process = process or start_rcpt("synthesize", *arguments)
            _wait_for_receipts(run, target, process)
            before = before | receipts(run)
            if number == 0:
                look()
            if kill == "job":
                process.kill()
                process.wait()
                process = None
            else:
                draw.choice(_wait_for_processes(process, kill)).kill()
        process = process or start_rcpt("synthesize", *arguments)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    finally:
        if process is not None:
            process.kill()
    after = receipts(run)
    assert {path: after.get(path) for path in before} == before, "a finished shard was made again"


def _wait_for_receipts(run: Path, number: int, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: len(receipts(run)) >= number or process.poll() is not None, 300)
    assert process.poll() is None, "the command ended before something in it could be killed"


def _wait_for_processes(process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    driver = psutil.Process(process.pid)
    wait_until(lambda: bool(engine_processes(driver, name)), 60)
    return engine_processes(driver, name)


def assert_each_row_once(run: Path, num_rows: int, num_again_at_most: int) -> None:
    """in = ok + rejected, no key twice, and no more rows paid for than those and the ones in flight at kills."""
    folder, (manifest,) = only_folder(run, "thoughts"), manifests(run, "thoughts")
    made = rows(folder)
    assert manifest.counts.num_in == manifest.counts.num_ok + sum(manifest.counts.rejected.values()) == num_rows
    assert len(made) == len({(row["doc_id"], row["sample_index"]) for row in made}) == num_rows
    num_paid = sum(reading.num_rows for reading in read_meters(folder))
    assert num_paid <= num_rows + num_again_at_most
    assert not list(folder.glob("tries/*"))
