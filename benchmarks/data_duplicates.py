"""Near duplicates: ours beside datatrove's MinHash pipeline, on one corpus with known duplicates and the same cores.

    python benchmarks/data_duplicates.py --datatrove-python OTHER_ENV/bin/python      10,000 and 100,000 documents
    python benchmarks/data_duplicates.py --documents --only-ours 1000000              our time and memory

Both read the same JSON Lines files, make 14 bands of 8 hashes of 5-grams of words, and write the lines that stay.
Our workers are started and warm before the clock runs; datatrove starts its processes anew in each of its four steps,
about a second each, and that is in its seconds. A document is *a duplicate* if its exact Jaccard
similarity with the document it was made of is at least 0.7. Recall: the share of duplicates that do not stay beside
what they were made of. Precision: of the documents left out, the share that resembles one that stays so much.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from importlib import metadata
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from data_duplicates_corpus import FILE_DOCUMENTS, document_words, jaccard, origin, write_file

from rcpt_ray.corpus.near_duplicates import Signer, near_duplicates
from rcpt_ray.corpus.ngrams import hash_words
from rcpt_ray.corpus.spec import NearDuplicatesSpec
from rcpt_ray.hardware import describe, versions

BENCHMARKS = Path(__file__).parent
SIMILAR = 0.7
EDGES = (1.0, 0.9, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.0)
SPEC = NearDuplicatesSpec()
BATCH_TEXTS = 512

Families = dict[int, dict[int, float]]
"""For each new document those that were made of it, with their similarity to it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--only-ours", type=int, nargs="*", default=[], help="sizes of corpora that only ours reads")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-similarity", type=float, default=SPEC.min_similarity)
    parser.add_argument("--datatrove-python", default=sys.executable, help="Python with datatrove, orjson and xxhash<4")
    parser.add_argument("--datatrove-words", nargs="*", choices=["whitespace", "default"], default=["whitespace"])
    options = parser.parse_args()
    found = versions() | {package: metadata.version(package) for package in ("datatrove", "rensa", "numpy")}
    print(json.dumps({"hardware": describe(), "versions": found}))
    results: list[tuple[int, str, dict[str, float], float, float]] = []
    left_out_by_similarity: dict[str, list[str]] = {}
    for number in [*options.documents, *options.only_ours]:
        with (
            tempfile.TemporaryDirectory() as folder,
            multiprocessing.get_context("forkserver").Pool(options.workers) as pool,
        ):
            files = _write_corpus(Path(folder) / "corpus", number, options.seed, pool)
            seconds, kept, peak_mib = _ours(files, Path(folder) / "ours", pool, options.min_similarity)
            print(f"ours, {number:,} documents: {_told(seconds)}; deciding took {peak_mib:.0f} MiB of memory")
            if number in options.only_ours:
                continue
            families = _families(number, options.seed, pool)
            outcomes = {"ours": (seconds, kept)}
            for words in options.datatrove_words:
                outcomes[f"datatrove, {words} words"] = _datatrove(options, words, Path(folder))
        for system, (seconds, kept) in outcomes.items():
            results.append((number, system, seconds, *_judge(kept, number, families, options.seed)))
            left_out_by_similarity[system] = _by_similarity(kept, families)
    if results:
        _print_tables(results, left_out_by_similarity)


def _write_corpus(folder: Path, number: int, seed: int, pool: Pool) -> list[str]:
    folder.mkdir(parents=True)
    starts = range(0, number, FILE_DOCUMENTS)
    jobs = [
        (seed, start, min(start + FILE_DOCUMENTS, number), str(folder / f"{start // FILE_DOCUMENTS:05d}.jsonl"))
        for start in starts
    ]
    return pool.map(write_file, jobs, chunksize=1)


def _ours(
    files: list[str], folder: Path, pool: Pool, min_similarity: float
) -> tuple[dict[str, float], set[int], float]:
    """Seconds by step, the numbers of the documents that stay, and by how much this process grew while deciding."""
    folder.mkdir()
    pool.map(sign_file, [(file, "") for file in files[:1]] * 2, chunksize=1)
    start = time.perf_counter()
    signed = pool.map(sign_file, [(file, str(folder / f"{Path(file).stem}.npy")) for file in files], chunksize=1)
    seconds = {"signatures": time.perf_counter() - start}
    start = time.perf_counter()
    with _Peak() as peak:
        signatures = np.empty((sum(signed), SPEC.num_bands * SPEC.rows_per_band), dtype=np.uint16)
        ends = np.cumsum(signed)
        for file, end, rows in zip(files, ends, signed, strict=True):
            signatures[end - rows : end] = np.load(folder / f"{Path(file).stem}.npy")
        stays = near_duplicates(signatures, SPEC.model_copy(update={"min_similarity": min_similarity})) < 0
    seconds["decide"] = time.perf_counter() - start
    start = time.perf_counter()
    jobs = [
        (file, str(folder / Path(file).name), stays[end - rows : end])
        for file, end, rows in zip(files, ends, signed, strict=True)
    ]
    pool.map(filter_file, jobs, chunksize=1)
    seconds["filter"] = time.perf_counter() - start
    return seconds, set(np.flatnonzero(stays).tolist()), peak.mib


