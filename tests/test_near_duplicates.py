"""Duplicates: the exact ones by a sequential rule, the near ones by MinHash, none by looking at all pairs."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcpt_ray.corpus.duplicates import (
    DUPLICATE_ID,
    DUPLICATE_TEXT,
    REASONS,
    STAYS,
    digests_array,
    exact_duplicates,
    id_digest,
    text_digest,
)
from rcpt_ray.corpus.near_duplicates import MAX_COMPARED, Signatures, Signer, near_duplicates
from rcpt_ray.corpus.ngrams import hash_words, ngram_hashes, split_words
from rcpt_ray.corpus.spec import NearDuplicatesSpec

SPEC = NearDuplicatesSpec()
SMALL = NearDuplicatesSpec(num_bands=3, rows_per_band=2, min_similarity=0.5)


def _text(seed: int, num_words: int = 250) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(num_words)]


def _sign(*texts: list[str] | str) -> Signatures:
    joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
    return Signer(SPEC).sign(hash_words(joined))


def _repeats(*texts: list[str] | str) -> list[int]:
    return [int(earlier) for earlier in near_duplicates(_sign(*texts), SPEC)]


# Words and n-grams


def test_words_ignore_case_punctuation_and_white_space() -> None:
    assert split_words("He said:\n“NO way!” in 1999.") == ["he", "said", "no", "way", "in", "1999"]


def test_a_text_without_words_is_split_at_white_space() -> None:
    assert split_words("-- ** --") == ["--", "**", "--"]
    assert split_words(" \n") == []


def test_an_ngram_has_the_same_hash_wherever_it_stands() -> None:
    hashes = hash_words(["a b c d e", "x y b c d"]).hashes_W
    grams = ngram_hashes(hashes, 3)
    assert grams[1] == grams[7]
    assert len(set(grams.tolist())) == len(grams) - 1
    assert len(ngram_hashes(hashes, 11)) == 0


# Signatures


def test_share_of_equal_hashes_estimates_the_jaccard_similarity_without_bias() -> None:
    # 600 words of which 450 are shared give 446 common 5-grams of 596 + 596 - 446: a similarity of 0.598.
    pairs = [(_text(seed, 600), _text(seed, 600)[:450] + _text(seed + 1000, 150)) for seed in range(40)]
    estimates = [(a == b).mean() for a, b in (_sign(first, second) for first, second in pairs)]
    assert abs(np.mean(estimates) - 446 / 746) < 0.02
    assert np.std(estimates) < 0.06


def test_a_signature_does_not_depend_on_the_batch() -> None:
    texts = [" ".join(_text(seed, 3 + 40 * seed)) for seed in range(6)] + ["", "...", "one two"]
    together = Signer(SPEC).sign(hash_words(texts))
    alone = np.concatenate([Signer(SPEC).sign(hash_words([text])) for text in texts])
    assert (together == alone).all()
    assert together.shape == (9, 112)


def test_a_text_shorter_than_an_ngram_counts_as_one() -> None:
    assert _repeats("alpha beta", "Alpha, beta!", "alpha gamma", "alpha") == [-1, 0, -1, -1]


@pytest.mark.parametrize("environment", [{"RENSA_FORCE_KERNEL": "scalar", "RAYON_NUM_THREADS": "1"}, {}])
def test_signatures_are_the_same_in_another_process_with_other_instructions_and_threads(
    environment: dict[str, str],
) -> None:
    script = (
        "import hashlib\n"
        "from rcpt_ray.corpus.ngrams import hash_words\n"
        "from rcpt_ray.corpus.near_duplicates import Signer\n"
        "from rcpt_ray.corpus.spec import NearDuplicatesSpec\n"
        "words = hash_words([' '.join(f'w{i * j % 97}' for i in range(200)) for j in range(700)])\n"
        "print(hashlib.sha256(Signer(NearDuplicatesSpec()).sign(words).tobytes()).hexdigest())\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    words = hash_words([" ".join(f"w{i * j % 97}" for i in range(200)) for j in range(700)])
    assert other.stdout.strip() == hashlib.sha256(Signer(SPEC).sign(words).tobytes()).hexdigest()


def test_signatures_are_those_of_the_version_that_runs_were_made_with() -> None:
    # If this fails after an update of rensa, old and new signatures do not compare: raise the corpus STAGE_VERSION.
    assert hashlib.sha256(_sign(_text(0), _text(1)).tobytes()).hexdigest()[:16] == "f30011bda2fe6ead"


# Near duplicates


def test_a_text_with_a_few_words_changed_is_left_out_and_the_first_stays() -> None:
    first, changed = _text(0), _text(0)
    changed[40], changed[200] = "other", "words"
    assert _repeats(_text(1), first, changed, _text(2), first[:-2]) == [-1, -1, 1, -1, 1]


def test_a_text_that_shares_a_paragraph_stays() -> None:
    assert _repeats(_text(0), _text(0)[:125] + _text(1)[:125]) == [-1, -1]


def test_a_chain_of_small_changes_does_not_carry_away_what_resembles_nothing_that_stays() -> None:
    # Each text replaces the next 10 of 250 words: neighbours share 0.85 of their n-grams, the first and the last none.
    fresh = _text(1)
    chain = [fresh[: 10 * step] + _text(0)[10 * step :] for step in range(26)]
    repeats = near_duplicates(signatures := _sign(*chain), SPEC)
    for later, earlier in enumerate(repeats):
        if earlier >= 0:
            assert repeats[earlier] == -1
            assert (signatures[later] == signatures[earlier]).mean() >= SPEC.min_similarity
    assert 5 <= (repeats == -1).sum() <= 20


def test_documents_left_out_already_are_not_compared_with() -> None:
    signatures = _sign(_text(0), _text(0), _text(0))
    assert near_duplicates(signatures, SPEC, np.array([True, False, False])).tolist() == [-1, -1, 1]


def test_a_memory_map_gives_the_same_as_an_array(tmp_path: Path) -> None:
    signatures = _sign(_text(0), _text(1), _text(0))
    np.save(tmp_path / "signatures.npy", signatures)
    mapped = np.load(tmp_path / "signatures.npy", mmap_mode="r")
    assert near_duplicates(mapped, SPEC).tolist() == near_duplicates(signatures, SPEC).tolist() == [-1, -1, 0]


def test_no_documents_at_all() -> None:
    assert near_duplicates(np.empty((0, 112), np.uint16), SPEC).tolist() == []


def test_twenty_thousand_variants_of_one_text_cost_a_comparison_each() -> None:
    # All meet in the same bucket; comparing each with each would be 200,000,000 comparisons.
    variants = np.tile(_sign(_text(0)), (20_000, 1))
    variants[np.arange(20_000), np.arange(20_000) % 100] += 1
    assert (near_duplicates(variants, SPEC)[1:] == 0).all()


def test_of_dissimilar_documents_that_share_a_band_only_the_first_are_compared_with() -> None:
    signatures = np.arange(40 * 6, dtype=np.uint16).reshape(40, 6)
    signatures[:, :2] = 9
    repeated = signatures[[0, MAX_COMPARED - 1, MAX_COMPARED]]
    repeated[:, 2] += 1000
    repeated[:, 4] += 1000
    repeats = near_duplicates(np.concatenate([signatures, repeated]), SMALL)
    assert repeats[40:].tolist() == [0, MAX_COMPARED - 1, -1]


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), max_size=15), st.data())
def test_the_rule_is_that_of_a_walk_through_the_documents(rows: list[list[int]], data: st.DataObject) -> None:
    rejected = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    signatures = np.array(rows, dtype=np.uint16).reshape(len(rows), 6)
    found = near_duplicates(signatures, SMALL, np.array(rejected, dtype=bool))
    assert found.tolist() == _walk(rows, rejected)


def _walk(rows: list[list[int]], rejected: list[bool]) -> list[int]:
    stayed: list[int] = []
    repeats = []
    for number, row in enumerate(rows):
        similar = [
            earlier
            for earlier in stayed
            if any(rows[earlier][at : at + 2] == row[at : at + 2] for at in (0, 2, 4))
            and sum(a == b for a, b in zip(rows[earlier], row, strict=True)) >= 3
        ]
        repeats.append(similar[0] if similar and not rejected[number] else -1)
        if not rejected[number] and not similar:
            stayed.append(number)
    return repeats


# Exact duplicates


def test_texts_are_equal_after_folding_white_space_and_case() -> None:
    assert text_digest("Force equals\n  mass") == text_digest("force EQUALS mass")
    assert text_digest("force") != text_digest("forces")
    assert len(text_digest("\ud800")) == 16


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=30))
def test_the_rule_for_exact_duplicates_is_the_sequential_one(rows: list[tuple[int, int, bool]]) -> None:
    ids = digests_array(b"".join(id_digest(f"law/{row_id}") for row_id, _, _ in rows))
    texts = digests_array(b"".join(text_digest(f"text {text}") for _, text, _ in rows))
    rejected = np.array([gone for _, _, gone in rows], dtype=bool)
    assert [REASONS[code] for code in exact_duplicates(ids, texts, rejected)] == _one_after_the_other(rows)


def _one_after_the_other(rows: list[tuple[int, int, bool]]) -> list[str | None]:
    ids: set[int] = set()
    texts: set[int] = set()
    reasons: list[str | None] = []
    for row_id, text, gone in rows:
        reason = None if gone else "duplicate_id" if row_id in ids else "duplicate_text" if text in texts else None
        reasons.append(reason)
        if not gone and reason is None:
            ids.add(row_id)
            texts.add(text)
    return reasons


def test_a_row_left_out_as_a_duplicate_reserves_neither_its_id_nor_its_text() -> None:
    rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "y")]
    ids = digests_array(b"".join(id_digest(row_id) for row_id, _ in rows))
    texts = digests_array(b"".join(text_digest(text) for _, text in rows))
    assert exact_duplicates(ids, texts).tolist() == [STAYS, DUPLICATE_ID, DUPLICATE_TEXT, STAYS, DUPLICATE_TEXT]


def test_digests_that_agree_in_half_their_bytes_are_different() -> None:
    ids = digests_array(bytes(8) + bytes([1]) * 8 + bytes(8) + bytes([2]) * 8)
    assert exact_duplicates(ids, ids[:, ::-1]).tolist() == [STAYS, STAYS]
