"""Of each document's thoughts at most one is used, and of the others none disappears."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thoughts_fixtures import Row, keys, outcomes, thought, write_thoughts

from rcpt_ray.artifacts import Outcome
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
from rcpt_ray.corpus.spec import DecontaminationSpec
from rcpt_ray.records import THOUGHT
from rcpt_ray.thoughts.gates import words_of
from rcpt_ray.thoughts.select import Scores, Selection, select
from rcpt_ray.thoughts.select_spec import SelectSpec
from rcpt_ray.thoughts.truncate import words_as_tokens

PROMPT = "Think aloud in the first person and in the language of the text."
GERMAN = "Was hat sich geändert? Natürlich der Schlauch, und mit ihm der Druck am Eingang der Pumpe, so weit ich sehe."
ENGLISH = "The pump was rated for forty litres a minute but delivered twenty-six, since the hose had been replaced."


def selected(rows: Sequence[Row], scores: Scores | None = None, **settings: Any) -> list[Row]:
    return Selection(SelectSpec(**settings), words_as_tokens, words_of(PROMPT)).rows(rows, scores or {})


def says(said: str, **changed: Any) -> Row:
    """A thought of these words with their number as its tokens and -2 nats for each."""
    num_tokens = len(said.split())
    return thought(thought=said, num_tokens=num_tokens, **{"thought_logprob": -2.0 * num_tokens} | changed)


LOOP, SENTENCES = "round and round it goes " * 5, "One two three. Four five six. Seven eight"


@pytest.mark.parametrize(
    ("row", "settings", "reason"),
    [
        (thought(num_tokens=9), {"min_thought_tokens": 10}, "too_short"),
        (thought(finish_reason="length"), {"cut_off": "reject"}, "cut_off"),
        (says(LOOP), {"max_loop_share": 0.3}, "loop"),
        (says(LOOP, text=LOOP), {"max_copy_share": 0.3}, "copy"),
        (says(PROMPT), {"max_prompt_share": 0.3, "min_thought_tokens": 2}, "prompt_leak"),
        (says(GERMAN, text=ENGLISH), {"same_language": True}, "wrong_language"),
        (says(LOOP), {"min_logprob_per_token": -1.9}, "improbable"),
        (says(f"<think>{LOOP}"), {}, "unclosed_reasoning"),
        (thought(thought="", num_tokens=0), {"min_thought_tokens": 0}, "empty_thought"),
        (thought(), {"min_gain_bits": 3.1}, "no_gain"),
        (thought(), {"min_critic_score": 4.1}, "poor"),
        (thought(status="rejected", reason="too_long_for_model", num_tokens=0), {}, "too_long_for_model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_thought_says_why_and_keeps_its_words(row: Row, settings: dict[str, Any], reason: str) -> None:
    scores = {("a", 0): {"gain_bits": 3.0, "critic": 4.0}}
    (after,) = selected([row], scores, **settings)
    assert after == row | {"status": "rejected", "reason": reason}


@pytest.mark.parametrize(
    "settings", [{}, {"min_logprob_per_token": -2.0}, {"min_gain_bits": 3.0}, {"min_critic_score": 4.0}]
)
def test_thought_that_passes_every_gate_is_left_as_it_is(settings: dict[str, Any]) -> None:
    row = says(LOOP)
    assert selected([row], {("a", 0): {"gain_bits": 3.0, "critic": 4.0}}, **settings) == [row]


@pytest.mark.parametrize(
    ("settings", "reason"), [({"min_gain_bits": 0.0}, "no_gain"), ({"min_critic_score": 1}, "poor")]
)
@pytest.mark.parametrize("scores", [{}, {("a", 0): {"gain_bits": None, "critic": None}}], ids=["no row", "no score"])
def test_thought_without_the_score_that_is_asked_for_is_refused(
    scores: Scores, settings: dict[str, Any], reason: str
) -> None:
    assert outcomes(selected([thought()], scores, **settings)) == [("rejected", reason)]


@pytest.mark.parametrize(("cut_off", "outcome"), [("keep", ("ok", "")), ("reject", ("rejected", "cut_off"))])
def test_thought_that_was_cut_off_is_kept_or_rejected_as_wanted(cut_off: str, outcome: tuple[str, str]) -> None:
    assert outcomes(selected([thought(finish_reason="length")], cut_off=cut_off)) == [outcome]


def test_truncation_changes_text_and_tokens_and_forgets_the_log_probability() -> None:
    """What the teacher gave is the probability of the whole thought."""
    row = says(SENTENCES)
    (after,) = selected([row], max_thought_tokens=7, min_thought_tokens=1)
    changed = {"thought": "One two three. Four five six.", "num_thought_tokens": 6, "thought_logprob": None}
    assert after == row | changed


def test_thought_within_the_limit_keeps_its_log_probability() -> None:
    assert selected([says(SENTENCES)], max_thought_tokens=8, min_thought_tokens=1) == [says(SENTENCES)]


def test_only_a_thought_that_was_cut_off_is_trimmed_to_its_last_whole_sentence() -> None:
    cut_off, ended = says(SENTENCES, finish_reason="length"), says(SENTENCES, doc_id="b")
    after = selected([cut_off, ended], cut_off="trim", min_thought_tokens=1)
    assert [row["thought"] for row in after] == ["One two three. Four five six.", SENTENCES]
    assert [row["num_thought_tokens"] for row in after] == [6, 8]


def test_gates_judge_the_thought_as_it_would_be_used() -> None:
    """Its length and its loops after truncation; its probability as the teacher gave it, for the whole."""
    looping = says("One two three. " + LOOP)
    assert outcomes(selected([looping], max_loop_share=0.3)) == [("rejected", "loop")]
    shortened = {"max_thought_tokens": 4, "max_loop_share": 0.3, "min_thought_tokens": 3}
    assert outcomes(selected([looping], **shortened)) == [("ok", "")]
    assert outcomes(selected([looping], **shortened | {"min_thought_tokens": 4})) == [("rejected", "too_short")]
    assert outcomes(selected([looping], **shortened, min_logprob_per_token=-1.9)) == [("rejected", "improbable")]


@pytest.mark.parametrize(("mode", "kept"), [("drop", "So it is."), ("only", "is it"), ("keep", "is it So it is.")])
def test_reasoning_span_is_taken_as_wanted_and_counted_anew(mode: str, kept: str) -> None:
    (after,) = selected([says("<think> is it </think> So it is.")], reasoning_span=mode, min_thought_tokens=1)
    assert (" ".join(after["thought"].split()), after["num_thought_tokens"]) == (kept, len(kept.split()))
    assert (after["status"], after["thought_logprob"]) == ("ok", None)


def test_first_sample_that_passes_is_chosen_and_the_later_ones_say_why_not() -> None:
    rows = [thought("a", 0, 3), thought("a", 1), thought("a", 2), thought("a", 3, 3), thought("b", 0)]
    assert outcomes(selected(rows, min_thought_tokens=10)) == [
        ("rejected", "too_short"),
        ("ok", ""),
        ("rejected", "not_chosen"),
        ("rejected", "too_short"),
        ("ok", ""),
    ]


def chosen(rows: Sequence[Row], scores: Scores | None = None, **settings: Any) -> list[tuple[str, int]]:
    return keys([row for row in selected(rows, scores, **settings) if row["status"] == "ok"])


def test_most_probable_sample_is_chosen_a_token() -> None:
    """-40 nats over 40 tokens are more probable a token than -30 over 20."""
    rows = [thought("a", 0, 20, thought_logprob=-30.0), thought("a", 1, 40, thought_logprob=-40.0)]
    assert chosen(rows, choose="logprob") == [("a", 1)]
    assert chosen(rows) == [("a", 0)]


def scores_of(name: str, *values: float | None) -> Mapping[tuple[str, int], Mapping[str, float | None]]:
    """Scores of the samples of document a; the other score says the opposite."""
    other = {"gain_bits": "critic", "critic": "gain_bits"}[name]
    return {
        ("a", sample): {name: value, other: None if value is None else -value} for sample, value in enumerate(values)
    }


@pytest.mark.parametrize(("choose", "name"), [("gain", "gain_bits"), ("critic", "critic")])
def test_sample_with_the_best_score_is_chosen(choose: str, name: str) -> None:
    rows = [thought("a", sample) for sample in range(3)]
    assert chosen(rows, scores_of(name, 1.0, 3.0, 2.0), choose=choose) == [("a", 1)]
    assert chosen(rows, scores_of(name, 3.0, 3.0, 2.0), choose=choose) == [("a", 0)], "the first of the best"
    assert chosen(rows, scores_of(name, None, 1.0, None), choose=choose) == [("a", 1)], "a score before none"
    assert chosen(rows, {}, choose=choose) == [("a", 0)], "without scores the first"


def test_best_sample_is_chosen_among_those_that_pass() -> None:
    rows = [thought("a", 0), thought("a", 1, 3), thought("a", 2)]
    scores = scores_of("gain_bits", 1.0, 9.0, 2.0)
    assert chosen(rows, scores, choose="gain", min_thought_tokens=10) == [("a", 2)]
    assert chosen(rows, scores, choose="gain", min_gain_bits=10.0) == []


def test_samples_of_a_document_need_not_stand_together() -> None:
    rows = [thought("a", 0), thought("b", 0), thought("a", 1), thought("b", 1)]
    scores = {("a", 1): {"critic": 4.0}, ("b", 0): {"critic": 2.0}}
    assert chosen(rows, scores, choose="critic") == [("b", 0), ("a", 1)]


ROWS = st.lists(
    st.builds(
        lambda doc_id, num_tokens, logprob, reason, said, finish_reason: thought(
            doc_id,
            num_tokens=num_tokens,
            thought_logprob=logprob,
            status="rejected" if reason else "ok",
            reason=reason,
            thought=said,
            finish_reason=finish_reason,
        ),
        st.sampled_from("abc"),
        st.integers(0, 30),
        st.one_of(st.none(), st.floats(-90, 0)),
        st.sampled_from(["", "", "engine_refused"]),
        st.sampled_from(["", "words", SENTENCES, LOOP, "<think>hm", "hm</think> So."]),
        st.sampled_from(["stop", "length"]),
    ),
    max_size=12,
).map(lambda rows: [row | {"sample_index": sample} for sample, row in enumerate(rows)])
SETTINGS = st.fixed_dictionaries(
    {
        "min_thought_tokens": st.integers(0, 20),
        "max_thought_tokens": st.one_of(st.none(), st.integers(1, 20)),
        "cut_off": st.sampled_from(["keep", "trim", "reject"]),
        "reasoning_span": st.sampled_from(["drop", "only", "keep"]),
        "max_loop_share": st.sampled_from([None, 0.3]),
        "min_logprob_per_token": st.sampled_from([None, -2.0]),
        "choose": st.sampled_from(["first", "logprob", "gain", "critic"]),
    }
)


@given(rows=ROWS, settings=SETTINGS)
def test_every_row_stays_once_in_its_place_and_each_document_has_at_most_one_thought(
    rows: list[Row], settings: dict[str, Any]
) -> None:
    after = selected(rows, **settings)
    assert keys(after) == keys(rows)
    assert all(set(row) == set(THOUGHT.names) for row in after)
    used = [row["doc_id"] for row in after if row["status"] == "ok"]
    assert len(used) == len(set(used))
    assert all((row["status"] == "ok") == (row["reason"] == "") for row in after)
    assert {row["doc_id"] for row in after if row["reason"] == "not_chosen"} <= set(used)


@given(rows=ROWS, settings=SETTINGS)
def test_thought_that_is_used_is_not_empty_and_as_long_as_the_settings_say(
    rows: list[Row], settings: dict[str, Any]
) -> None:
    for row in selected(rows, **settings):
        if row["status"] == "ok":
            most = settings["max_thought_tokens"] or 30
            assert row["thought"]
            assert settings["min_thought_tokens"] <= row["num_thought_tokens"] <= most


def select_into(folder: Path, parts: list[Path], **settings: Any) -> Outcome:
    folder.mkdir(exist_ok=True)
    return select(parts, Selection(SelectSpec(**settings), words_as_tokens), folder)


def test_selected_parts_hold_every_row_once_and_the_counts_agree(tmp_path: Path) -> None:
    given_rows = [
        [thought("a", 0, 3), thought("a", 1, 30), thought("b", 0, 40), thought("b", 1, 50)],
        [thought("c", 0, 0, status="rejected", reason="engine_refused"), thought("c", 1, 12)],
    ]
    parts = [write_thoughts(tmp_path / "in", f"part-{n}.parquet", rows) for n, rows in enumerate(given_rows)]
    outcome = select_into(tmp_path / "out", parts, min_thought_tokens=10)
    written = {part.name: pq.read_table(part).to_pylist() for part in (tmp_path / "out").iterdir()}
    assert {name: keys(rows) for name, rows in written.items()} == {
        f"part-{n}.parquet": keys(rows) for n, rows in enumerate(given_rows)
    }
    assert (outcome.counts.num_in, outcome.counts.num_ok) == (6, 3)
    assert outcome.counts.rejected == {"engine_refused": 1, "not_chosen": 1, "too_short": 1}
    assert outcome.tokens == {"thought": 30 + 40 + 12, "thought_rejected": 3 + 50}


def test_tokens_of_an_outcome_are_counted_after_truncation(tmp_path: Path) -> None:
    part = write_thoughts(tmp_path / "in", "part-0.parquet", [says(SENTENCES)])
    outcome = select_into(tmp_path / "out", [part], max_thought_tokens=7, min_thought_tokens=0)
    assert outcome.tokens == {"thought": 6}


def test_selecting_again_leaves_nothing_of_the_time_before(tmp_path: Path) -> None:
    parts = [write_thoughts(tmp_path / "in", f"part-{n}.parquet", [thought(str(n))]) for n in range(2)]
    select_into(tmp_path / "out", parts)
    select_into(tmp_path / "out", parts[:1])
    assert [part.name for part in (tmp_path / "out").iterdir()] == ["part-0.parquet"]


QUESTION = "How long does a stone need to fall to the ground from a height of ten metres?"


def index_of_question() -> EvaluationIndex:
    return EvaluationIndex.build(
        read_evaluation_texts("quiz", [{"id": "q7", "question": QUESTION}]), DecontaminationSpec()
    )


def test_thought_that_holds_a_question_of_the_evaluation_is_refused_and_reported(tmp_path: Path) -> None:
    """Of two samples the one without it is used; what was found stands in the manifest's details."""
    asked = says(f"So I ask myself: {QUESTION.lower()} A second and a half.", sample_index=0, doc_id="a")
    free = says(
        "Here I only think about stones and heights and how fast they may be at the end.", sample_index=1, doc_id="a"
    )
    part = write_thoughts(tmp_path / "in", "part-0.parquet", [asked, free])
    selection = Selection(SelectSpec(), words_as_tokens, index=index_of_question())
    (tmp_path / "out").mkdir()
    outcome = select([part], selection, tmp_path / "out")
    assert [row["reason"] for row in pq.read_table(tmp_path / "out" / part.name).to_pylist()] == ["contaminated", ""]
    assert outcome.counts.rejected == {"contaminated": 1}
    assert outcome.details["num_contaminated"] == {"quiz": 1}
    (found,) = outcome.details["contaminated"]
    assert (found["doc_id"], found["question"]) == ("a", "quiz/q7")
    assert found["words"] == "how long does a stone need to fall to the ground from a"
