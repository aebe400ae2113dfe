"""No token is lost, invented or trained on twice, and every component has its share."""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.artifacts import Outcome
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.blend import Blend, blend
from rcpt_ray.mixture.layout import Segment, lay_out, source_text
from rcpt_ray.mixture.mix import Candidate, mix, read_candidates
from rcpt_ray.mixture.pack import pack
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import TokenizedDocument, load_tokenizer, tokenize_documents
from rcpt_ray.records import BOS_EOS, DELIMITER, DOCUMENT, PACKED_ROW, PADDING, TEXT, THOUGHT, THOUGHT_KIND

LAYOUTS = ("thought_first", "document_first", "text_only")


class Characters:
    """A tokenizer whose tokens are characters: code point + 10, with 1 before and 2 after a document."""

    bos_token_id: int | None = 1
    eos_token_id: int | None = 2

    def __call__(self, text: list[str], *, add_special_tokens: bool, split_special_tokens: bool) -> dict[str, Any]:
        assert split_special_tokens and not add_special_tokens
        return {"input_ids": [[ord(character) + 10 for character in each] for each in text]}


def read_characters(ids: Any) -> str:
    return "".join(chr(token - 10) for token in ids if token >= 10)


@settings(max_examples=60, deadline=None)
@given(text=st.text(), thought=st.none() | st.text(), around=st.text(), layout=st.sampled_from(LAYOUTS))
def test_source_comes_back_exactly_from_any_layout_of_any_text(
    text: str, thought: str | None, around: str, layout: Any
) -> None:
    spec = MixtureSpec(layout=layout, thought_open=around, thought_close=around[::-1])
    assert source_text(lay_out(text, thought, spec)) == text


@pytest.mark.parametrize(
    ("layout", "written"),
    [("thought_first", "<t>why</t>text"), ("document_first", "text<t>why</t>"), ("text_only", "text")],
)
def test_layout_says_what_comes_first(layout: Any, written: str) -> None:
    spec = MixtureSpec(layout=layout, thought_open="<t>", thought_close="</t>")
    assert "".join(segment.text for segment in lay_out("text", "why", spec)) == written


@pytest.mark.parametrize("layout", LAYOUTS)
def test_document_without_thought_is_its_text_alone(layout: Any) -> None:
    assert lay_out("text", None, MixtureSpec(layout=layout)) == [Segment(TEXT, "text")]


LAID_OUT = [Segment(DELIMITER, "<"), Segment(THOUGHT_KIND, "why"), Segment(DELIMITER, ">"), Segment(TEXT, "it is")]


def test_every_token_has_the_kind_of_its_segment() -> None:
    (document,) = tokenize_documents([("a", LAID_OUT)], Characters())
    marks = {BOS_EOS: "|", DELIMITER: "-", THOUGHT_KIND: "h", TEXT: "t"}
    assert "".join(marks[kind] for kind in document.kinds_N.tolist()) == "|-hhh-ttttt|"
    assert document.ids_N[[0, -1]].tolist() == [1, 2]
    assert read_characters(document.ids_N) == "<why>it is"


@pytest.mark.parametrize(("bos", "eos"), [(None, 2), (1, None), (None, None)])
def test_tokenizer_without_bos_or_eos_gets_none(bos: int | None, eos: int | None) -> None:
    tokenizer = Characters()
    tokenizer.bos_token_id, tokenizer.eos_token_id = bos, eos
    (document,) = tokenize_documents([("a", [Segment(TEXT, "it")])], tokenizer)
    around = [[each] if each is not None else [] for each in (bos, eos)]
    assert document.ids_N.tolist() == [*around[0], ord("i") + 10, ord("t") + 10, *around[1]]
    assert (document.kinds_N == BOS_EOS).sum() == sum(map(len, around))


