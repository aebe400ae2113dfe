"""The mixture stage: documents and what was written about them -> blend by tokens -> packed rows.

    groups of shards --tokenize--> token files --sizes--> cuts --windows--> part-<window>.parquet

Tokenizing and packing are spread over workers; the driver sees two numbers a candidate. The parts are the same bytes on
any number of workers. A killed making starts from the token files that are there. Counts are in documents of a
component: in = drawn + not drawn (or without a thought).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Counts, Manifest, Outcome, make_work, remove_parts, remove_work, write_atomic
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.blend import Blend, Cut, blend
from rcpt_ray.mixture.candidates import Component, Group, Tokenized, component_of, tokenize_group
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import TextTokenizer
from rcpt_ray.mixture.window import Packed, Window, pack_window, read_candidates
from rcpt_ray.records import SEGMENT_KINDS
from rcpt_ray.spread import Spread
from rcpt_ray.terminal import Bar

_SHARDS_IN_GROUP = 8
_MOST_SHARDS_IN_GROUP = 64
_GROUPS = 512
_WINDOW_TOKENS = 2**22
_WINDOW_ROWS = 512


@dataclass(frozen=True)
class MixtureInput:
    """Files that a mixture reads: shards of documents, and what was written about them by the shard's digest."""

    shards: Sequence[tuple[str, Path]]
    """(digest, file) of each shard of documents for training."""
    sources: Sequence[str]
    replay_sources: Sequence[str]
    thoughts: dict[str, Path] = field(default_factory=dict)
    paraphrases: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Matched:
    """The mixture that this one is matched to."""

    components: tuple[str, ...]
    cuts: dict[str, Cut]
    documents: str
    """Its setting of that name."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Matched":
        """From the record of a finished mixture."""
        cuts = {name: Cut(own["passes"], own["last"]) for name, own in manifest.details["cuts"].items()}
        return cls(tuple(manifest.details["components"]), cuts, manifest.config["documents"])


def mix(
    given: MixtureInput,
    spec: MixtureSpec,
    num_tokens: int | None,
    matched: Matched | None,
    seed: int,
    tokenizer: TextTokenizer,
    folder: Path,
    spread: Spread,
    bar: Bar,
) -> Outcome:
    """Blend and pack into `folder`; `num_tokens` is the budget, `matched` gives the documents to draw instead.

    Raises:
        UserError: nothing is left to train on, or the blend asked for cannot be drawn.
    """
    remove_parts(folder)
    work = make_work(folder)
    components = components_of(given, spec, matched)
    groups = _groups(given)
    bar.total(2 * len(groups))
    num_bytes = sum(file.stat().st_size for _, file in given.shards)
    tokenize = partial(_tokenize_once, components=components, spec=spec, seed=seed, tokenizer=tokenizer, folder=work)
    tokenized = list(bar.over(spread(tokenize, groups, num_bytes)))
    num_without = sum((Counter(each.num_without) for each in tokenized), Counter[str]())
    num_candidates = sum((Counter(each.num_candidates) for each in tokenized), Counter[str]())
    if not num_candidates.total():
        needed = " or a ".join(sorted({component.needs for component in components if component.needs}))
        raise UserError(
            f"mixture: none of {num_without.total()} documents has a {needed or 'text'} that was kept; see the reasons "
            "in the select stage, or set mixture.documents=all with mixture.layout=text_only"
        )
    candidates = read_candidates([work / f"candidates-{group.id}.parquet" for group in groups])
    if matched is None:
        blended = blend(candidates, spec.shares, num_tokens, spec.max_repeats)
    else:
        cuts = {name: matched.cuts.get(name, Cut(0)) for name in candidates}
        blended = Blend(cuts, {}, {name: _tokens(own, cuts[name]) for name, own in candidates.items()})
    if not any(blended.achieved_tokens.values()):
        raise UserError(f"mixture.num_tokens={num_tokens} is less than half a document; give a larger budget")
    windows = _windows(sum(blended.achieved_tokens.values()), spec)
    bar.total(len(groups) + len(windows))
    files = [work / f"tokens-{group.id}.arrow" for group in groups]
    pack_one = partial(
        _pack, files=files, cuts=blended.cuts, spec=spec, seed=seed, padding_id=tokenizer.padding_id, folder=folder
    )
    packed = list(bar.over(spread(pack_one, windows, 4 * sum(blended.achieved_tokens.values()))))
    remove_work(work)
    num_used = sum(int(blended.cuts[name].takes(own.draw_C, 0).sum()) for name, own in candidates.items())
    rejected = Counter({"not_drawn": num_candidates.total() - num_used})
    for component in components:
        rejected[f"no_{component.needs}"] += num_without[component.name]
    return _outcome(packed, blended, Counts.of("document of a component", num_used, +rejected), spec, components)


def with_shares_of(matched: Manifest, spec: MixtureSpec) -> MixtureSpec:
    """The settings with the other mixture's shares of tokens by source, where they give none of their own."""
    if spec.weights is not None:
        return spec
    weights: dict[str, float] = {}
    for component, share in matched.details["achieved"].items():
        source, _, kind = component.rpartition("/")
        name = component if kind == "replay" else f"{source}/{spec.own_kind}"
        weights[name] = weights.get(name, 0.0) + share
    return spec.model_copy(update={"weights": {name: share for name, share in weights.items() if share > 0}})


