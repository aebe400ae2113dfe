"""What tests look for in a finished run folder."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from rcpt_ray.artifacts import Manifest, read_manifest


def manifests(run: Path, stage: str) -> list[Manifest]:
    """Manifests of the finished folders of a stage."""
    return [manifest for folder in sorted((run / stage).glob("*")) if (manifest := read_manifest(folder))]


def only_folder(run: Path, stage: str) -> Path:
    """The one folder of a stage."""
    (folder,) = (run / stage).iterdir()
    return folder


def rows(folder: Path, pattern: str = "part-*.parquet") -> list[dict[str, object]]:
    """All rows of a stage's parts."""
    return [row for part in sorted(folder.glob(pattern)) for row in pq.read_table(part).to_pylist()]


def assert_adds_up(run: Path) -> None:
    """Every manifest's counts agree with its rows, and no key stands twice."""
    corpus, thoughts = only_folder(run, "corpus"), only_folder(run, "thoughts")
    counts = manifests(run, "corpus")[0].counts
    documents = [*rows(corpus, "part-train-*"), *rows(corpus, "part-heldout-*")]
    assert len({row["doc_id"] for row in documents}) == len(documents) == counts.num_ok
    counts = manifests(run, "thoughts")[0].counts
    generated = rows(thoughts)
    assert counts.num_in == counts.num_ok + sum(counts.rejected.values()) == len(generated)
    assert len({(row["doc_id"], row["sample_index"]) for row in generated}) == len(generated)
    assert {row["doc_id"] for row in generated} == {row["doc_id"] for row in rows(corpus, "part-train-*")}
    for manifest in _all_manifests(run):
        assert manifest.counts.num_in == manifest.counts.num_ok + sum(manifest.counts.rejected.values())


def _all_manifests(run: Path) -> Iterator[Manifest]:
    for stage in ("corpus", "thoughts", "scores", "select", "mixture", "training", "evaluation", "report"):
        yield from manifests(run, stage)
