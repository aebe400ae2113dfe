"""mixture.thought_share: how much of each source comes with its thoughts, whatever the shares of the sources are."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mixture_fixtures import CHARACTERS, packed, packed_documents, quiet_bar, texts, write_shards

from rcpt_ray.artifacts import Outcome
from rcpt_ray.comparison import in_domain
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.mix import mix
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.recipe import load_recipe
from rcpt_ray.spread import here

WEIGHTS = {"stem/thought": 0.6, "law/thought": 0.4}
NUM_TOKENS = 12_000
DOCUMENT_TOKENS = 350


def spec_of(thought_share: float | None, **changed: Any) -> MixtureSpec:
    values = {"row_tokens": 1024, "thought_open": "<t>", "thought_close": "</t>", "weights": WEIGHTS}
    return MixtureSpec(**(values | {"thought_share": thought_share} | changed))


def mix_into(folder: Path, spec: MixtureSpec) -> Outcome:
    folder.mkdir()
    given = write_shards(folder / "in", texts())
    return mix(given, spec, NUM_TOKENS, None, 17, CHARACTERS, folder, here(), quiet_bar())


@pytest.mark.parametrize("thought_share", [0.0, 0.5, 1.0])
def test_each_source_has_its_share_of_tokens_and_of_them_the_share_with_thoughts(
    tmp_path: Path, thought_share: float
) -> None:
    achieved = mix_into(tmp_path / "mixture", spec_of(thought_share)).details["achieved"]
    for source, weight in (("stem", 0.6), ("law", 0.4)):
        with_thought, raw = achieved.get(f"{source}/thought", 0.0), achieved.get(f"{source}/raw", 0.0)
        within_documents = pytest.approx(weight, abs=2 * DOCUMENT_TOKENS / NUM_TOKENS)
        assert with_thought + raw == within_documents
        assert with_thought == pytest.approx(weight * thought_share, abs=DOCUMENT_TOKENS / NUM_TOKENS)


def test_all_with_thoughts_is_the_mixture_as_without_the_setting(tmp_path: Path) -> None:
    mix_into(tmp_path / "all", spec_of(1.0))
    mix_into(tmp_path / "null", spec_of(None))
    assert packed(tmp_path / "all") == packed(tmp_path / "null")


def test_none_with_thoughts_is_texts_alone_of_documents_that_have_one(tmp_path: Path) -> None:
    mix_into(tmp_path / "none", spec_of(0.0, max_repeats=9))
    drawn = Counter(packed_documents(packed(tmp_path / "none")))
    text_of = {each.doc_id: each.text for each in texts() if each.thought is not None}
    assert all(text == text_of[doc_id] for doc_id, text in drawn)


@given(
    st.dictionaries(st.sampled_from(["b/thought", "c/raw", "d/paraphrase", "web/replay"]), st.integers(0, 20)),
    st.floats(0, 1),
    st.sampled_from(["thought_first", "interleaved", "text_only", "paraphrase"]),
)
def test_a_source_s_share_never_changes_and_all_sum_to_one(
    parts: dict[str, int], thought_share: float, layout: Any
) -> None:
    parts = {"a/thought": 1} | parts
    weights = {name: part / sum(parts.values()) for name, part in parts.items()}
    without, split = (
        MixtureSpec(layout=layout, weights=weights, thought_share=share).shares for share in (None, thought_share)
    )
    assert without is not None and split is not None
    assert sum(split.values()) == pytest.approx(1) and min(split.values()) > 0
    by_source = [Counter[str](), Counter[str]()]
    for counter, shares in zip(by_source, (without, split), strict=True):
        for name, share in shares.items():
            counter[name.rpartition("/")[0]] += share  # type: ignore[assignment]
    assert dict(by_source[0]) == pytest.approx(dict(by_source[1]))
    if thought_share == 1 or layout == "text_only":
        assert split == without


@pytest.mark.parametrize(
    ("layout", "thought_share", "documents", "needs"),
    [
        ("thought_first", 0.0, "with_thought", (True, False)),
        ("thought_first", 0.0, "all", (False, False)),
        ("thought_first", 0.5, "all", (True, False)),
        ("text_only", 0.5, "all", (False, False)),
        ("paraphrase", 0.5, "all", (False, True)),
        ("paraphrase", 0.0, "with_thought", (False, True)),
    ],
)
def test_what_must_be_written_follows_the_share(
    layout: Any, thought_share: float, documents: Any, needs: tuple[bool, bool]
) -> None:
    spec = spec_of(thought_share, layout=layout, documents=documents)
    assert (spec.needs_thoughts, spec.needs_paraphrases) == needs


def test_the_same_mixture_written_otherwise_has_the_same_folder() -> None:
    assert "thought_share" not in spec_of(None).defining()
    assert spec_of(1.0).defining() == spec_of(None).defining()
    assert spec_of(0.5, layout="text_only").defining() == spec_of(None, layout="text_only").defining()
    written_out = {"stem/thought": 0.3, "stem/raw": 0.3, "law/thought": 0.2, "law/raw": 0.2}
    assert spec_of(0.5).defining() == spec_of(None, weights=written_out).defining()
    assert spec_of(0.5).defining() != spec_of(0.25).defining()


def test_a_matched_arm_takes_the_share_of_weights_that_are_not_known_yet() -> None:
    spec = spec_of(0.25, weights=None, match_tokens_of="reasoning")
    assert spec.kinds == {"thought", "raw"} and spec.defining()["thought_share"] == 0.25
    assert spec_of(0.0, weights=None, match_tokens_of="reasoning", documents="all").needs_thoughts is False
    known = spec.model_copy(update={"weights": {"stem/thought": 1.0}})
    assert known.shares == {"stem/thought": 0.25, "stem/raw": 0.75}


def test_a_domain_s_weights_are_split_after_the_others_are_gone() -> None:
    weights = {"stem/thought": 0.5, "law/thought": 0.3, "web/replay": 0.2}
    of_law = in_domain(spec_of(0.25, weights=weights), "reasoning", "law", ("law",))
    assert of_law.shares == pytest.approx({"law/thought": 0.2, "law/raw": 0.6, "web/replay": 0.2})


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("null", "thought_share=0.5 splits the weights of source/thought, but weights=null names none; give weights"),
        ("{law/thought: 0.8, law/raw: 0.2}", "a share of law/thought raw, but weights.law/raw=0.2 does so too; leave"),
        ("{law/raw: 1.0}", "but weights name only law/raw; weigh a source as source/thought, or set thought_share to"),
    ],
)
def test_a_share_of_nothing_or_of_what_is_split_already_is_refused(weights: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe("jobs/recipes/tiny.yaml", [f"mixture.weights={weights}", "mixture.thought_share=0.5"])
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_an_arm_of_texts_alone_may_have_the_other_arms_share() -> None:
    weights = "mixture.weights={law/thought: 0.8, stem/thought: 0.2}"
    recipe = load_recipe("jobs/recipes/tiny.yaml", [weights, "mixture.thought_share=0.5"])
    assert recipe.arm_settings("standard").mixture.shares == {"law/raw": 0.8, "stem/raw": 0.2}
    assert recipe.arm_settings("reasoning").mixture.shares == pytest.approx(
        {"law/thought": 0.4, "law/raw": 0.4, "stem/thought": 0.1, "stem/raw": 0.1}
    )
