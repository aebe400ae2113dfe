"""The mixture stage: what goes in is drawn, packed and counted, the same on any number of workers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mixture_fixtures import CHARACTERS, Text, packed, packed_documents, quiet_bar, texts, write_shards

from rcpt_ray.artifacts import Counts, Manifest, Outcome
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.mix import Matched, mix, with_shares_of
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.records import BOS_EOS, DELIMITER, PADDING, TEXT, THOUGHT_KIND
from rcpt_ray.spread import Spread, here


def spec_of(**changed: Any) -> MixtureSpec:
    return MixtureSpec(**({"row_tokens": 1024, "thought_open": "<t>", "thought_close": "</t>"} | changed))


def mix_into(
    folder: Path,
    spec: MixtureSpec,
    num_tokens: int | None = None,
    documents: Sequence[Text] | None = None,
    matched: Matched | None = None,
    seed: int = 17,
    spread: Spread | None = None,
    **shards: Any,
) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    given = write_shards(folder / "in", texts() if documents is None else documents, **shards)
    return mix(given, spec, num_tokens, matched, seed, CHARACTERS, folder, spread or here(), quiet_bar())


def test_reasoning_mixture_holds_every_document_with_a_thought_once(tmp_path: Path) -> None:
    outcome = mix_into(tmp_path, spec_of())
    expected = {(each.doc_id, f"<t>{each.thought}</t>{each.text}") for each in texts() if each.thought is not None}
    assert Counter(packed_documents(packed(tmp_path))) == Counter(expected)
    assert (outcome.counts.num_in, outcome.counts.num_ok, outcome.counts.rejected) == (70, 60, {"no_thought": 10})
    assert not (tmp_path / "work").exists()


def test_tokens_of_the_manifest_are_those_in_the_parts(tmp_path: Path) -> None:
    outcome = mix_into(tmp_path, spec_of())
    rows = packed(tmp_path)
    kinds = Counter(kind for row in rows for kind in row["segment_kind"])
    num_padding = kinds.pop(PADDING, 0)
    names = {"text": TEXT, "thought": THOUGHT_KIND, "delimiter": DELIMITER, "bos_eos": BOS_EOS}
    assert outcome.tokens == {"all": kinds.total()} | {name: kinds[kind] for name, kind in names.items()}
    assert outcome.details["num_rows"] == len(rows)
    assert outcome.details["padding_share"] == pytest.approx(num_padding / (len(rows) * 1024))


def test_token_matched_control_has_the_tokens_of_the_reasoning_arm_within_one_document(tmp_path: Path) -> None:
    """The texts alone, some of them repeated, with as many tokens as text and thought together."""
    reasoning = mix_into(tmp_path / "reasoning", spec_of())
    control = mix_into(tmp_path / "control", spec_of(layout="text_only"), reasoning.tokens["all"])
    sizes = [len(each.text) + 2 for each in texts() if each.thought]
    assert set(control.tokens) == {"all", "text", "bos_eos"}
    assert abs(control.tokens["all"] - reasoning.tokens["all"]) <= max(sizes)
    assert control.tokens["all"] > 1.1 * sum(sizes)


def test_token_matched_control_has_the_other_arm_s_shares_by_source(tmp_path: Path) -> None:
    """Where it gives none of its own; a source that the other arm leaves out is left out here too."""
    general = [Text(f"web/{number}", "web", f"general {number} " + "text " * 30, None) for number in range(20)]
    documents, weights = [*texts(), *general], {"law/thought": 0.7, "web/replay": 0.3}
    shards = {"documents": documents, "replay_sources": ["web"]}
    reasoning = mix_into(tmp_path / "reasoning", spec_of(weights=weights), 4000, **shards)
    spec = with_shares_of(manifest_of(reasoning, spec_of(weights=weights)), spec_of(layout="text_only"))
    control = mix_into(tmp_path / "control", spec, reasoning.tokens["all"], **shards)
    assert control.details["target"] == pytest.approx(
        {
            "law/raw": reasoning.details["achieved"]["law/thought"],
            "web/replay": reasoning.details["achieved"]["web/replay"],
        }
    )


def manifest_of(outcome: Outcome, spec: MixtureSpec) -> Manifest:
    return Manifest(
        stage="mixture",
        fingerprint="0",
        stage_version=1,
        inputs={},
        config=spec.defining(),
        counts=Counts(unit="document", num_in=0, num_ok=0),
        details=dict(outcome.details),
        output_digest="0",
        seconds=1.0,
    )


@pytest.mark.parametrize("num_tokens", [4000, 30_000], ids=["a part", "several passes"])
def test_document_matched_control_draws_the_same_documents_as_often_as_text_alone(
    tmp_path: Path, num_tokens: int
) -> None:
    weights = {"stem/thought": 0.5, "law/thought": 0.3, "law/raw": 0.2}
    spec = spec_of(weights=weights, max_repeats=20)
    reasoning = mix_into(tmp_path / "reasoning", spec, num_tokens)
    matched = Matched.of(manifest_of(reasoning, spec))
    control = mix_into(tmp_path / "control", spec_of(layout="text_only"), None, matched=matched)
    drawn = [
        Counter(doc_id for doc_id, _ in packed_documents(packed(tmp_path / name))) for name in ("reasoning", "control")
    ]
    assert drawn[0] == drawn[1]
    text_of = {each.doc_id: each.text for each in texts()}
    assert all(text == text_of[doc_id] for doc_id, text in packed_documents(packed(tmp_path / "control")))
    assert control.details["num_draws"] == reasoning.details["num_draws"]
    assert set(control.tokens) == {"all", "text", "bos_eos"}


@pytest.mark.parametrize(
    ("documents", "num_documents"), [("with_thought", 60), ("all", 70)], ids=["those of reasoning", "all"]
)
def test_standard_arm_trains_on_the_documents_that_it_should(
    tmp_path: Path, documents: Any, num_documents: int
) -> None:
    outcome = mix_into(tmp_path, spec_of(layout="text_only", documents=documents))
    assert outcome.counts.num_ok == num_documents
    assert sum(len(row["doc_ids"]) for row in packed(tmp_path)) == num_documents


def test_weights_are_shares_of_tokens_and_told_as_wanted_and_got(tmp_path: Path) -> None:
    weights = {"stem/thought": 0.6, "stem/raw": 0.1, "law/paraphrase": 0.3}
    outcome = mix_into(tmp_path, spec_of(weights=weights), num_tokens=6000)
    assert outcome.details["target"] == pytest.approx(weights)
    assert outcome.details["achieved"] == pytest.approx(weights, abs=350 / 6000)
    assert outcome.details["achieved_tokens"] == outcome.tokens["all"]


def test_replay_is_text_alone_and_wanted_by_its_own_kind(tmp_path: Path) -> None:
    general = [Text(f"web/{number}", "web", f"general {number} " + "text " * 30, None) for number in range(20)]
    outcome = mix_into(tmp_path / "all", spec_of(), documents=[*texts(), *general], replay_sources=["web"])
    assert outcome.counts.rejected == {"no_thought": 10}
    replayed = {text for doc_id, text in packed_documents(packed(tmp_path / "all")) if doc_id.startswith("web/")}
    assert replayed == {each.text for each in general}
    with pytest.raises(
        UserError, match=r"^mixture\.weights\.web/raw: web has no documents; sources of role study: stem"
    ):
        weights = {"web/raw": 1.0}
        mix_into(tmp_path / "raw", spec_of(weights=weights), documents=[*texts(), *general], replay_sources=["web"])


def test_interleaved_puts_the_thought_between_the_segments_of_a_document(tmp_path: Path) -> None:
    document = Text("stem/1", "stem", "problem. conclusion.", "steps.", segment_ends=(9, 20))
    mix_into(tmp_path, spec_of(layout="interleaved"), documents=[document])
    assert packed_documents(packed(tmp_path)) == [("stem/1", "problem. <t>steps.</t>conclusion.")]


def test_mixture_does_not_follow_the_order_of_its_documents_or_their_shards(tmp_path: Path) -> None:
    mix_into(tmp_path / "forwards", spec_of())
    mix_into(tmp_path / "backwards", spec_of(), documents=texts()[::-1], shard_documents=3)
    assert packed(tmp_path / "forwards") == packed(tmp_path / "backwards")


def test_windows_hold_every_draw_once_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats of a document among them; a window is where its place falls, around the end of the hashes too."""
    drawn = {}
    for number, window_tokens in enumerate((2**22, 3000, 700)):
        monkeypatch.setattr("rcpt_ray.mixture.mix._WINDOW_TOKENS", window_tokens)
        monkeypatch.setattr("rcpt_ray.mixture.mix._WINDOW_ROWS", 1)
        folder = tmp_path / str(number)
        mix_into(folder, spec_of(row_tokens=512), num_tokens=40_000)
        drawn[number] = Counter(packed_documents(packed(folder)))
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(list((tmp_path / "2").glob("part-*"))) > 20
    assert max(drawn[0].values()) == 3