def sign_file(job: tuple[str, str]) -> int:
    """Sign the documents of a file and save the signatures; returns how many."""
    file, target = job
    signer = Signer(SPEC)
    with open(file, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    parts = [signer.sign(hash_words(texts[at : at + BATCH_TEXTS])) for at in range(0, len(texts), BATCH_TEXTS)]
    if target:
        np.save(target, np.concatenate(parts))
    return len(texts)


def filter_file(job: tuple[str, str, npt.NDArray[np.bool_]]) -> None:
    """Write the lines that stay."""
    file, target, stays = job
    with open(file, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as kept:
        kept.writelines(line for line, stay in zip(lines, stays, strict=True) if stay)


def _datatrove(options: argparse.Namespace, words: str, folder: Path) -> tuple[dict[str, float], set[int]]:
    work = folder / f"datatrove-{words}"
    script = str(BENCHMARKS / "data_duplicates_datatrove.py")
    command = [options.datatrove_python, script, str(folder / "corpus"), str(work), str(options.workers), words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stderr[-4000:]}")
    seconds: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return seconds, set(map(int, json.loads((work / "kept.json").read_text())))


def similarities(job: tuple[int, int, int]) -> list[tuple[int, int, float]]:
    """(number, what it was made of, exact similarity) of the documents first..last - 1 that are not new."""
    seed, first, last = job
    made = [(number, origin(seed, number)) for number in range(first, last)]
    return [
        (number, of.source, jaccard(document_words(seed, number), document_words(seed, of.source)))
        for number, of in made
        if of.kind != "new"
    ]


def _families(number: int, seed: int, pool: Pool) -> Families:
    jobs = [(seed, start, min(start + 1000, number)) for start in range(0, number, 1000)]
    families: Families = defaultdict(dict)
    for found in pool.map(similarities, jobs, chunksize=1):
        for document, source, similarity in found:
            families[source][document] = similarity
    return families


def _judge(kept: set[int], number: int, families: Families, seed: int) -> tuple[float, float]:
    """Recall and precision, as the module says."""
    duplicates = [
        not (source in kept and document in kept)
        for source, members in families.items()
        for document, similarity in members.items()
        if similarity >= SIMILAR
    ]
    source_of = {document: source for source, members in families.items() for document in members}
    justified = [
        _resembles_one_that_stays(document, source_of.get(document, document), families, kept, seed)
        for document in range(number)
        if document not in kept
    ]
    return float(np.mean(duplicates)), float(np.mean(justified))


def _resembles_one_that_stays(document: int, source: int, families: Families, kept: set[int], seed: int) -> bool:
    family = families.get(source, {})
    # Two copies of one document are farther from each other than from it, so mostly this is all there is to compare.
    if source in kept and family[document] >= SIMILAR:
        return True
    words = document_words(seed, document)
    others = [other for other in [source, *family] if other in kept and other != document]
    return any(jaccard(words, document_words(seed, other)) >= SIMILAR for other in others)


def _by_similarity(kept: set[int], families: Families) -> list[str]:
    """For each range of similarity: the share of documents that do not stay beside what they were made of."""
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for source, members in families.items():
        for document, similarity in members.items():
            band = next(index for index, edge in enumerate(EDGES) if similarity >= edge)
            outcomes[band].append(not (source in kept and document in kept))
    return [f"{np.mean(outcomes[band]):.3f} of {len(outcomes[band])}" for band in range(len(EDGES))]


def _print_tables(
    results: list[tuple[int, str, dict[str, float], float, float]], left_out_by_similarity: dict[str, list[str]]
) -> None:
    print("\n| documents | system | seconds | of these | recall | precision |\n|---|---|---|---|---|---|")
    for number, system, seconds, recall, precision in results:
        total = sum(seconds.values())
        print(f"| {number:,} | {system} | {total:.1f} | {_told(seconds)} | {recall:.3f} | {precision:.3f} |")
    systems = list(left_out_by_similarity)
    print(f"\nOf {results[-1][0]:,} documents, the share that does not stay beside what it was made of:\n")
    print(f"| exact similarity | {' | '.join(systems)} |\n|---|{'---|' * len(systems)}")
    for band, edge in enumerate(EDGES):
        upper = "" if band == 0 else f" to {EDGES[band - 1]}"
        print(f"| {edge}{upper} | {' | '.join(left_out_by_similarity[system][band] for system in systems)} |")


def _told(seconds: dict[str, float]) -> str:
    return ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())


class _Peak:
    """The growth of this process's resident memory between entering and leaving, seen every 10 ms."""

    def __enter__(self) -> "_Peak":
        self._process, self._done = psutil.Process(), threading.Event()
        self._before = self._most = self._process.memory_info().rss
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self.mib = (self._most - self._before) / 2**20


if __name__ == "__main__":
    main()
