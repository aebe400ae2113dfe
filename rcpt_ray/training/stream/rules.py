"""What a streaming training cannot do, said before anything starts."""

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.training.spec import TrainingSpec


def refuse_for_stream(arm: str, mixture: MixtureSpec, thoughts: ThoughtsSpec, training: TrainingSpec) -> None:
    """ValueError, in one sentence, where an arm with `training.feed: stream` asks for what needs all thoughts first."""
    select, why = thoughts.select, ""
    if training.num_epochs > 1:
        why = f"training.num_epochs={training.num_epochs}: what streams by is seen once; set it to 1"
    elif select.needs_gain or select.needs_critic:
        why = "thoughts.select asks for scores, which are made when all thoughts are there; leave gain and critic out"
    elif mixture.packing != "best_fit":
        why = f"mixture.packing={mixture.packing} is not made there; set it to best_fit"
    elif mixture.matched_to is not None:
        setting = "match_tokens_of" if mixture.match_tokens_of else "match_documents_of"
        why = f"mixture.{setting}={mixture.matched_to} needs the whole mixture; set it to null"
    elif mixture.needs_paraphrases:
        why = "mixture asks for paraphrases, which are not written there; use thoughts"
    elif not mixture.needs_thoughts:
        why = f"mixture.layout={mixture.layout} needs no thoughts, so nothing streams; use thoughts"
    if why:
        raise ValueError(f"{arm}: training.feed=stream: {why}, or set training.feed=packed")