def test_mixing_again_leaves_nothing_of_the_time_before(tmp_path: Path) -> None:
    """Killed while it wrote a mixture of more parts."""
    (tmp_path / "part-000007.parquet").write_text("left over")
    mix_into(tmp_path, spec_of())
    assert [part.name for part in tmp_path.glob("part-*")] == ["part-000000.parquet"]


def test_killed_mixture_goes_on_with_the_groups_that_are_tokenized(tmp_path: Path) -> None:
    """What stands in a receipt is not tokenized again: a tokenizer that fails is not asked."""
    whole = mix_into(tmp_path / "whole", spec_of())

    def fail(texts: list[str]) -> list[list[int]]:
        raise AssertionError("tokenized again")

    class Stop(Exception):
        pass

    def stop(work: Any, items: Sequence[Any], num_bytes: int, num_threads: int = 2) -> Any:
        if any("Window" in type(item).__name__ for item in items):
            raise Stop
        return map(work, items)

    given = write_shards(tmp_path / "in", texts())
    arguments = given, spec_of(), None, None, 17
    (tmp_path / "killed").mkdir()
    with pytest.raises(Stop):
        mix(*arguments, CHARACTERS, tmp_path / "killed", stop, quiet_bar())  # type: ignore[arg-type]
    failing = type(CHARACTERS)(fail, CHARACTERS.start_id, CHARACTERS.end_id)
    again = mix(*arguments, failing, tmp_path / "killed", here(), quiet_bar())
    assert (again.counts, again.tokens) == (whole.counts, whole.tokens)
    assert packed(tmp_path / "killed") == packed(tmp_path / "whole")


def test_mixture_without_any_thought_is_refused(tmp_path: Path) -> None:
    without = [Text("stem/1", "stem", "text", None)]
    with pytest.raises(UserError, match="none of 1 documents has a thought that was kept; see the reasons"):
        mix_into(tmp_path, spec_of(), documents=without)


def test_source_that_lost_all_its_thoughts_does_not_stop_the_others(tmp_path: Path) -> None:
    mixed = [Text("stem/1", "stem", "text", "why"), Text("law/1", "law", "text", None)]
    outcome = mix_into(tmp_path, spec_of(), documents=mixed)
    assert (outcome.counts.num_ok, outcome.counts.rejected) == (1, {"no_thought": 1})


@pytest.mark.parametrize("kind", ["raw", "thought"])
def test_weight_of_a_source_that_is_not_there_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=rf"^mixture\.weights\.sten/{kind}"):
        mix_into(tmp_path, spec_of(weights={f"sten/{kind}": 1.0}))


def test_budget_below_half_a_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mixture\.num_tokens=1 is less than half a document; give a larger budget"):
        mix_into(tmp_path, spec_of(), num_tokens=1)
