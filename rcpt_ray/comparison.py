"""The comparison of a recipe: every trained arm once for each training domain and seed.

    arms x domains x seeds -> variants, by name: standard.law.s18 (standard.law with one seed, standard.s18 with one
    domain, standard with one of both)

A variant is an arm that sees the sources of its domain alone and whose mixture and training are drawn by its seed. What
does not depend on domain or seed is shared by fingerprint: the corpus, and the thoughts, which are written once for all
documents. Replay sources belong to every domain. An arm that is not trained stays one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.settings import Settings

if TYPE_CHECKING:
    from rcpt_ray.corpus.spec import CorpusSpec
    from rcpt_ray.recipe import Recipe

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ComparisonSpec(Settings):
    """Over what the trained arms are compared besides themselves."""

    domains: dict[str, list[str]] | None = None
    """Training domains by name, each with the corpus sources of role study that it is trained on, for example {stem:
    [stem], law: [law], both: [stem, law]}; null trains on all sources."""
    seeds: list[Seed] | None = Field(default=None, max_length=200)
    """Seeds of mixture order, adapters and data order; null takes the recipe's seed. Corpus and thoughts keep that."""

    def check(self, corpus: "CorpusSpec") -> None:
        """ValueError, in one sentence, where domains or seeds make no sense."""
        study = [name for name, source in corpus.sources.items() if source.role == "study"]
        if self.domains is not None and not self.domains:
            raise ValueError("comparison.domains={} names no domain; give some, or null to train on all sources")
        for domain, sources in (self.domains or {}).items():
            where = f"comparison.domains.{domain}"
            if not re.fullmatch(r"[A-Za-z0-9_-]+", domain) or re.fullmatch(r"s\d+", domain):
                raise ValueError(
                    f"{where}: a name of a domain may hold letters, digits, - and _, and is not s with a number, "
                    "which is how seeds are called"
                )
            if not sources:
                raise ValueError(f"{where}=[] has no source to train on; name some of {', '.join(study)}")
            for source in sources:
                if source not in study:
                    raise ValueError(f"{where}: {source} is no source of role study; those are {', '.join(study)}")
                if sources.count(source) > 1:
                    raise ValueError(f"{where} names {source} twice; name each source once")
        if self.seeds is not None and not self.seeds:
            raise ValueError("comparison.seeds=[] holds no seed; give some, or null to take the recipe's seed")
        for seed in self.seeds or []:
            if (self.seeds or []).count(seed) > 1:
                raise ValueError(f"comparison.seeds={self.seeds} holds {seed} twice; each seed is trained once")


@dataclass(frozen=True)
class Variant:
    """An arm in one training domain with one seed."""

    name: str
    arm: str
    seed: int
    """Of its mixture and training."""
    training_domain: str = ""
    """Empty without domains, and for an arm that is not trained."""
    sources: tuple[str, ...] | None = None
    """The sources of role study that it is trained on; None for all of them."""
    matched_to: str | None = None
    """The variant whose mixture gives the budget or the documents of this one."""


def variants_of(recipe: "Recipe") -> dict[str, Variant]:
    """All variants by name, in the order of arms, domains and seeds."""
    comparison = recipe.comparison
    domains = comparison.domains or {"": []}
    seeds = comparison.seeds or [recipe.seed]

    def name_of(arm: str, domain: str, seed: int) -> str:
        return ".".join([arm, *[domain] * (len(domains) > 1), *[f"s{seed}"] * (len(seeds) > 1)])

    study = {name for name, source in recipe.corpus.sources.items() if source.role == "study"}
    variants: dict[str, Variant] = {}
    for arm, spec in recipe.arms.items():
        if not spec.train:
            variants[arm] = Variant(arm, arm, recipe.seed)
            continue
        matched = recipe.arm_settings(arm).mixture.matched_to
        for domain, sources in domains.items():
            restricted = tuple(sources) if domain and set(sources) != study else None
            for seed in seeds:
                name = name_of(arm, domain, seed)
                other = name_of(matched, domain, seed) if matched else None
                variants[name] = Variant(name, arm, seed, domain, restricted, other)
    return variants


def in_domain(mixture: MixtureSpec, arm: str, domain: str, sources: tuple[str, ...] | None) -> MixtureSpec:
    """The mixture's settings with the weights of a domain's sources alone; those of replay sources stay as they are.

    Example: {stem/thought: 0.5, law/thought: 0.4, web/replay: 0.1} in the domain of stem is {stem/thought: 0.9,
    web/replay: 0.1}.

    Raises:
        ValueError: no weight is left for the domain.
    """
    if sources is None or mixture.weights is None or mixture.match_documents_of is not None:
        return mixture
    replay = {name: weight for name, weight in mixture.weights.items() if name.endswith("/replay")}
    study = {name: weight for name, weight in mixture.weights.items() if name not in replay}
    own = {name: weight for name, weight in study.items() if name.rpartition("/")[0] in sources}
    if not sum(own.values()):
        raise ValueError(
            f"arms.{arm}: mixture.weights {_shown(mixture.weights)} leave a share of 0 to the sources of "
            f"comparison.domains.{domain} ({', '.join(sources)}); give one of them a weight, or take the domain out"
        )
    scale = sum(study.values()) / sum(own.values())
    weights = {name: weight * scale for name, weight in own.items()} | replay
    return mixture.model_copy(update={"weights": weights})


def check_comparison(recipe: "Recipe") -> None:
    """ValueError, in one sentence, where a recipe's comparison cannot be made."""
    recipe.comparison.check(recipe.corpus)
    for variant in variants_of(recipe).values():
        if not recipe.arms[variant.arm].train:
            continue
        settings = recipe.arm_settings(variant.arm)
        in_domain(settings.mixture, variant.arm, variant.training_domain, variant.sources)
        if settings.training.feed == "stream" and recipe.comparison != ComparisonSpec():
            raise ValueError(
                f"arms.{variant.arm}: training.feed=stream is made once, not for each domain and seed of comparison; "
                "set training.feed=packed, or take the comparison out with comparison={}"
            )


def _shown(weights: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {weight:g}" for name, weight in weights.items()) + "}"
