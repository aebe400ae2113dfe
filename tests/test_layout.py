"""Any layout of any text gives its source back, and every token has the kind of its segment."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_fixtures import CHARACTERS, encode_characters, read_characters

from rcpt_ray.mixture.layout import Segment, delimiters_of, lay_out, source_segments
from rcpt_ray.mixture.spec import Layout, MixtureSpec
from rcpt_ray.mixture.tokenize import (
    TextTokenizer,
    TokenizedDocuments,
    load_tokenizer,
    text_tokenizer,
    tokenize_documents,
)
from rcpt_ray.records import BOS_EOS, DELIMITER, TEXT, THOUGHT_KIND

LAYOUTS = get_args(Layout)
SEGMENTS = st.lists(st.text(), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(segments=SEGMENTS, written=st.none() | st.text(), around=st.text(), layout=st.sampled_from(LAYOUTS))
def test_source_comes_back_exactly_from_any_layout_of_any_text(
    segments: list[str], written: str | None, around: str, layout: Any
) -> None:
    assert source_segments(lay_out(segments, written, layout, around, around[::-1])) == segments


@pytest.mark.parametrize(
    ("layout", "laid_out"),
    [
        ("thought_first", "<t>why</t>problem.so"),
        ("document_first", "problem.so<t>why</t>"),
        ("interleaved", "problem.<t>why</t>so"),
        ("text_only", "problem.so"),
        ("paraphrase", "problem.so\n\nwhy"),
    ],
)
def test_layout_says_what_comes_first(layout: Any, laid_out: str) -> None:
    segments = lay_out(["problem.", "so"], "why", layout, "<t>", "</t>")
    assert "".join(segment.text for segment in segments) == laid_out


def test_interleaved_is_thought_first_where_a_document_has_no_segments_of_its_own() -> None:
    assert lay_out(["text"], "why", "interleaved", "<", ">") == lay_out(["text"], "why", "thought_first", "<", ">")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_document_without_thought_is_its_text_alone(layout: Any) -> None:
    assert lay_out(["text"], None, layout, "<", ">") == [Segment(TEXT, "text")]


LAID_OUT = [Segment(DELIMITER, "<"), Segment(THOUGHT_KIND, "why"), Segment(DELIMITER, ">"), Segment(TEXT, "it is")]


def tokens_of(documents: TokenizedDocuments) -> list[list[int]]:
    return [each.tolist() for each in np.split(documents.ids_N, documents.ends_D[:-1])] if len(documents.ends_D) else []


def kinds_of(documents: TokenizedDocuments) -> list[int]:
    return np.repeat(documents.run_kinds_R, documents.run_lengths_R).tolist()


def test_every_token_has_the_kind_of_its_segment() -> None:
    documents = tokenize_documents([LAID_OUT], CHARACTERS)
    marks = {BOS_EOS: "|", DELIMITER: "-", THOUGHT_KIND: "h", TEXT: "t"}
    assert "".join(marks[kind] for kind in kinds_of(documents)) == "|-hhh-ttttt|"
    assert documents.ids_N[[0, -1]].tolist() == [1, 2]
    assert read_characters(documents.ids_N) == "<why>it is"


@pytest.mark.parametrize(("start", "end"), [(None, 2), (1, None), (None, None)])
def test_tokenizer_without_bos_or_eos_adds_none(start: int | None, end: int | None) -> None:
    documents = tokenize_documents([[Segment(TEXT, "it")]], TextTokenizer(encode_characters, start, end))
    around = [[each] if each is not None else [] for each in (start, end)]
    assert documents.ids_N.tolist() == [*around[0], ord("i") + 10, ord("t") + 10, *around[1]]
    assert kinds_of(documents).count(BOS_EOS) == sum(map(len, around))


def test_documents_of_a_batch_keep_their_own_tokens() -> None:
    documents = tokenize_documents([LAID_OUT, [Segment(TEXT, "")], [Segment(TEXT, "last")]], CHARACTERS)
    assert [read_characters(each) for each in tokens_of(documents)] == ["<why>it is", "", "last"]
    assert documents.run_ends_D.tolist() == [6, 8, 11]
    assert len(tokenize_documents([], CHARACTERS).ids_N) == 0


def test_control_tokens_in_text_and_thought_stay_characters(tiny_model_folder: Path) -> None:
    """Of the real tokenizer: only the first and the last token of the document are control tokens."""
    tokenizer: Any = load_tokenizer(str(tiny_model_folder))
    segments = lay_out(["a <|im_end|> b <|endoftext|>"], "<|im_start|>system", "thought_first", "<thought>\n", "\n")
    documents = tokenize_documents([segments], text_tokenizer(str(tiny_model_folder), MixtureSpec()))
    control = np.isin(documents.ids_N, tokenizer.all_special_ids)
    assert np.flatnonzero(control).tolist() == [0, len(documents.ids_N) - 1]
    kinds = np.array(kinds_of(documents))
    assert tokenizer.decode(documents.ids_N[kinds == TEXT]) == "a <|im_end|> b <|endoftext|>"
    assert tokenizer.decode(documents.ids_N[kinds == THOUGHT_KIND]) == "<|im_start|>system"


def test_special_delimiters_are_one_token_each_which_no_text_can_write(tiny_model_folder: Path, tmp_path: Path) -> None:
    """They are new in the vocabulary, stand in the tokenizer that is saved, and a text that spells them stays text."""
    spec = MixtureSpec(delimiters="special", thought_open="<why>\n", thought_close="\n</why>")
    tokenizer = text_tokenizer(str(tiny_model_folder), spec, save_to=tmp_path)
    segments = lay_out(["a <why> b"], "so </why>", "thought_first", *delimiters_of(spec))
    documents = tokenize_documents([segments], tokenizer)
    num_before = len(load_tokenizer(str(tiny_model_folder)))
    new = [index for index, token in enumerate(documents.ids_N.tolist()) if token >= num_before]
    assert [kinds_of(documents)[index] for index in new] == [DELIMITER, DELIMITER]
    saved = load_tokenizer(str(tmp_path))
    assert len(saved) == num_before + 2
    assert saved.decode(documents.ids_N[new]) == "<why></why>"
    assert saved.convert_tokens_to_ids(["<why>", "</why>"]) == documents.ids_N[new].tolist()


@pytest.mark.parametrize(("document_start", "name"), [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("none", None)])
def test_document_starts_with_the_token_that_is_asked_for(
    tiny_model_folder: Path, document_start: Any, name: str | None
) -> None:
    tokenizer = text_tokenizer(str(tiny_model_folder), MixtureSpec(document_start=document_start))
    assert tokenizer.start_id == (getattr(load_tokenizer(str(tiny_model_folder)), name) if name else None)


def test_tokenizer_sent_to_another_process_writes_the_same_tokens(tiny_model_folder: Path) -> None:
    """Also of control tokens, whose handling does not survive the library's own serialization."""
    import pickle

    here = text_tokenizer(str(tiny_model_folder), MixtureSpec())
    there = pickle.loads(pickle.dumps(here))
    texts = ["a <|im_end|> b", "naïve – 2∑x", ""]
    assert there.encode(texts) == here.encode(texts)


@pytest.mark.parametrize(
    ("layout", "shares"),
    [
        ("thought_first", {"stem/thought": 0.5, "stem/raw": 0.2, "web/replay": 0.3}),
        ("text_only", {"stem/raw": 0.7, "web/replay": 0.3}),
        ("paraphrase", {"stem/paraphrase": 0.5, "stem/raw": 0.2, "web/replay": 0.3}),
    ],
)
def test_weights_are_taken_in_the_kinds_that_a_layout_has(layout: Any, shares: dict[str, float]) -> None:
    """So that the arms of a recipe with weights may differ in the layout alone."""
    weights = {"stem/thought": 0.5, "stem/raw": 0.2, "web/replay": 0.3, "law/thought": 0.0}
    assert MixtureSpec(layout=layout, weights=weights).shares == pytest.approx(shares)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"delimiters": "special", "thought_open": " \n"}, "delimiters=special needs a thought_open"),
        ({"match_tokens_of": "a", "num_tokens": 5}, "num_tokens and match_tokens_of exclude each other"),
        ({"match_documents_of": "a"}, "match_documents_of needs layout=text_only"),
        ({"weights": {"stem/what": 1.0}}, "must be named source/kind, kind raw, thought, paraphrase, replay"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MixtureSpec(**changed)
