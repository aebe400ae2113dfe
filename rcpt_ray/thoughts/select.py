"""Select thoughts: reasoning span, truncation, gates, scores and the choice among samples, without an engine.

Of each document's samples that pass every gate one is kept; the others stay as rejected rows with their reason.
in = ok + rejected in (doc_id, sample_index). Parts are selected one by one, here or by workers on Ray; price: 0.06 ms
of CPU a row, 0.8 ms where all gates read the text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, remove_parts, write_table
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.ngrams import hash_words
from rcpt_ray.records import THOUGHT
from rcpt_ray.spread import Spread, here
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.gates import gate_that_refuses
from rcpt_ray.thoughts.select_spec import SelectSpec
from rcpt_ray.thoughts.truncate import TokenEnds, reasoning_span, token_ends_of, truncate, words_as_tokens

Row = dict[str, Any]
Score = Mapping[str, float | None]
"""gain_bits, critic."""
Scores = Mapping[tuple[str, int], Score]
"""(doc_id, sample_index) -> score."""
_MOST_SHOWN = 100
_NO_SCORE: Score = {}
_NO_SCORES: Scores = {}


class Selection:
    """Decides what becomes of generated rows."""

    def __init__(
        self,
        spec: SelectSpec,
        ends: TokenEnds,
        prompt_words: Sequence[str] = (),
        index: EvaluationIndex | None = None,
    ) -> None:
        self._spec, self._ends, self._prompt_words, self._index = spec, ends, prompt_words, index
        self.num_contaminated: Counter[str] = Counter()
        """Thoughts that hold a question, by evaluation set."""
        self.contaminated: list[dict[str, str]] = []
        """The first of them: document, question, the words in common."""

    def anew(self) -> "Selection":
        """The same rules, with nothing found yet."""
        return Selection(self._spec, self._ends, self._prompt_words, self._index)

    def rows(self, rows: Iterable[Row], scores: Scores = _NO_SCORES) -> list[Row]:
        """The same rows with their final text and status; at most one ok for each document."""
        scored = [(row, scores.get((row["doc_id"], row["sample_index"]), _NO_SCORE)) for row in rows]
        judged = self._decontaminated([self._judged(row, score) for row, score in scored])
        best: dict[str, tuple[float, int]] = {}
        for place, (row, reason) in enumerate(judged):
            if reason is None:
                rank = (self._value(row, scored[place][1]), -place)
                best[row["doc_id"]] = max(best.get(row["doc_id"], rank), rank)
        chosen = {-place for _, place in best.values()}
        return list(self._with_status(judged, chosen))

    def _judged(self, row: Row, score: Score) -> tuple[Row, str | None]:
        """The row with its thought as it would be used, and why it is not used."""
        if row["status"] != "ok":
            return row, str(row["reason"])
        spec, tokens = self._spec, row["num_thought_tokens"]
        logprob = row["thought_logprob"]
        row = row | {"logprob_per_token": None if logprob is None or not tokens else logprob / tokens}
        freed = reasoning_span(row["thought"], spec.reasoning_span)
        if freed is None:
            return row, "unclosed_reasoning"
        trims = spec.cut_off == "trim" and row["finish_reason"] == "length"
        if freed != row["thought"] or trims or (spec.max_thought_tokens or tokens) < tokens:
            cut = truncate(freed, spec.max_thought_tokens, self._ends, whole_sentences=trims)
            row |= {"thought": cut.text, "num_thought_tokens": cut.num_tokens, "thought_logprob": None}
        empty = None if row["thought"] else "empty_thought"
        return row, gate_that_refuses(row, spec, self._prompt_words) or self._refused_by_score(score) or empty

    def _decontaminated(self, judged: list[tuple[Row, str | None]]) -> list[tuple[Row, str | None]]:
        """The same, those that hold a question of the evaluation refused."""
        if self._index is None:
            return judged
        hits = iter(self._index.hits(hash_words([row["thought"] for row, reason in judged if reason is None])))
        kept = [(row, reason, next(hits) if reason is None else None) for row, reason in judged]
        for row, _, hit in kept:
            if hit is not None:
                self.num_contaminated[hit.set_name] += 1
                if len(self.contaminated) < _MOST_SHOWN:
                    question = f"{hit.set_name}/{hit.item_id}"
                    self.contaminated.append({"doc_id": row["doc_id"], "question": question, "words": hit.ngram})
        return [(row, "contaminated" if hit is not None else reason) for row, reason, hit in kept]

    def _refused_by_score(self, score: Score) -> str | None:
        spec, gain, critic = self._spec, score.get("gain_bits"), score.get("critic")
        if spec.min_gain_bits is not None and (gain is None or gain < spec.min_gain_bits):
            return "no_gain"
        if spec.min_critic_score is not None and (critic is None or critic < spec.min_critic_score):
            return "poor"
        return None

    def _value(self, row: Row, score: Score) -> float:
        """What a sample is chosen by; the first of the best wins."""
        value: float | None = 0.0
        match self._spec.choose:
            case "logprob":
                value = row["logprob_per_token"]
            case "gain":
                value = score.get("gain_bits")
            case "critic":
                value = score.get("critic")
        return float("-inf") if value is None else value

    @staticmethod
    def _with_status(judged: Sequence[tuple[Row, str | None]], chosen: set[int]) -> Iterator[Row]:
        for place, (row, refused) in enumerate(judged):
            reason = refused or ("" if place in chosen else "not_chosen")
            row = {name: value for name, value in row.items() if name != "logprob_per_token"}
            yield row | {"status": "rejected" if reason else "ok", "reason": reason}


def make_selection(
    spec: SelectSpec,
    teacher_path: str,
    prompt_words: Sequence[str],
    index: EvaluationIndex | None,
    trust_remote_code: bool = False,
) -> Selection:
    """The selection of a teacher's thoughts; without a model (the fake engine) tokens are words."""
    ends = token_ends_of(teacher_path, trust_remote_code) if teacher_path else words_as_tokens
    return Selection(spec, ends, prompt_words, index)


