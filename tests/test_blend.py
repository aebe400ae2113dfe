"""Every component has its share of the tokens, within one document, and impossible shares are refused."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.errors import UserError
from rcpt_ray.mixture.blend import Blend, Candidates, blend

SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=9)
COMPONENTS = st.dictionaries(st.sampled_from(["stem/raw", "stem/thought", "law/raw"]), SIZES, min_size=1)


def candidates_of(sizes: list[int], seed: int = 1) -> Candidates:
    drawn = random.Random(seed)
    draws = [drawn.getrandbits(64) for _ in sizes]
    return Candidates(np.array(draws, np.uint64), np.array(sizes, np.int64))


@st.composite
def blends(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a blend that can be drawn."""
    sizes = draw(COMPONENTS)
    weights = None
    if draw(st.booleans()):
        parts = [draw(st.integers(1, 9)) for _ in sizes]
        weights = {component: part / sum(parts) for component, part in zip(sizes, parts, strict=True)}
    # With weights a budget in which each share holds half a document: 900 / 19 > 90 / 2.
    num_tokens = draw(st.integers(900, 1500) if weights else st.none() | st.integers(1, 1500))
    seed = draw(st.integers(0, 99))
    candidates = {component: candidates_of(own, seed) for component, own in sizes.items()}
    return {"candidates": candidates, "weights": weights, "num_tokens": num_tokens}


def drawn_times(blended: Blend, component: str, candidates: Candidates) -> Any:
    """How often each document is drawn."""
    cut = blended.cuts[component]
    return sum(cut.takes(candidates.draw_C, repeat).astype(int) for repeat in range(cut.num_repeats + 1))


@settings(max_examples=100, deadline=None)
@given(wanted=blends())
def test_shares_are_met_within_half_a_document(wanted: dict[str, Any]) -> None:
    blended = blend(**wanted, max_repeats=10_000)
    budget = sum(blended.target_tokens.values())
    if wanted["num_tokens"]:
        assert budget == pytest.approx(wanted["num_tokens"])
    for component, target in blended.target_tokens.items():
        own = wanted["candidates"][component]
        drawn = int((drawn_times(blended, component, own) * own.num_tokens_C).sum())
        assert drawn == blended.achieved_tokens[component]
        assert abs(drawn - target) <= own.num_tokens_C.max() / 2 + 1e-6
        if wanted["weights"]:
            assert target == pytest.approx(wanted["weights"][component] * budget)


@settings(max_examples=60, deadline=None)
@given(wanted=blends())
def test_no_document_is_drawn_twice_more_than_another(wanted: dict[str, Any]) -> None:
    blended = blend(**wanted, max_repeats=10_000)
    for component in blended.cuts:
        times = drawn_times(blended, component, wanted["candidates"][component])
        assert times.max() - times.min() <= 1
        assert blended.cuts[component].num_repeats == times.max()


@settings(max_examples=60, deadline=None)
@given(wanted=blends(), shuffle=st.randoms(use_true_random=False))
def test_blend_does_not_follow_the_order_of_what_it_is_given(wanted: dict[str, Any], shuffle: random.Random) -> None:
    shuffled = {}
    for component, own in wanted["candidates"].items():
        order = shuffle.sample(range(len(own.draw_C)), len(own.draw_C))
        shuffled[component] = Candidates(own.draw_C[order], own.num_tokens_C[order])
    assert blend(**wanted, max_repeats=1e9) == blend(**wanted | {"candidates": shuffled}, max_repeats=1e9)


def ten_documents(size: int = 10, seed: int = 1) -> Candidates:
    return candidates_of([size] * 10, seed)


def test_without_weights_and_budget_every_document_is_drawn_once() -> None:
    given_candidates = {"stem/raw": ten_documents(), "law/raw": ten_documents(7)}
    blended = blend(given_candidates, None, None, 1.0)
    for component, own in given_candidates.items():
        assert drawn_times(blended, component, own).tolist() == [1] * 10


def test_component_of_weight_zero_is_not_drawn() -> None:
    weights = {"stem/raw": 1.0, "law/raw": 0.0}
    assert set(blend({"stem/raw": ten_documents(), "law/raw": ten_documents()}, weights, None, 1.0).cuts) == {
        "stem/raw"
    }


def test_without_a_budget_the_scarcest_component_is_used_once() -> None:
    """100 and 100 tokens, wanted 1 to 3: all of law, a third of stem."""
    weights = {"stem/raw": 0.25, "law/raw": 0.75}
    blended = blend({"stem/raw": ten_documents(), "law/raw": ten_documents(seed=2)}, weights, None, 1.0)
    assert blended.achieved_tokens == {"stem/raw": 30, "law/raw": 100}


def test_budget_within_the_cap_is_drawn_and_one_beyond_it_is_refused_with_its_numbers() -> None:
    stem = {"stem/raw": ten_documents()}
    assert drawn_times(blend(stem, None, 400, 4.0), "stem/raw", stem["stem/raw"]).tolist() == [4] * 10
    with pytest.raises(UserError) as told:
        blend(stem, None, 1250, 4.0)
    for part in ("stem/raw needs 1,250 tokens but has 100", "12.5 passes", "max_repeats=4", "raise max_repeats"):
        assert part in str(told.value)


def test_share_that_is_less_than_half_a_document_is_refused() -> None:
    """It would be left out without a word."""
    candidates = {"stem/raw": ten_documents(100), "law/raw": ten_documents(100, seed=2)}
    with pytest.raises(UserError, match=r"^mixture\.weights\.law/raw=0\.05 asks for 25 tokens, less than half a docu"):
        blend(candidates, {"stem/raw": 0.95, "law/raw": 0.05}, 500, 4.0)


def test_weighted_component_without_documents_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(UserError, match=r"^mixture\.weights\.law/raw=0\.5 has no documents; .* with some: stem/raw$"):
        blend({"stem/raw": ten_documents()}, {"stem/raw": 0.5, "law/raw": 0.5}, None, 4.0)


def test_component_without_documents_and_weight_takes_no_part() -> None:
    """All thoughts about one source were rejected."""
    blended = blend({"stem/raw": ten_documents(), "law/thought": candidates_of([])}, None, None, 4.0)
    assert blended.achieved_tokens == {"stem/raw": 100, "law/thought": 0}
