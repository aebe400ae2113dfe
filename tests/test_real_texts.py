"""Court opinions, textbooks and LaTeX sources go through the corpus stage, with faults planted among them.

Short form: the first documents of each; slow: all of them, against all of MMLU and GSM8K.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mixture_fixtures import quiet_bar
from processes import PROJECT

from rcpt_ray.artifacts import Outcome
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
from rcpt_ray.corpus.prepare import prepare
from rcpt_ray.corpus.reading.read import read_path
from rcpt_ray.corpus.spec import CorpusSpec, DecontaminationSpec
from rcpt_ray.spread import here

DATA = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared")) / "data"
SOURCES = {
    "law": {"path": "law_opinions.parquet", "domain": "law", "furniture": ["court", "page"]},
    "stem": {"path": "stem_openstax.parquet", "domain": "stem"},
    "latex": {"path": "stem_openlogic_latex.parquet", "domain": "stem", "markup": "latex"},
}
SPEC = {"passage_tokens": 256, "languages": ["en"], "heldout_share": 0.02}

pytestmark = pytest.mark.skipif(
    not DATA.exists(), reason="the real corpora are not here; set RCPT_SHARED to the folder that holds data"
)


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Four tokens for three words, about what English costs."""
    return [-(-4 * len(text.split()) // 3) for text in texts]


def index_of(*sets: str) -> EvaluationIndex:
    items = (
        item
        for name in sets
        for item in read_evaluation_texts(
            name, (row for row, _, _ in read_path("x", str(DATA / "eval" / f"{name}.parquet")))
        )
    )
    return EvaluationIndex.build(items, DecontaminationSpec())


def prepare_into(folder: Path, sources: dict[str, Any], index: EvaluationIndex, **changed: Any) -> Outcome:
    folder.mkdir()
    spec = CorpusSpec.model_validate(SPEC | {"sources": sources} | changed)
    return prepare(spec, 17, folder, quiet_bar(), here(), index, count_tokens)


def rejections(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.glob("part-rejected-*")) for row in pq.read_table(part).to_pylist()]


def question(number: int) -> str:
    table = pq.read_table(DATA / "eval" / "mmlu_test.parquet", columns=["question"])
    return max(table["question"].to_pylist()[number : number + 50], key=lambda text: len(text.split()))


def test_faults_planted_in_opinions_are_found_and_reported(tmp_path: Path) -> None:
    """A copy, a near copy, a question of MMLU in the middle of a document, a German document."""
    opinions = pq.read_table(DATA / "corpus" / "law_opinions.parquet").slice(0, 25).to_pylist()
    rows = [{"id": row["id"], "text": row["text"]} for row in opinions]
    near = rows[4]["text"].replace(" the court ", " this court ", 1)
    paragraphs = rows[5]["text"].split("\n\n")
    middle = len(paragraphs) // 2
    asked = "\n\n".join([*paragraphs[:middle], question(7000), *paragraphs[middle:]])
    german = "Das Gericht hat über die Berufung der Klägerin entschieden und das Urteil der Vorinstanz bestätigt. " * 8
    rows += [{"id": "copy", "text": rows[3]["text"]}, {"id": "near", "text": near}]
    rows += [{"id": "asked", "text": asked}, {"id": "german", "text": german}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "law.parquet")
    source = SOURCES["law"] | {"path": str(tmp_path / "law.parquet")}
    outcome = prepare_into(tmp_path / "out", {"law": source}, index_of("mmlu_test"))
    found = {
        name: [row for row in rejections(tmp_path / "out") if name in row["doc_id"]]
        for name in ("copy", "near", "asked", "german")
    }
    assert {row["reason"] for row in found["copy"]} <= {"duplicate_text", "too_short"}
    assert len([row for row in found["copy"] if row["reason"] == "duplicate_text"]) > 3
    assert {row["reason"] for row in found["near"]} <= {"near_duplicate", "too_short"}
    assert {row["detail"] for row in found["near"] if row["reason"] == "near_duplicate"} == {f"law/{rows[4]['id']}"}
    assert [row["detail"].partition("/")[0] for row in found["asked"] if row["reason"] == "contaminated"] == [
        "mmlu_test"
    ]
    assert {(row["reason"], row["detail"]) for row in found["german"]} == {("other_language", "de")}
    assert outcome.counts.num_in == outcome.counts.num_ok + len(rejections(tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_whole_corpus_goes_through_with_every_passage_accounted_for(tmp_path: Path, name: str) -> None:
    source = SOURCES[name] | {"path": str(DATA / "corpus" / str(SOURCES[name]["path"]))}
    outcome = prepare_into(tmp_path / "out", {name: source}, index_of("mmlu_test", "gsm8k_test", "gsm8k_train"))
    print(name, outcome.counts.model_dump(), outcome.details["sources"])
    left_out = rejections(tmp_path / "out")
    assert len(left_out) == sum(outcome.counts.rejected.values())
    read = {row["row"] for row in left_out}
    for part in (tmp_path / "out").glob("part-*"):
        assert len(pq.read_table(part)) > 0
    num_rows = pq.read_metadata(source["path"]).num_rows
    documents = {row["doc_id"].partition("#")[0] for row in left_out}
    for pattern in ("part-train-*", "part-heldout-*"):
        for part in (tmp_path / "out").glob(pattern):
            documents |= {doc_id.partition("#")[0] for doc_id in pq.read_table(part)["doc_id"].to_pylist()}
    assert len(documents) == num_rows
    assert max(read) < num_rows
    assert outcome.counts.num_ok > 0.8 * outcome.counts.num_in