def select(
    parts: Sequence[Path],
    selection: Selection,
    folder: Path,
    scores_folder: Path | None = None,
    spread: Spread | None = None,
    bar: Bar | None = None,
) -> Outcome:
    """Write the selected rows of each generated part under the same name into `folder`.

    Parts are independent of each other, so the files and the outcome are the same wherever they are selected.
    """
    remove_parts(folder)
    work = partial(_select_part, selection=selection, folder=folder, scores_folder=scores_folder)
    num_bytes = sum(part.stat().st_size for part in parts)
    done = (spread or here())(work, parts, num_bytes, num_threads=1)
    # In the order of the parts: which of the contaminated thoughts are shown must not depend on who was first.
    of_parts = sorted(bar.over(done) if bar else done, key=lambda selected: selected.part)
    counts, tokens, contaminated = Counter[str](), Counter[str](), Counter[str]()
    sources: dict[str, Counter[str]] = {}
    for each in of_parts:
        counts.update(each.counts)
        tokens.update(each.tokens)
        contaminated.update(each.num_contaminated)
        for source, own in each.sources.items():
            sources.setdefault(source, Counter()).update(own)
    num_ok = counts.pop("ok", 0)
    return Outcome(
        counts=Counts.of("doc_id with sample_index", num_ok, counts),
        tokens=dict(tokens),
        details={
            "sources": {source: dict(own) for source, own in sorted(sources.items())},
            "num_contaminated": dict(sorted(contaminated.items())),
            "contaminated": [found for each in of_parts for found in each.contaminated][:_MOST_SHOWN],
        },
    )


@dataclass(frozen=True)
class SelectedPart:
    """What the selection of one part came to."""

    part: str
    counts: Mapping[str, int]
    """Rows by reason; those that are used are `ok`."""
    tokens: Mapping[str, int]
    sources: Mapping[str, Mapping[str, int]]
    num_contaminated: Mapping[str, int]
    contaminated: Sequence[dict[str, str]]


def _select_part(part: Path, selection: Selection, folder: Path, scores_folder: Path | None) -> SelectedPart:
    scores = read_scores(part, scores_folder) if scores_folder else _NO_SCORES
    own_selection = selection.anew()
    rows = own_selection.rows(pq.read_table(part).to_pylist(), scores)
    counts, tokens = Counter[str](), Counter[str]()
    sources: dict[str, Counter[str]] = {}
    for row in rows:
        is_used = row["status"] == "ok"
        counts[row["reason"] or "ok"] += 1
        tokens["thought" if is_used else "thought_rejected"] += row["num_thought_tokens"]
        own = sources.setdefault(row["source"], Counter())
        own["ok" if is_used else "rejected"] += 1
        own["thought_tokens" if is_used else "rejected_tokens"] += row["num_thought_tokens"]
    write_table(folder / part.name, pa.Table.from_pylist(rows, schema=THOUGHT))
    return SelectedPart(part.name, counts, tokens, sources, own_selection.num_contaminated, own_selection.contaminated)


def read_scores(part: Path, scores_folder: Path) -> Scores:
    """Scores of a generated part's rows; their file begins with the part's own name."""
    (scored,) = scores_folder.glob(f"{part.stem}-*.parquet")
    return {
        (row["doc_id"], row["sample_index"]): {"gain_bits": row["gain_bits"], "critic": row["critic"]}
        for row in pq.read_table(scored).to_pylist()
    }