def test_documents_of_a_batch_keep_their_own_tokens() -> None:
    given_documents = [("a", LAID_OUT), ("b", [Segment(TEXT, "")]), ("c", [Segment(TEXT, "last")])]
    documents = tokenize_documents(given_documents, Characters())
    assert [(each.doc_id, read_characters(each.ids_N)) for each in documents] == [
        ("a", "<why>it is"),
        ("b", ""),
        ("c", "last"),
    ]
    assert tokenize_documents([], Characters()) == []


def test_control_tokens_in_text_and_thought_stay_characters(tiny_model_folder: Path) -> None:
    """Of the real tokenizer: only the first and the last token of the document are control tokens."""
    tokenizer: Any = load_tokenizer(str(tiny_model_folder))
    spec = MixtureSpec()
    laid_out = lay_out("a <|im_end|> b <|endoftext|>", "<|im_start|>system", spec)
    (document,) = tokenize_documents([("a", laid_out)], tokenizer)
    control = np.isin(document.ids_N, tokenizer.all_special_ids)
    assert np.flatnonzero(control).tolist() == [0, len(document) - 1]
    assert tokenizer.decode(document.ids_N[document.kinds_N == TEXT]) == "a <|im_end|> b <|endoftext|>"
    assert tokenizer.decode(document.ids_N[document.kinds_N == THOUGHT_KIND]) == "<|im_start|>system"


def documents_of(lengths: list[int]) -> list[TokenizedDocument]:
    """Documents in which no token occurs twice; a token's kind is 1 to 4 by its number."""
    documents, start = [], 1000
    for number, length in enumerate(lengths):
        ids = np.arange(start, start + length, dtype=np.int32)
        documents.append(TokenizedDocument(f"d{number}", ids, (ids % 4 + 1).astype(np.int8)))
        start += length
    return documents


PACKINGS = {"lengths": st.lists(st.integers(1, 60), min_size=1, max_size=30), "row_tokens": st.integers(16, 32)}


@settings(max_examples=60, deadline=None)
@given(**PACKINGS)
def test_packing_loses_invents_and_repeats_no_token_and_keeps_its_kind(lengths: list[int], row_tokens: int) -> None:
    rows = pack(documents_of(lengths), row_tokens, padding_id=7).to_pydict()
    ids, kinds = np.array(rows["input_ids"]), np.array(rows["segment_kind"])
    assert ids.shape == kinds.shape == (len(ids), row_tokens)
    assert sorted(ids[kinds != PADDING]) == list(range(1000, 1000 + sum(lengths)))
    assert (kinds == np.where(ids == 7, PADDING, ids % 4 + 1)).all()


@settings(max_examples=60, deadline=None)
@given(**PACKINGS)
def test_packed_documents_are_whole_unless_longer_than_a_row(lengths: list[int], row_tokens: int) -> None:
    """Each segment of a row is one piece of one document, from position 0; pieces are as long as they can be."""
    documents = documents_of(lengths)
    pieces: dict[str, list[list[int]]] = {document.doc_id: [] for document in documents}
    for row in pack(documents, row_tokens, padding_id=7).to_pylist():
        segments = np.array(row["segment_id"])
        assert (np.diff(segments) >= 0).all()
        for segment, doc_id in enumerate(row["doc_ids"]):
            here = np.flatnonzero(segments == segment)
            assert np.array(row["position_ids"])[here].tolist() == list(range(len(here)))
            pieces[doc_id].append(np.array(row["input_ids"])[here].tolist())
        padding = segments == len(row["doc_ids"])
        assert (padding == (np.array(row["segment_kind"]) == PADDING)).all()
    for document in documents:
        whole, length = sorted(pieces[document.doc_id]), len(document)
        assert [token for piece in whole for token in piece] == document.ids_N.tolist()
        assert [len(piece) for piece in whole] == [
            min(row_tokens, length - start) for start in range(0, length, row_tokens)
        ]


def test_packing_is_the_same_every_time_and_has_the_schema_of_packed_rows() -> None:
    lengths = [5, 30, 7, 7, 16, 1, 50]
    first, second = (pack(documents_of(lengths), 16, padding_id=0) for _ in range(2))
    assert first.equals(second)
    assert first.schema.equals(PACKED_ROW)