def components_of(given: MixtureInput, spec: MixtureSpec, matched: Matched | None) -> list[Component]:
    """What is blended, by the weights or each source in the layout's kind; UserError where a source has nothing."""
    if matched is not None:
        # The other arm's documents as text alone: eligible as there, drawn as there.
        eligible = spec.model_copy(update={"documents": matched.documents})
        return [replace(component_of(name, eligible), layout="text_only") for name in matched.components]
    if spec.shares is None:
        names = [f"{source}/{spec.own_kind}" for source in sorted(given.sources)]
        names += [f"{source}/replay" for source in sorted(given.replay_sources)]
    else:
        names = list(spec.shares)
    for name in names:
        source, _, kind = name.rpartition("/")
        have = given.replay_sources if kind == "replay" else given.sources
        if source not in have:
            role, known = "replay" if kind == "replay" else "study", ", ".join(have) or "none"
            raise UserError(f"mixture.weights.{name}: {source} has no documents; sources of role {role}: {known}")
    return [component_of(name, spec) for name in names]


def _groups(given: MixtureInput) -> list[Group]:
    groups = []
    # Windows read a slice of each group's file, so groups grow with the corpus as far as a worker's memory allows.
    size = max(_SHARDS_IN_GROUP, min(_MOST_SHARDS_IN_GROUP, len(given.shards) // _GROUPS))
    for number, first in enumerate(range(0, len(given.shards), size)):
        shards = given.shards[first : first + size]
        written = {
            kind: tuple(str(part) if (part := parts.get(digest)) else None for digest, _ in shards)
            for kind, parts in (("thought", given.thoughts), ("paraphrase", given.paraphrases))
        }
        digest = hashlib.sha256(" ".join(digest for digest, _ in shards).encode()).hexdigest()[:16]
        groups.append(Group(f"{number:06d}-{digest}", tuple(str(file) for _, file in shards), written))
    return groups


def _tokenize_once(group: Group, folder: Path, **how: Any) -> Tokenized:
    """Tokenize a group, unless a killed making has."""
    receipt = folder / f"tokens-{group.id}.receipt"
    if receipt.exists():
        return Tokenized(**json.loads(receipt.read_text(encoding="utf-8")))
    done = tokenize_group(group, folder=folder, **how)
    write_atomic(receipt, json.dumps(asdict(done)))
    return done


def _windows(num_tokens: int, spec: MixtureSpec) -> list[Window]:
    number = max(1, round(num_tokens / max(_WINDOW_TOKENS, _WINDOW_ROWS * spec.row_tokens)))
    return [Window(place, number) for place in range(number)]


def _pack(
    window: Window,
    files: Sequence[Path],
    cuts: dict[str, Cut],
    spec: MixtureSpec,
    seed: int,
    padding_id: int,
    folder: Path,
) -> Packed:
    part = folder / f"part-{window.number:06d}.parquet"
    return pack_window(window, files, cuts, spec, seed, padding_id, part)


def _tokens(candidates: Any, cut: Cut) -> int:
    return sum(int(candidates.num_tokens_C[cut.takes(candidates.draw_C, r)].sum()) for r in range(cut.num_repeats))


def _outcome(
    packed: Sequence[Packed], blended: Blend, counts: Counts, spec: MixtureSpec, components: Sequence[Component]
) -> Outcome:
    num_rows = sum(each.num_rows for each in packed)
    kinds = [sum(each.tokens_by_kind[kind] for each in packed) for kind in range(len(SEGMENT_KINDS))]
    num_tokens, achieved = sum(kinds[1:]), sum(blended.achieved_tokens.values())
    assert num_tokens == achieved, f"{num_tokens} tokens were packed but {achieved} drawn"
    target = sum(blended.target_tokens.values())
    return Outcome(
        counts=counts,
        tokens={"all": num_tokens} | {name: n for name, n in zip(SEGMENT_KINDS[1:], kinds[1:], strict=True) if n},
        details={
            "components": [component.name for component in components],
            "cuts": {name: {"passes": cut.passes, "last": cut.last} for name, cut in blended.cuts.items()},
            "target": {name: tokens / target for name, tokens in blended.target_tokens.items()},
            "achieved": {name: tokens / achieved for name, tokens in blended.achieved_tokens.items()},
            "target_tokens": round(target),
            "achieved_tokens": achieved,
            "num_rows": num_rows,
            "row_tokens": spec.row_tokens,
            "padding_share": kinds[0] / (num_rows * spec.row_tokens),
            "num_draws": sum(each.num_draws for each in packed),
            "special_tokens": spec.special_tokens,
        },
    )
