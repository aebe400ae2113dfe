"""What generated answers tell of the thoughts: how long, how often cut, and how they differ between samples.

    rows of records.ANSWER -> measures by item (tokens and sentences of the thought, share that hit the limit)
                           -> depth by difficulty, for right and wrong answers
                           -> diversity of the samples of a question

Distinct-n is the number of different n-grams over the number of words (Li et al., arXiv 1510.03055), over all samples
of a question, then the mean over questions; words are what stands between white space, in lower case. Price: numbers
are read as columns; n-grams are counted for at most NUM_DIVERSE questions of a task, chosen by a hash of their ids.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rcpt_ray.report.statistics.measures import FIELDS, Key, Measure, read_measures

NUM_DIVERSE: Final = 500
_PER_ITEM: Final = {
    "thought_tokens": "num_thought_tokens",
    "thought_sentences": "num_thought_sentences",
    "hit_limit": "hit_limit",
}


@dataclass(frozen=True)
class Depth:
    """Thoughts of one group of answers: means over answers, None where there is no such answer."""

    num_answers: int
    tokens: float | None
    tokens_right: float | None
    tokens_wrong: float | None
    sentences: float | None
    sentences_right: float | None
    sentences_wrong: float | None
    limit_share: float | None
    not_extracted_share: float | None


@dataclass(frozen=True)
class Diversity:
    """How the samples of a question differ; means over questions."""

    num_questions: int
    num_samples: float
    answers: float
    """Different answers a question, no answer not counted."""
    distinct_1: float | None
    distinct_2: float | None


def answer_measures(answers: Sequence[pa.Table | None]) -> dict[Key, Measure]:
    """Tokens, sentences and hit limits as measures by item, each the mean over the item's samples."""
    tables = [None if table is None or not len(table) else _by_item(table) for table in answers]
    if not any(tables):
        return {}
    empty = next(table for table in tables if table is not None).slice(0, 0)
    return read_measures([empty if table is None else table for table in tables])


def depth_by(answers: Sequence[pa.Table], task: str, field: str) -> dict[str, Depth]:
    """Depth of the answers of all seeds of a line, by a field's values and over all (empty field: only that)."""
    table = _of_task(answers, task)
    if not len(table):
        return {}
    columns = {
        name: table[name].to_numpy().astype(np.float64) for name in ("num_thought_tokens", "num_thought_sentences")
    }
    flags = {name: table[name].to_numpy().astype(np.bool_) for name in ("right", "hit_limit")}
    flags["missing"] = table["answer"].is_null().to_numpy()
    groups = {"all": np.ones(len(table), np.bool_)}
    if field:
        values = table[field].combine_chunks().dictionary_encode()
        codes = values.indices.to_numpy(zero_copy_only=False)
        groups |= {str(name): codes == code for code, name in enumerate(values.dictionary.to_pylist()) if name}
    return {name: _depth(columns, flags, inside) for name, inside in groups.items()}


def diversity_of(answers: Sequence[pa.Table], task: str) -> Diversity | None:
    """Diversity of one task's samples, those of each seed by themselves; None without answers."""
    parts = [_diversity(_of_task([table], task)) for table in answers]
    found = [part for part in parts if part is not None]
    if not found:
        return None
    means = [
        _mean([getattr(part, name) for part in found])
        for name in ("num_samples", "answers", "distinct_1", "distinct_2")
    ]
    return Diversity(found[0].num_questions, means[0] or 0.0, means[1] or 0.0, means[2], means[3])


def _by_item(table: pa.Table) -> pa.Table:
    numbers = table.select(["task", "item_id", *FIELDS])
    for metric, column in _PER_ITEM.items():
        numbers = numbers.append_column(metric, pc.cast(pc.cast(table[column], pa.int32()), pa.float64()))
    shared = ["task", "item_id", *FIELDS]
    grouped = numbers.group_by(shared).aggregate([(metric, "mean") for metric in _PER_ITEM])
    ones = pa.array(np.ones(len(grouped)))
    return pa.concat_tables(
        grouped.select(shared)
        .append_column("metric", pa.repeat(metric, len(grouped)))
        .append_column("value", grouped[f"{metric}_mean"])
        .append_column("weight", ones)
        for metric in _PER_ITEM
    )


def _of_task(answers: Sequence[pa.Table], task: str) -> pa.Table:
    names = ["task", "item_id", "difficulty", "category", "domain", "thought", "answer", "right", "hit_limit"]
    names += ["num_thought_tokens", "num_thought_sentences"]
    tables = [table.select(names).filter(pc.equal(table["task"], task)) for table in answers]
    return pa.concat_tables(tables)


def _depth(columns: dict[str, Any], flags: dict[str, Any], inside: npt.NDArray[np.bool_]) -> Depth:
    right, wrong = inside & flags["right"], inside & ~flags["right"]
    means = [
        float(columns[name][chosen].mean()) if chosen.any() else None
        for name in ("num_thought_tokens", "num_thought_sentences")
        for chosen in (inside, right, wrong)
    ]
    shares = [float(flags[name][inside].mean()) if inside.any() else None for name in ("hit_limit", "missing")]
    return Depth(int(inside.sum()), *means, *shares)


def _diversity(table: pa.Table) -> Diversity | None:
    if not len(table):
        return None
    items = table["item_id"].combine_chunks().dictionary_encode()
    codes = items.indices.to_numpy(zero_copy_only=False)
    num_items = len(items.dictionary)
    given = table["answer"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    pairs = np.unique(np.stack([codes, given])[:, given >= 0], axis=1)
    chosen = np.isin(codes, _chosen(items.dictionary.to_pylist()))
    distinct = _distinct(table["thought"].filter(pa.array(chosen)), codes[chosen])
    return Diversity(num_items, len(codes) / num_items, pairs.shape[1] / num_items, *distinct)


def _chosen(item_ids: Sequence[str]) -> list[int]:
    """Places of the questions whose n-grams are counted."""
    by_hash = sorted(range(len(item_ids)), key=lambda place: hashlib.sha256(item_ids[place].encode()).digest())
    return by_hash[:NUM_DIVERSE]


def _distinct(thoughts: pa.ChunkedArray, items: npt.NDArray[Any]) -> tuple[float | None, float | None]:
    """Distinct-1 and distinct-2; questions without any word are left out."""
    words = pc.utf8_split_whitespace(pc.utf8_lower(pc.utf8_trim_whitespace(thoughts))).combine_chunks()
    thought_of_word = pc.list_parent_indices(words).to_numpy(zero_copy_only=False).astype(np.int64)
    texts = words.flatten()
    kept = pc.not_equal(texts, "").to_numpy(zero_copy_only=False).astype(np.bool_)
    codes = texts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)[kept]
    thought_of_word = thought_of_word[kept]
    if not len(codes):
        return None, None
    item_of_word, size = items[thought_of_word].astype(np.int64), int(codes.max()) + 1
    num_items = int(items.max()) + 1
    num_words = np.bincount(item_of_word, minlength=num_items)
    ones = np.unique(item_of_word * size + codes) // size
    neighbours = thought_of_word[1:] == thought_of_word[:-1]
    pair_codes = np.unique(codes[:-1] * size + codes[1:], return_inverse=True)[1][neighbours]
    span = int(pair_codes.max(initial=0)) + 1
    twos = np.unique(item_of_word[1:][neighbours] * span + pair_codes) // span
    has_words = num_words > 0
    shares = [np.bincount(found, minlength=num_items)[has_words] / num_words[has_words] for found in (ones, twos)]
    return float(shares[0].mean()), float(shares[1].mean())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
