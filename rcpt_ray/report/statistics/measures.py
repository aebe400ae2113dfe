"""Scores of all variants side by side: one matrix a metric of a task, its columns the items in the order of their ids.

    scores.parquet of V variants -> Measure: values_VN, present_VN, weights_N, and the fields that items are grouped by

V variants, N items, G groups. A score that is no number stays NaN and present; what a variant was not asked is absent.
The order of rows in a file changes nothing. Price: a join by hash for each variant, 5 ms for 14,000 items.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Key = tuple[str, str]
"""Task and metric."""

FIELDS: Final = ("category", "domain", "subject", "difficulty")
ALL: Final = "all"
NO_VALUE: Final = "unknown"
DIFFICULTIES: Final = ("easy", "medium", "hard", "very_hard")
_CATEGORIES: Final = ("stem", "humanities", "social_sciences", "other")
_NOT_SHARES: Final = ("bits_per_byte", "thought_nats", "gain", "thought_tokens", "thought_sentences")
_LESS_IS_BETTER: Final = ("bits_per_byte", "thought_nats")


@dataclass(frozen=True)
class Groups:
    """A division of N items into named groups; an item of code -1 is in none.

    Example: names [easy, hard], codes_N [0, 0, 1] are two easy items and a hard one.
    """

    names: list[str]
    codes_N: npt.NDArray[np.intp]

    def sums(self, values_N: Floats) -> Floats:
        """float64[G]: the sum of the values in each group."""
        inside_N = self.codes_N >= 0
        sums_G = np.bincount(self.codes_N[inside_N], values_N[inside_N], len(self.names))
        return sums_G.astype(np.float64)

    def spread(self, values_G: Floats) -> Floats:
        """float64[N]: each item its group's value, 0 for items in none."""
        if not self.names:
            return np.zeros(len(self.codes_N))
        return np.where(self.codes_N >= 0, values_G[self.codes_N], 0.0)

    def among(self, present_N: Bools) -> "Groups":
        """The same groups without the items that are not present."""
        return Groups(self.names, np.where(present_N, self.codes_N, -1))


@dataclass(frozen=True)
class Measure:
    """One metric of one task over all variants."""

    task: str
    metric: str
    item_ids: list[str]
    values_VN: Floats
    present_VN: Bools
    weights_N: Floats
    """Weights of the items, of the first variant that has them; equal for all variants of a run."""
    fields: dict[str, npt.NDArray[np.object_]]
    """Text[N] for each of FIELDS; empty where an item does not have it."""
    _groups: dict[str, Groups] = dataclasses.field(default_factory=dict)

    @property
    def is_share(self) -> bool:
        """Whether the values are shares, so that intervals end at 0 and 1."""
        values = self.values_VN[self.present_VN]
        return self.metric not in _NOT_SHARES and bool(np.all((values >= 0) & (values <= 1)))

    @property
    def less_is_better(self) -> bool:
        return self.metric in _LESS_IS_BETTER

    @property
    def label(self) -> str:
        """The measure as the report calls it."""
        match self.metric:
            case "acc":
                return f"{self.task}: accuracy"
            case "bits_per_byte":
                return "Bits/byte"
            case "thought_nats":
                return "Thoughts: nats/token"
            case "gain":
                return "Gain of thoughts: bits/byte"
            case metric:
                return f"{self.task}: {metric}"

    def groups(self, field: str) -> Groups:
        """The items by a field, or all of them in one group; groups in the report's order, items without it in none."""
        if field not in self._groups:
            self._groups[field] = self._grouped(field)
        return self._groups[field]

    def _grouped(self, field: str) -> Groups:
        if field == ALL:
            return Groups([ALL], np.zeros(len(self.item_ids), np.intp))
        names, codes_N = np.unique(self.fields[field].astype(str), return_inverse=True)
        order = sorted((str(name) for name in names if name), key=group_rank)
        place = {name: order.index(name) if name in order else -1 for name in map(str, names)}
        return Groups(order, np.array([place[str(name)] for name in names], np.intp)[codes_N])


def group_rank(group: str) -> tuple[int, str]:
    """Difficulties from easy to very hard, MMLU's categories in its order, anything else by name."""
    plain = group.lower().replace(" ", "_")
    known = (*DIFFICULTIES, *_CATEGORIES)
    return (known.index(plain) if plain in known else len(known), group)


def read_measures(scores: Sequence[pa.Table]) -> dict[Key, Measure]:
    """Every metric of every task, by task and metric, from the rows (records.SCORE) of each variant."""
    split = [_split(table) for table in scores]
    keys = sorted({key for of_variant in split for key in of_variant}, key=_metric_rank)
    return {key: _measure(key, [of_variant.get(key) for of_variant in split]) for key in keys}


def _metric_rank(key: Key) -> tuple[Any, ...]:
    task, metric = key
    name, _, number = metric.partition("@")
    return (metric in _NOT_SHARES, task, metric != "acc", name, int(number) if number.isdecimal() else 0)


def _split(table: pa.Table) -> dict[Key, pa.Table]:
    """The rows by task and metric."""
    keys = table.group_by(["task", "metric"]).aggregate([]).to_pylist()
    if len(keys) == 1:
        return {(keys[0]["task"], keys[0]["metric"]): table}
    parts = {}
    for key in keys:
        mask = pc.and_(pc.equal(table["task"], key["task"]), pc.equal(table["metric"], key["metric"]))
        parts[key["task"], key["metric"]] = table.filter(mask)
    return parts


def _measure(key: Key, tables: Sequence[pa.Table | None]) -> Measure:
    ids = pc.unique(pa.chunked_array([chunk for table in tables if table for chunk in table["item_id"].chunks]))
    ids = ids.take(pc.sort_indices(ids))
    values_VN = np.full((len(tables), len(ids)), np.nan)
    present_VN = np.zeros((len(tables), len(ids)), np.bool_)
    weights_N = np.zeros(len(ids))
    fields = {field: np.full(len(ids), "", object) for field in FIELDS}
    told_N = np.zeros(len(ids), np.bool_)
    for variant, table in enumerate(tables):
        if table is None:
            continue
        place = pc.index_in(table["item_id"], value_set=ids).to_numpy()
        assert len(np.unique(place)) == len(place), f"an item of {key} is scored twice"
        values_VN[variant, place] = table["value"].to_numpy()
        present_VN[variant, place] = True
        new = ~told_N[place]
        if new.any():
            weights_N[place[new]] = table["weight"].to_numpy()[new]
            rows = pa.array(np.flatnonzero(new))
            for field in FIELDS:
                fields[field][place[new]] = table[field].take(rows).fill_null("").to_numpy(zero_copy_only=False)
            told_N[place] = True
    return Measure(*key, ids.to_pylist(), values_VN, present_VN, weights_N, fields)
