"""Held-out text in bits per byte, and what its thoughts are worth.

    bits_per_byte   -log2 p(text) / bytes, in windows of the model's context (lm-eval's rolling likelihood)
    thought_nats    -ln p(thought | opening) / tokens of the thought; exp of it is the perplexity
    gain            (log2 p(text | opening thought closing) - log2 p(text)) / bytes of the text

Conditional likelihoods are differences of those of whole strings behind the start token,
ln p(b | a) = ln p(a b) - ln p(a), because lm-eval moves the white space at the end of a context, such as that of a
delimiter, into what is scored. Judging a thought by the likelihood of what follows is BoLT's idea (arXiv 2503.18866).

A thought that does not fit into the context together with its text is rejected as too_long, one that select rejected
is so here; every row is counted. Price: the text is read twice and the thought three times.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from rcpt_ray.evaluation.asked import Asked, Row, Rows, TaskSet
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.rows import score
from rcpt_ray.evaluation.spec import HELDOUT
from rcpt_ray.evaluation.tasks import make_task

THOUGHTS = "heldout_thoughts"
_STEPS = ("text", "opening", "thought", "closing", "all")
"""The strings whose likelihoods are taken: the text alone, and behind the start what each step adds."""


def heldout_set(job: EvaluationJob) -> TaskSet | None:
    """Bits per byte of the held-out documents; None without documents."""
    documents = _rows(job.heldout_parts, ["doc_id", "domain", "text"])
    if not documents:
        return None
    task = make_task(
        HELDOUT,
        {"test": [one | {"item_id": one["doc_id"]} for one in documents]},
        num_fewshot=0,
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="text",
        metric_list=[{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
    )
    asked = Asked(HELDOUT, task, 0, len(documents))
    return TaskSet(HELDOUT, "likelihood", [asked], _bits, {"kind": HELDOUT}, len(documents))


def thoughts_set(job: EvaluationJob, count_tokens: Callable[[str], int], max_tokens: int) -> TaskSet | None:
    """What the thoughts of held-out documents cost and save; None without thoughts.

    `count_tokens` counts as the model that is measured reads a text; `max_tokens` is how many of a text's tokens it can
    predict at once.
    """
    thoughts = _rows(job.thought_parts, ["doc_id", "domain", "text", "thought", "status", "reason", "sample_index"])
    if not thoughts:
        return None
    of_document: dict[str, Row] = {}
    for one in thoughts:
        if one["doc_id"] not in of_document or one["status"] == "ok":
            of_document[one["doc_id"]] = one
    rejected = Counter(one["reason"] for one in of_document.values() if one["status"] != "ok")
    kept = [one | {"strings": _strings(one, job)} for one in of_document.values() if one["status"] == "ok"]
    fitting = [one for one in kept if count_tokens(one["strings"]["all"]) <= max_tokens]
    rejected["too_long"] += len(kept) - len(fitting)
    documents = [
        {
            "item_id": one["doc_id"],
            "domain": one["domain"],
            "step": step,
            "string": string,
            "num_bytes": len(one["text"].encode()),
            "num_tokens": count_tokens(one["thought"]),
        }
        for one in fitting
        for step, string in one["strings"].items()
        if string
    ]
    asked = []
    if documents:
        task = make_task(
            THOUGHTS,
            {"test": documents},
            num_fewshot=0,
            output_type="loglikelihood",
            doc_to_text="",
            doc_to_target="string",
            process_results=_nats,
            metric_list=[{"metric": "nats", "aggregation": "mean", "higher_is_better": False}],
        )
        asked.append(Asked(THOUGHTS, task, 0, len(documents), prompts=[""] * len(documents)))
    return TaskSet(THOUGHTS, "likelihood", asked, _worth, {"kind": THOUGHTS}, len(fitting), +rejected)


def _strings(row: Row, job: EvaluationJob) -> dict[str, str]:
    opening = job.thought_open
    thought = opening + row["thought"]
    closing = thought + job.thought_close
    strings = (row["text"], opening, thought, closing, closing + row["text"])
    return dict(zip(_STEPS, strings, strict=True))


def _rows(parts: Sequence[Path], columns: list[str]) -> list[Row]:
    return [row for part in parts for row in pq.read_table(part, columns=columns).to_pylist()]


def _nats(document: Row, results: list[tuple[float, bool]]) -> dict[str, float]:
    return {"nats": results[0][0]}


def _bits(name: str, samples: Sequence[Row]) -> Rows:
    rows = Rows()
    for sample in samples:
        log_likelihood, num_bytes = sample["bits_per_byte"]
        bits = -log_likelihood / num_bytes / math.log(2)
        rows.scores.append(score(HELDOUT, sample["doc"], "bits_per_byte", bits, float(num_bytes)))
    return rows


def _worth(name: str, samples: Sequence[Row]) -> Rows:
    nats: dict[str, dict[str, float]] = defaultdict(dict)
    documents: dict[str, Row] = {}
    for sample in samples:
        document = documents[sample["doc"]["item_id"]] = sample["doc"]
        nats[document["item_id"]][document["step"]] = float(sample["nats"])
    rows = Rows()
    for item_id, document in documents.items():
        of_step = nats[item_id]
        saved = of_step["all"] - of_step["closing"] - of_step["text"]
        cost = of_step.get("opening", 0.0) - of_step["thought"]
        num_tokens, num_bytes = document["num_tokens"], document["num_bytes"]
        rows.scores += [
            score(HELDOUT, document, "thought_nats", cost / num_tokens, float(num_tokens)),
            score(HELDOUT, document, "gain", saved / math.log(2) / num_bytes, float(num_bytes)),
        ]
    return rows
