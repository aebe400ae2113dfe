"""Corpus and mixture are the same bytes in this process and on any number of workers on Ray."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from mixture_fixtures import quiet_bar

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.corpus.digest import shard_digest
from rcpt_ray.corpus.prepare import prepare
from rcpt_ray.corpus.spec import TRAIN_PARTS, CorpusSpec
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.mix import MixtureInput, mix
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import text_tokenizer, token_counter
from rcpt_ray.spread import Spread, here

WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "nrlstm"]
SPEC = {"heldout_share": 0.1, "min_words": 5, "passage_tokens": 96, "shard_documents": 16}


@pytest.fixture(scope="module", autouse=True)
def ray_of_four() -> Iterator[None]:
    with cluster.session():
        cluster.connect(ClusterSpec(num_cpus=4))
        yield


def write_files(folder: Path) -> Path:
    """Six files of documents of several paragraphs, of which some stand twice."""
    folder.mkdir()
    for number in range(6):
        drawn = random.Random(number)
        texts = ["\n\n".join(" ".join(drawn.choices(WORDS, k=40)) + "." for _ in range(5)) for _ in range(20)]
        rows = [{"id": f"{number}-{n}", "text": text} for n, text in enumerate([*texts, texts[3]])]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def parts_of(folder: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in folder.glob("part-*")}


@pytest.mark.parametrize("numbers", [(1, 3), pytest.param((1, 2, 4), marks=pytest.mark.slow)])
def test_parts_are_the_same_bytes_on_any_number_of_workers(
    numbers: tuple[int, ...], tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rcpt_ray.corpus.reading.pieces.PIECE_BYTES", 4000)
    monkeypatch.setattr("rcpt_ray.mixture.mix._WINDOW_TOKENS", 4000)
    monkeypatch.setattr("rcpt_ray.mixture.mix._WINDOW_ROWS", 8)
    source = {"path": str(write_files(tmp_path / "in")), "domain": "stem"}
    corpus = CorpusSpec.model_validate(SPEC | {"sources": {"web": source}})
    mixture = MixtureSpec(layout="text_only", documents="all", row_tokens=256, num_tokens=30_000, max_repeats=9)
    tokenizer = text_tokenizer(str(tiny_model_folder), mixture)
    made: dict[int, tuple[dict[str, bytes], dict[str, bytes]]] = {}
    for num_workers in numbers:
        spread = Spread(num_workers, lambda: None)
        folders = [tmp_path / f"{stage}-{num_workers}" for stage in ("corpus", "mixture")]
        for folder in folders:
            folder.mkdir()
        count_tokens = token_counter(str(tiny_model_folder))
        outcome = prepare(corpus, 17, folders[0], quiet_bar(), spread, count_tokens=count_tokens)
        shards = [(shard_digest(shard), shard) for shard in sorted(folders[0].glob(TRAIN_PARTS))]
        mix(MixtureInput(shards, ["web"], []), mixture, None, None, 17, tokenizer, folders[1], spread, quiet_bar())
        made[num_workers] = parts_of(folders[0]), parts_of(folders[1])
        assert outcome.counts.rejected["duplicate_text"] >= 6
    assert all(parts == made[1] for parts in made.values())
    assert min(map(len, made[1])) > 5


@pytest.mark.slow
def test_mistake_in_a_piece_is_told_in_the_same_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcpt_ray.corpus.reading.pieces.PIECE_BYTES", 4000)
    folder = write_files(tmp_path / "in")
    (folder / "4.jsonl").write_bytes(b"{broken\n" + b"x" * 100_000)
    corpus = CorpusSpec.model_validate(
        {"sources": {"web": {"path": str(folder), "domain": "stem"}}, "near_duplicates": None}
    )
    told = []
    for name, spread in (("here", here()), ("there", Spread(2, lambda: None))):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError) as mistake:
            prepare(corpus, 17, tmp_path / name, quiet_bar(), spread)
        told.append(str(mistake.value))
    assert told[0] == told[1]
    assert "4.jsonl line 1 is not JSON" in told[0]
