"""What the corpus stage finds and reports beside rows and words: duplicates, questions, languages, broken files."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from mixture_fixtures import quiet_bar

from rcpt_ray.artifacts import Outcome
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
from rcpt_ray.corpus.prepare import prepare
from rcpt_ray.corpus.spec import HELDOUT_PARTS, REPLAY_PARTS, TRAIN_PARTS, CorpusSpec, DecontaminationSpec
from rcpt_ray.errors import UserError
from rcpt_ray.spread import here

Row = dict[str, Any]
WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "nrlstm"]


def text_of(number: int, num_words: int = 60) -> str:
    """A text that shares no five words in a row with any other number's."""
    return " ".join(random.Random(number).choices(WORDS, k=num_words)) + "."


def write_rows(path: Path, texts: Iterable[str]) -> Path:
    path.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


def spec_of(path: Path, source: Row | None = None, **settings: Any) -> CorpusSpec:
    web = {"path": str(path), "domain": "stem"} | (source or {})
    return CorpusSpec(**({"sources": {"web": web}, "heldout_share": 0.0, "min_words": 5} | settings))


def prepare_into(folder: Path, spec: CorpusSpec, **more: Any) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    return prepare(spec, 17, folder, quiet_bar(), more.pop("spread", here()), **more)


def rows_in(folder: Path, pattern: str) -> list[Row]:
    return [row for part in sorted(folder.glob(pattern)) for row in pq.read_table(part).to_pylist()]


def rejections(folder: Path) -> list[tuple[str, str, str]]:
    """doc_id, reason, detail."""
    return [(row["doc_id"], row["reason"], row["detail"]) for row in rows_in(folder, "part-rejected-*")]


