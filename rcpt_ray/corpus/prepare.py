"""The corpus stage: read, clean, cut, filter, deduplicate, decontaminate, split, and write deterministic shards.

    files --pieces--> workers (work.py) --digests, signatures--> join.py --> part-{train,replay,heldout,rejected}-*

Invariants: every row read is in a shard or in the rejections with its reason, whole or as passages; ids are unique;
held-out documents are in files of their own. The parts are the same bytes on any number of workers. A killed making
goes on with the pieces that are left.
"""

from collections import Counter
from functools import partial
from pathlib import Path

from rcpt_ray.artifacts import Counts, Outcome, make_work, remove_parts, remove_work
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.join import Joined, write_shards
from rcpt_ray.corpus.judge import Preparation
from rcpt_ray.corpus.language import known_languages
from rcpt_ray.corpus.near_duplicates import signature_algorithm
from rcpt_ray.corpus.passages import CountTokens
from rcpt_ray.corpus.reading.files import digest_files, files_left
from rcpt_ray.corpus.reading.pieces import pieces_of, source_files
from rcpt_ray.corpus.repeats import find_repeats, whole_repeats
from rcpt_ray.corpus.spec import CorpusSpec
from rcpt_ray.corpus.work import Done, prepare_piece
from rcpt_ray.errors import UserError
from rcpt_ray.spread import Spread
from rcpt_ray.terminal import Bar


def input_digests(spec: CorpusSpec) -> dict[str, str]:
    """Digest of each source's files; UserError if a source names no file."""
    return {name: digest_files(source_files(name, source)) for name, source in spec.sources.items()}


def prepare(
    spec: CorpusSpec,
    seed: int,
    folder: Path,
    bar: Bar,
    spread: Spread,
    index: EvaluationIndex | None = None,
    count_tokens: CountTokens | None = None,
) -> Outcome:
    """Write the shards of all sources into `folder`; `index` holds the questions that no document may hold.

    Raises:
        UserError: a file cannot be read, a row has no text, or no document is left to train on.
    """
    remove_parts(folder)
    work = make_work(folder)
    if spec.languages and (unknown := set(spec.languages) - known_languages()):
        raise UserError(f"corpus.languages={sorted(unknown)[0]} is no language that py3langid tells; see its README")
    pieces = [piece for name, source in spec.sources.items() for piece in pieces_of(name, source)]
    bar.total(len(pieces))
    prepare_one = partial(prepare_piece, preparation=Preparation(spec, work, index, count_tokens))
    num_bytes = sum(piece.num_bytes for piece in pieces)
    done = {each.piece: each for each in bar.over(spread(prepare_one, pieces, num_bytes, num_threads=1))}
    in_order = [(piece.source, done[piece.id]) for piece in pieces]
    _refuse_empty(spec, in_order)
    bar.note("duplicates")
    receipts = [each for _, each in in_order]
    left_out = whole_repeats(receipts, spec, work)
    repeats = find_repeats(receipts, spec, work, left_out)
    bar.note("shards")
    joined = write_shards(in_order, left_out, repeats, spec, seed, work, folder)
    remove_work(work)
    return _outcome(spec, joined, index)


def _refuse_empty(spec: CorpusSpec, pieces: list[tuple[str, Done]]) -> None:
    num_rows: Counter[str] = Counter()
    for source, piece in pieces:
        num_rows[source] += piece.num_rows
    for name, own in spec.sources.items():
        if not num_rows[name]:
            raise UserError(
                f"corpus.sources.{name}.path={own.path} holds no rows; give files with at least one document"
            )


def _where_they_went(joined: Joined, num_of: dict[str, int]) -> str:
    counts = dict(joined.rejected.most_common()) | {f"of {split}": number for split, number in num_of.items() if number}
    return ", ".join(f"{reason} {number:,}" for reason, number in counts.items())


def _advice(joined: Joined) -> str:
    """What to change, by the reason that took most."""
    match joined.rejected.most_common(1):
        case [("too_short" | "too_long", _)]:
            return "widen corpus.min_words to max_words"
        case [("not_wanted", _)]:
            return "look at the columns and values of corpus.sources.NAME.where"
        case [("no_text" | "not_text" | "not_json" | "not_utf8" | "unreadable", _)]:
            return "look at the files and at text_column"
        case [("contaminated", _)]:
            return "look at evaluation.tasks and corpus.decontaminate"
        case [("other_language", _)]:
            return "look at corpus.languages"
        case [(_, _)]:
            return "look at part-rejected-* and at the settings that these reasons name"
        case _:
            return "lower corpus.heldout_share, or give a source whose role is study"


def _outcome(spec: CorpusSpec, joined: Joined, index: EvaluationIndex | None) -> Outcome:
    num_of = {split: sum(own[split] for own in joined.by_source.values()) for split in ("train", "replay", "heldout")}
    unit = "document" if spec.passage_tokens is None else "passage"
    if not num_of["train"]:
        raise UserError(
            f"corpus: none of {joined.num_in} {unit}s is left to train on ({_where_they_went(joined, num_of)}); "
            f"{_advice(joined)}"
        )
    counts = Counts.of(unit, sum(num_of.values()), joined.rejected)
    assert counts.num_in == joined.num_in, f"{counts} are not the {joined.num_in} documents read"
    figures = {f"num_{split}": number for split, number in num_of.items()}
    figures |= {f"num_{split}_words": joined.num_words[split] for split in num_of}
    looked_for = {} if index is None else {name: vars(own) for name, own in sorted(index.sets.items())}
    return Outcome(
        counts=counts,
        details=figures
        | ({"signatures": signature_algorithm()} if spec.near_duplicates else {})
        | {
            "sources": {name: dict(own) for name, own in joined.by_source.items()},
            "decontaminated_against": looked_for,
            "files_not_read": {name: left for name, own in spec.sources.items() if (left := files_left(own.path))},
        },
    )
