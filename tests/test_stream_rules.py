"""What a streaming training cannot do is said in one sentence before anything starts."""

import pytest

from rcpt_ray.errors import UserError
from rcpt_ray.recipe import load_recipe

STREAM = ["training.feed=stream", "arms={reasoning: {}}", "report.baseline=reasoning"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.num_epochs=2", "what streams by is seen once"),
        ("thoughts.select.choose=gain", "made when all thoughts are there"),
        ("thoughts.select.min_critic_score=3", "made when all thoughts are there"),
        ("mixture.packing=concatenate", "set it to best_fit"),
        ("mixture.layout=paraphrase", "paraphrases, which are not written there"),
        ("mixture={layout: text_only, documents: all}", "needs no thoughts, so nothing streams"),
    ],
)
def test_what_needs_all_thoughts_first_is_refused(setting: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as told:
        load_recipe("jobs/recipes/tiny.yaml", [*STREAM, setting])
    assert "arms.reasoning: training.feed=stream" in str(told.value)
    assert "training.feed=packed" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("streams", ["matched", "reasoning"])
def test_neither_side_of_a_match_may_stream(streams: str) -> None:
    feeds = {name: "stream" if name == streams else "packed" for name in ("matched", "reasoning")}
    arms = (
        f"arms={{reasoning: {{overrides: {{training.feed: {feeds['reasoning']}}}}}, matched: {{overrides: "
        f"{{training.feed: {feeds['matched']}, mixture.match_tokens_of: reasoning}}}}}}"
    )
    with pytest.raises(UserError, match=r"match_tokens_of=reasoning .* training.feed=packed"):
        load_recipe("jobs/recipes/tiny.yaml", [arms, "report.baseline=reasoning"])


@pytest.mark.parametrize(("feed", "is_another"), [("packed", False), ("stream", True)])
def test_settings_of_the_stream_define_a_streaming_training_alone(feed: str, is_another: bool) -> None:
    one, other = (
        load_recipe("jobs/recipes/tiny.yaml", [*STREAM, f"training.feed={feed}", *more]).training.defining()
        for more in ([], ["training.stream.pool_rows=7"])
    )
    assert (one != other) == is_another


def test_arm_that_is_not_trained_may_ask_for_anything() -> None:
    arms = "arms={base: {train: false, overrides: {training.num_epochs: 2}}, reasoning: {}}"
    load_recipe("jobs/recipes/tiny.yaml", ["training.feed=stream", arms, "report.baseline=base"])