def words_counted(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_near_duplicate_of_an_earlier_document_is_left_out_and_says_of_which(tmp_path: Path) -> None:
    """A word changed in a hundred; a text that shares half of its words with another stays."""
    first = text_of(1, 200)
    changed = first.replace(first.split()[90], "other", 1)
    half = " ".join([*first.split()[:100], *text_of(2, 100).split()])
    file = write_rows(tmp_path / "web.jsonl", [text_of(0), first, changed, half, first.upper()])
    outcome = prepare_into(tmp_path / "out", spec_of(file))
    assert rejections(tmp_path / "out") == [("web/2", "near_duplicate", "web/1"), ("web/4", "duplicate_text", "")]
    assert outcome.counts.rejected == {"duplicate_text": 1, "near_duplicate": 1}
    kept = prepare_into(tmp_path / "kept", spec_of(file, near_duplicates=None))
    assert kept.counts.rejected == {"duplicate_text": 1}


QUESTION = {
    "question": "Which law says that the entropy of a closed system never falls as time goes by?",
    "choices": ["the first", "the second", "the third", "none of them"],
    "answer": 1,
}


def index_of(*questions: Row) -> EvaluationIndex:
    return EvaluationIndex.build(read_evaluation_texts("quiz", questions), DecontaminationSpec())


def test_document_with_a_planted_question_is_left_out_with_the_words_in_common(tmp_path: Path) -> None:
    """In other case and without its punctuation; a document about the same thing stays."""
    planted = f"{text_of(1)} {QUESTION['question'].upper().replace('?', '')} {text_of(2)}"
    about = f"{text_of(3)} Entropy of a closed system does not fall: the second law."
    file = write_rows(tmp_path / "web.jsonl", [text_of(0), planted, about])
    outcome = prepare_into(tmp_path / "out", spec_of(file), index=index_of(QUESTION))
    ((doc_id, reason, detail),) = rejections(tmp_path / "out")
    assert (doc_id, reason) == ("web/1", "contaminated")
    assert detail == "quiz/0: which law says that the entropy of a closed system never falls as"
    assert outcome.details["decontaminated_against"]["quiz"]["num_items"] == 1


def test_document_in_another_language_is_left_out_and_named(tmp_path: Path) -> None:
    english = (
        "The court held that the contract was void because neither party had signed it before the day named there."
    )
    german = (
        "Das Gericht entschied, dass der Vertrag nichtig sei, weil keine der Parteien ihn rechtzeitig gezeichnet hat."
    )
    file = write_rows(tmp_path / "web.jsonl", [english, german])
    prepare_into(tmp_path / "out", spec_of(file, languages=["en"]))
    assert rejections(tmp_path / "out") == [("web/1", "other_language", "de")]


def cut_file(folder: Path) -> Path:
    """A .jsonl.zst whose last tenth is missing."""
    lines = "".join(json.dumps({"id": str(n), "text": text_of(n)}) + "\n" for n in range(2000))
    packed = zstandard.compress(lines.encode())
    path = folder / "web.jsonl.zst"
    path.write_bytes(packed[: len(packed) * 9 // 10])
    return path


def test_file_that_is_cut_off_ends_the_stage_and_is_named_with_the_lines_read(tmp_path: Path) -> None:
    file = cut_file(tmp_path)
    with pytest.raises(UserError, match=r"web\.jsonl\.zst is cut off or damaged after 1\d\d\d lines .* copy it again"):
        prepare_into(tmp_path / "out", spec_of(file))


def test_file_that_is_cut_off_gives_its_lines_and_one_rejection_where_that_is_wanted(tmp_path: Path) -> None:
    outcome = prepare_into(tmp_path / "out", spec_of(cut_file(tmp_path), bad_rows="reject"))
    assert outcome.counts.rejected == {"unreadable": 1}
    assert outcome.counts.num_ok > 1000


PARAGRAPHS = "\n\n".join(text_of(number, 40) for number in range(10))


def test_long_document_is_cut_into_passages_that_stay_together(tmp_path: Path) -> None:
    """In training or held out as a whole; unit and ids are those of passages."""
    others = ["\n\n".join(text_of(100 * n + m, 40) for m in range(10)) for n in range(1, 31)]
    file = write_rows(tmp_path / "web.jsonl", [PARAGRAPHS, *others])
    spec = spec_of(file, passage_tokens=100, heldout_share=0.3)
    outcome = prepare_into(tmp_path / "out", spec, count_tokens=words_counted)
    trained, held_out = (rows_in(tmp_path / "out", pattern) for pattern in (TRAIN_PARTS, HELDOUT_PARTS))
    document_of = [{row["doc_id"].partition("#")[0] for row in rows} for rows in (trained, held_out)]
    assert outcome.counts.unit == "passage"
    assert not document_of[0] & document_of[1]
    assert len(document_of[0] | document_of[1]) == 31
    first = [row for row in trained + held_out if row["doc_id"].startswith("web/0#")]
    assert [row["doc_id"] for row in first] == [f"web/0#{number}" for number in range(1, len(first) + 1)]
    assert "\n\n".join(row["text"] for row in first) == PARAGRAPHS
    assert all(row["num_words"] <= 100 for row in first)


def test_question_that_a_cut_divides_is_found_and_both_passages_go(tmp_path: Path) -> None:
    """The cut falls between the two sentences of a question."""
    question = {"question": f"{text_of(50, 10)} {text_of(51, 10)}", "choices": ["a", "b"], "answer": 0}
    divided = f"{text_of(1, 30)} {text_of(50, 10)}\n\n{text_of(51, 10)} {text_of(2, 30)}"
    file = write_rows(tmp_path / "web.jsonl", [divided, "\n\n".join(text_of(n, 40) for n in (3, 4))])
    outcome = prepare_into(
        tmp_path / "out", spec_of(file, passage_tokens=45), index=index_of(question), count_tokens=words_counted
    )
    assert outcome.counts.rejected == {"contaminated": 2}
    assert [doc_id for doc_id, _, _ in rejections(tmp_path / "out")] == ["web/0#1", "web/0#2"]


def test_copy_that_is_cut_elsewhere_goes_with_all_its_passages(tmp_path: Path) -> None:
    """The same long document without its first sentence: no passage is like another, but the documents are."""
    sentences = [text_of(number, 17) for number in range(60)]
    texts = [" ".join(sentences), " ".join(sentences[1:]), " ".join(text_of(100 + n, 17) for n in range(60))]
    file = write_rows(tmp_path / "web.jsonl", texts)
    spec = spec_of(file, passage_tokens=64, heldout_share=0.5)
    outcome = prepare_into(tmp_path / "out", spec, count_tokens=words_counted)
    gone = rejections(tmp_path / "out")
    assert {(doc_id.partition("#")[0], reason, detail) for doc_id, reason, detail in gone} == {
        ("web/1", "near_duplicate", "web/0")
    }
    assert outcome.counts.num_ok == outcome.counts.num_in - len(gone)
    trained, held_out = (rows_in(tmp_path / "out", pattern) for pattern in (TRAIN_PARTS, HELDOUT_PARTS))
    assert {row["doc_id"].partition("#")[0] for row in trained + held_out} == {"web/0", "web/2"}


def test_document_with_segments_is_kept_whole_with_the_ends_of_each(tmp_path: Path) -> None:
    file = tmp_path / "web.jsonl"
    file.write_text(json.dumps({"id": "a", "problem": text_of(1), "conclusion": text_of(2)}))
    spec = spec_of(file, {"segment_columns": ["problem", "conclusion"]}, passage_tokens=16)
    prepare_into(tmp_path / "out", spec, count_tokens=words_counted)
    (row,) = rows_in(tmp_path / "out", TRAIN_PARTS)
    first, second = (row["text"][start:end] for start, end in pairwise([0, *row["segment_ends"]]))
    assert (first, second) == (text_of(1) + "\n\n", text_of(2))


def test_replay_is_kept_apart_from_what_gets_thoughts(tmp_path: Path) -> None:
    study, general = (
        write_rows(tmp_path / f"{name}.jsonl", [text_of(n)]) for n, name in enumerate(("study", "general"))
    )
    sources = {
        "study": {"path": str(study), "domain": "stem"},
        "general": {"path": str(general), "domain": "web", "role": "replay"},
    }
    outcome = prepare_into(tmp_path / "out", spec_of(study, sources=sources))
    ids = {
        pattern: [row["doc_id"] for row in rows_in(tmp_path / "out", pattern)]
        for pattern in (TRAIN_PARTS, REPLAY_PARTS)
    }
    assert ids == {TRAIN_PARTS: ["study/0"], REPLAY_PARTS: ["general/0"]}
    assert (outcome.details["num_train"], outcome.details["num_replay"]) == (1, 1)


def test_quality_filter_refuses_with_its_own_reason(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "web.jsonl", [f"The case and the law of {text_of(0)}", "# " * 40 + "the of and to"])
    outcome = prepare_into(tmp_path / "out", spec_of(file, quality=["gopher_quality"]))
    assert outcome.counts.num_ok == 1
    ((_, reason, _),) = rejections(tmp_path / "out")
    assert reason.startswith("gopher_quality")


def test_kill_while_the_work_is_removed_leaves_a_stage_that_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files go in any order: no receipt may be left that speaks of one that is gone."""
    spec = spec_of(write_rows(tmp_path / "web.jsonl", mixed_texts()))
    whole = prepare_into(tmp_path / "out", spec)

    def killed(folder: Path, ignore_errors: bool = False) -> None:
        for file in folder.glob("*.parquet"):
            file.unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rcpt_ray.artifacts.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_into(tmp_path / "killed", spec)
    assert prepare_into(tmp_path / "killed", spec).counts == whole.counts
    assert parts_of(tmp_path / "killed") == parts_of(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(parts_of(tmp_path / "out"))


def test_name_of_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / b"caf\xe9.txt".decode("utf-8", "surrogateescape")).write_text(text_of(1))
    with pytest.raises(UserError, match=r"caf\\xe9\.txt is not UTF-8, .*; rename the file"):
        prepare_into(tmp_path / "out", spec_of(tmp_path / "in"))


def parts_of(folder: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in folder.glob("part-*")}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcpt_ray.corpus.reading.pieces.PIECE_BYTES", 4000)


def in_reverse(work: Any, items: Sequence[Any], num_bytes: int, num_threads: int = 2) -> Any:
    """A spread whose last item is done first."""
    return [work(item) for item in reversed(items)]


def mixed_texts() -> list[str]:
    texts = [text_of(number) for number in range(120)]
    texts[7], texts[60], texts[90] = texts[3], f"{texts[61][:-1]} x", "short"
    return texts


def test_parts_are_the_same_bytes_in_whatever_order_pieces_are_done(tmp_path: Path, small_pieces: None) -> None:
    """And as many pieces as there are."""
    file = write_rows(tmp_path / "web.jsonl", mixed_texts())
    spec = spec_of(file, shard_documents=16, heldout_share=0.1)
    outcome = prepare_into(tmp_path / "one", spec)
    backwards = prepare_into(tmp_path / "two", spec, spread=in_reverse)
    assert parts_of(tmp_path / "one") == parts_of(tmp_path / "two")
    assert outcome.counts == backwards.counts
    assert outcome.counts.rejected == {"duplicate_text": 1, "near_duplicate": 1, "too_short": 1}


def test_killed_making_goes_on_with_the_pieces_that_are_left(
    tmp_path: Path, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "web.jsonl", mixed_texts())
    spec = spec_of(file)
    whole = prepare_into(tmp_path / "whole", spec)
    done = Counter[str]()

    def dies(work: Any, items: Sequence[Any], num_bytes: int, num_threads: int = 2) -> Any:
        for item in items[:3]:
            done[item.id] += 1
            yield work(item)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_into(tmp_path / "killed", spec, spread=dies)
    read = Counter[str]()

    def read_piece(piece: Any, *arguments: Any) -> Any:
        from rcpt_ray.corpus.reading.read import read_piece

        read[piece.id] += 1
        return read_piece(piece, *arguments)

    monkeypatch.setattr("rcpt_ray.corpus.work.read_piece", read_piece)
    again = prepare_into(tmp_path / "killed", spec)
    assert not read.keys() & done.keys() and len(read) > 3
    assert again.counts == whole.counts
    assert parts_of(tmp_path / "killed") == parts_of(tmp_path / "whole")


def test_files_of_another_kind_beside_those_that_are_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_rows(tmp_path / "in" / "deep" / "a.jsonl", [text_of(1)])
    for name in ("README.md", "b.txt", "c.txt", "data.csv"):
        (tmp_path / "in" / name).write_text(text_of(2))
    outcome = prepare_into(tmp_path / "out", spec_of(tmp_path / "in"))
    assert outcome.counts.num_in == 1
    assert outcome.details["files_not_read"] == {"web": {".md": 1, ".txt": 2}}


def test_language_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "web.jsonl", [text_of(1)])
    with pytest.raises(UserError, match=r"^corpus\.languages=xx is no language"):
        prepare_into(tmp_path / "out", spec_of(file, languages=["en", "xx"]))