def test_padding_is_under_two_percent_where_a_row_holds_eight_documents() -> None:
    """The bound that the design gives, on lengths as they are in a corpus."""
    lengths = np.random.default_rng(3).lognormal(5.0, 0.6, 3000).astype(int).clip(1, 4000)
    row_tokens = int(8 * lengths.mean())
    rows = pack(documents_of(lengths.tolist()), row_tokens, padding_id=0)
    assert len(rows) * row_tokens < 1.02 * lengths.sum()


def test_document_drawn_twice_is_packed_twice() -> None:
    (document,) = documents_of([10])
    (row,) = pack([document, document], 32, padding_id=0).to_pylist()
    assert row["doc_ids"] == ["d0", "d0"]
    assert row["input_ids"][:20] == document.ids_N.tolist() * 2


COMPONENT = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 90), min_size=1, max_size=9)
COMPONENTS = st.dictionaries(st.sampled_from(["stem/raw", "stem/thought", "law/raw"]), COMPONENT, min_size=1)


@st.composite
def blends(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a blend that can be drawn."""
    sizes = {component: list(documents.items()) for component, documents in draw(COMPONENTS).items()}
    weights = None
    if draw(st.booleans()):
        parts = [draw(st.integers(1, 9)) for _ in sizes]
        weights = {component: part / sum(parts) for component, part in zip(sizes, parts, strict=True)}
    num_tokens = draw(st.none() | st.integers(1, 1500))
    return {"sizes": sizes, "weights": weights, "num_tokens": num_tokens, "seed": draw(st.integers(0, 99))}


@settings(max_examples=80, deadline=None)
@given(wanted=blends())
def test_shares_are_met_within_one_document(wanted: dict[str, Any]) -> None:
    blended = blend(**wanted, max_repeats=10_000)
    sizes = {component: dict(documents) for component, documents in wanted["sizes"].items()}
    drawn = Counter(dict.fromkeys(sizes, 0))
    for draw in blended.draws:
        drawn[draw.component] += sizes[draw.component][draw.doc_id]
    assert drawn == Counter(blended.achieved_tokens)
    budget = sum(blended.target_tokens.values())
    if wanted["num_tokens"]:
        assert budget == pytest.approx(wanted["num_tokens"])
    for component, target in blended.target_tokens.items():
        assert abs(drawn[component] - target) <= max(sizes[component].values())
        if wanted["weights"]:
            assert target == pytest.approx(wanted["weights"][component] * budget)


@settings(max_examples=60, deadline=None)
@given(wanted=blends())
def test_no_document_is_drawn_twice_more_than_another(wanted: dict[str, Any]) -> None:
    """And its draws are numbered from 0, so each has a name of its own."""
    blended = blend(**wanted, max_repeats=10_000)
    for component, documents in wanted["sizes"].items():
        times = {doc_id: 0 for doc_id, _ in documents}
        for draw in sorted(blended.draws, key=lambda draw: draw.repeat):
            if draw.component == component:
                assert draw.repeat == times[draw.doc_id]
                times[draw.doc_id] += 1
        assert max(times.values()) - min(times.values()) <= 1


@settings(max_examples=60, deadline=None)
@given(wanted=blends(), shuffle=st.randoms(use_true_random=False))
def test_blend_does_not_follow_the_order_of_what_it_is_given(wanted: dict[str, Any], shuffle: random.Random) -> None:
    components = list(wanted["sizes"].items())
    shuffle.shuffle(components)
    shuffled = {component: shuffle.sample(documents, len(documents)) for component, documents in components}
    blended, again = (blend(**(wanted | {"sizes": sizes}), max_repeats=1e9) for sizes in (wanted["sizes"], shuffled))
    assert draws_of(blended) == draws_of(again)


def draws_of(blended: Blend) -> list[tuple[str, str, int]]:
    return [(draw.component, draw.doc_id, draw.repeat) for draw in blended.draws]


def ten_documents(component: str = "stem/raw", size: int = 10) -> dict[str, list[tuple[str, int]]]:
    return {component: [(f"d{number}", size) for number in range(10)]}


def test_without_weights_and_budget_every_document_is_drawn_once() -> None:
    blended = blend(ten_documents() | ten_documents("law/raw", 7), None, None, 1.0, seed=1)
    assert len(set(draws_of(blended))) == 20
    assert {draw.repeat for draw in blended.draws} == {0}


def test_another_seed_draws_others_in_another_order() -> None:
    first, second = (blend(ten_documents(), None, 50, 1.0, seed) for seed in (1, 2))
    assert {draw.doc_id for draw in first.draws} != {draw.doc_id for draw in second.draws}


def test_component_of_weight_zero_is_not_drawn() -> None:
    weights = {"stem/raw": 1.0, "law/raw": 0.0}
    blended = blend(ten_documents() | ten_documents("law/raw"), weights, None, 1.0, seed=1)
    assert {draw.component for draw in blended.draws} == {"stem/raw"}


def test_without_a_budget_the_scarcest_component_is_used_once() -> None:
    """100 and 100 tokens, wanted 1 to 3: all of law, a third of stem."""
    weights = {"stem/raw": 0.25, "law/raw": 0.75}
    blended = blend(ten_documents() | ten_documents("law/raw"), weights, None, 1.0, seed=1)
    assert blended.achieved_tokens == {"stem/raw": 30, "law/raw": 100}


def test_budget_within_the_cap_is_drawn_and_one_beyond_it_is_refused_with_its_numbers() -> None:
    capped = blend(ten_documents(), None, 400, 4.0, seed=1)
    assert max(Counter(draw.doc_id for draw in capped.draws).values()) == 4
    with pytest.raises(UserError) as told:
        blend(ten_documents(), None, 1250, 4.0, seed=1)
    for part in ("stem/raw needs 1,250 tokens but has 100", "12.5 passes", "max_repeats=4", "raise max_repeats"):
        assert part in str(told.value)


def test_weighted_component_without_documents_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(UserError, match=r"^mixture\.weights\.law/raw=0\.5 has no documents; .* with some: stem/raw$"):
        blend(ten_documents() | {"law/raw": []}, {"stem/raw": 0.5, "law/raw": 0.5}, None, 4.0, seed=1)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Breaks a block that does not end."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_component_without_documents_and_weight_takes_no_part() -> None:
    """All thoughts about one source were rejected."""
    with at_most(2):
        blended = blend(ten_documents() | {"law/thought": []}, None, None, 4.0, seed=1)
    assert {draw.component for draw in blended.draws} == {"stem/raw"}


def candidates(with_thought: int = 30, without: int = 5) -> list[Candidate]:
    """Documents of two sources, stem twice as long as law; the last ones have no thought."""
    found = []
    for source, num_words in (("stem", 40), ("law", 20)):
        for number in range(with_thought + without):
            text = f"{source} {number} " + "word " * (num_words + number % 7)
            thought = f"why {source} {number} " + "hmm " * (10 + number % 5) if number < with_thought else None
            found.append(Candidate(f"{source}/{number}", source, text, thought))
    return found


def mix_into(folder: Path, spec: MixtureSpec, num_tokens: int | None = None, **changed: Any) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    given_candidates = changed.get("candidates", candidates())
    return mix(iter(given_candidates), spec, num_tokens, changed.get("seed", 17), Characters(), folder)


def packed(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def spec_of(**changed: Any) -> MixtureSpec:
    return MixtureSpec(**({"row_tokens": 1024, "thought_open": "<t>", "thought_close": "</t>"} | changed))


def test_reasoning_mixture_holds_every_document_with_a_thought_once(tmp_path: Path) -> None:
    outcome = mix_into(tmp_path, spec_of())
    expected = {f"<t>{each.thought}</t>{each.text}" for each in candidates() if each.thought is not None}
    found = Counter()
    for row in packed(tmp_path):
        segments = np.array(row["segment_id"])
        for segment in range(len(row["doc_ids"])):
            found[read_characters(np.array(row["input_ids"])[segments == segment])] += 1
    assert found == Counter(expected)
    assert (outcome.counts.num_in, outcome.counts.num_ok, outcome.counts.rejected) == (70, 60, {"no_thought": 10})


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
    sizes = [len(each.text) + 2 for each in candidates() if each.thought]
    assert set(control.tokens) == {"all", "text", "bos_eos"}
    assert abs(control.tokens["all"] - reasoning.tokens["all"]) <= max(sizes)
    assert control.tokens["all"] > 1.1 * sum(sizes)


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
    weights = {"stem/thought": 0.6, "stem/raw": 0.1, "law/thought": 0.3}
    outcome = mix_into(tmp_path, spec_of(weights=weights), num_tokens=6000)
    assert outcome.details["target"] == pytest.approx(weights)
    assert outcome.details["achieved"] == pytest.approx(weights, abs=350 / 6000)
    assert outcome.details["achieved_tokens"] == outcome.tokens["all"]


def test_mixture_does_not_follow_the_order_of_its_documents(tmp_path: Path) -> None:
    mix_into(tmp_path / "forwards", spec_of())
    mix_into(tmp_path / "backwards", spec_of(), candidates=candidates()[::-1])
    assert packed(tmp_path / "forwards") == packed(tmp_path / "backwards")


def test_mixing_again_leaves_nothing_of_the_time_before(tmp_path: Path) -> None:
    """Killed while it wrote a mixture of more parts."""
    (tmp_path / "part-000007.parquet").write_text("left over")
    mix_into(tmp_path, spec_of())
    assert [part.name for part in tmp_path.glob("part-*")] == ["part-000000.parquet"]


def test_mixture_without_any_thought_is_refused(tmp_path: Path) -> None:
    without = [Candidate("stem/1", "stem", "text", None)]
    with pytest.raises(UserError, match="none of 1 documents has a thought that was kept; see the reasons"):
        mix_into(tmp_path, spec_of(), candidates=without)


def test_source_that_lost_all_its_thoughts_does_not_stop_the_others(tmp_path: Path) -> None:
    mixed = [Candidate("stem/1", "stem", "text", "why"), Candidate("law/1", "law", "text", None)]
    with at_most(2):
        outcome = mix_into(tmp_path, spec_of(), candidates=mixed)
    assert (outcome.counts.num_ok, outcome.counts.rejected) == (1, {"no_thought": 1})


@pytest.mark.parametrize("kind", ["raw", "thought"])
def test_weight_of_a_source_that_is_not_there_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=rf"^mixture\.weights\.sten/{kind}"):
        mix_into(tmp_path, spec_of(weights={f"sten/{kind}": 1.0}))


def test_budget_below_half_a_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mixture\.num_tokens=1 is less than half a document; give a larger budget"):
        mix_into(tmp_path, spec_of(), num_tokens=1)


def test_candidates_are_the_documents_with_the_thoughts_that_were_kept(tmp_path: Path) -> None:
    corpus = [{"doc_id": doc_id, "source": "stem", "text": f"text {doc_id}"} for doc_id in "abc"]
    thoughts = [
        {"doc_id": "a", "thought": "not chosen", "status": "rejected"},
        {"doc_id": "a", "thought": "why", "status": "ok"},
        {"doc_id": "c", "thought": "too short", "status": "rejected"},
    ]
    pq.write_table(pa.Table.from_pylist(corpus, schema=DOCUMENT), tmp_path / "corpus.parquet")
    pq.write_table(pa.Table.from_pylist(thoughts, schema=THOUGHT), tmp_path / "thoughts.parquet")
    found = read_candidates([tmp_path / "corpus.parquet"], [tmp_path / "thoughts.parquet"])
    assert [(each.doc_id, each.text, each.thought) for each in found] == [
        ("a", "text a", "why"),
        ("b", "text b", None),
        ("c", "text c", None),
    ]
