"""Long texts cut into passages of at most so many tokens, at the best places there are.

The text is divided into pieces: sentences, and words or stretches of a sentence that is too long by itself. Each place
between two pieces has a price: none at the end of a paragraph, more at the end of a sentence, much inside displayed
mathematics, an environment or code, most inside a sentence or a word. Of all ways to cut, the one is taken whose prices
and distances from the aimed length (the whole over the least possible number of passages) have the smallest sum.

Invariants: the passages without white space are the text without white space, in its order; none has more than
`max_tokens` by `count_tokens` of itself (but for a single character that has more); the same every time. Price: two
batched counts of the whole text, and one step for each pair of pieces that fit into one passage together.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import regex

CountTokens = Callable[[Sequence[str]], list[int]]

PARAGRAPH, SENTENCE, INSIDE_DISPLAY, LINE, WORD, CHARACTER = 0.0, 0.4, 3.0, 4.0, 6.0, 20.0
"""Price of a cut at such a place; a passage half as long as aimed at costs 0.25."""

_ABBREVIATION_LIST = """
v vs no nos cf see e.g i.e viz al cir ct dist app supp rev stat ann art sec ch cl const amend crim civ proc evid fed
bankr inc corp co ltd bros mr mrs ms dr prof hon jr sr st gen gov sen rep pres fig figs eq eqs ex def thm prop vol pp p
ed eds approx ca jan feb mar apr jun jul aug sept sep oct nov dec mass cal tex pa conn u.s u.s.c c.f.r op cit ass'n
dep't gov't int'l nat'l univ tit pub fla ill mich minn n.y n.j n.h r.i d.c
"""
_ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())
_SENTENCE_END = regex.compile(
    r"(?<![.?!])[.?!]++[\"'”’)\]]*+(?P<cut>\s++)(?=[\"'“‘(\[$\\*_]*+[\p{Lu}\p{Lt}\p{Lo}$\\])"
    r"|[。！？]+[」』”’）]*+(?P<cut>\s*+)(?=\S)"
    r"|(?P<cut>\n)(?=[ \t]*+(?:[-*•]|\d{1,3}[.)])[ \t])"
)
_WHITE_SPACE = re.compile(r"\s+")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_DISPLAY = re.compile(
    r"(?<!\\)(?P<open>\\begin\{(?P<name>[^{}\n]{1,40})\}|\\\[)|(?<!\\)(?P<close>\\end\{(?P<closed>[^{}\n]{1,40})\}|\\\])"
    r"|(?P<toggle>\$\$|^```)",
    re.M,
)


def cut_passages(text: str, max_tokens: int, count_tokens: CountTokens) -> list[str]:
    """Passages of at most `max_tokens`, without the white space around them; none of a text without words.

    `count_tokens` gives the number of tokens of each of several texts, as they stand.
    """
    if not text.strip():
        return []
    places = _places(text)
    counts = count_tokens([text[begin:end] for (begin, _), (end, _) in pairwise(places)])
    places, counts = _divide_long(text, places, counts, max_tokens, count_tokens)
    passages = _passages(text, _cut(places, counts, max_tokens))
    checked: list[str] = []
    for passage, count in zip(passages, count_tokens(passages), strict=True):
        # tokens of a whole may be a few more than those of its pieces
        checked += [passage] if count <= max_tokens else _halve(passage, max_tokens, count_tokens)
    return checked


Place = tuple[int, float]
"""Where a piece may begin, and the price of a cut there."""


def _places(text: str) -> list[Place]:
    """The ends of sentences and paragraphs, from 0 to the length of the text; pieces begin with their white space."""
    sentences = (
        found.span("cut")[0] for found in _SENTENCE_END.finditer(text) if not is_abbreviation(text, found.start())
    )
    price = dict.fromkeys(sentences, SENTENCE)
    price |= {found.start(): PARAGRAPH for found in _PARAGRAPH_END.finditer(text)}
    displays = _displays(text)
    begin, end = next(displays, (len(text), len(text)))
    for place in sorted(price):
        while end <= place < len(text):
            begin, end = next(displays, (len(text), len(text)))
        if begin < place < end:
            price[place] = max(price[place], INSIDE_DISPLAY)
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    inner = [(place, price[place]) for place in sorted(price) if first < place < last]
    return [(0, PARAGRAPH), *inner, (len(text), PARAGRAPH)]


def is_abbreviation(text: str, place: int) -> bool:
    """Whether the stop at a place in a text is that of an abbreviation, and so ends no sentence."""
    if text[place] != ".":
        return False
    words = text[max(0, place - 20) : place].split()
    word = words[-1].lstrip("([\"'“‘").casefold() if words and not text[place - 1].isspace() else ""
    return (
        word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or bool(re.fullmatch(r"(?:[a-z]\.)+[a-z]", word))
    )


def _displays(text: str) -> Iterator[tuple[int, int]]:
    """Where displayed mathematics, environments and fenced code begin and end; the outermost, as far as they close."""
    opened: list[tuple[str, int]] = []
    number_of: Counter[str] = Counter()
    for found in _DISPLAY.finditer(text):
        name = found.group("toggle") or found.group("name") or found.group("closed") or "["
        if found.group("open") or (found.group("toggle") and not number_of[name]):
            opened.append((name, found.start()))
            number_of[name] += 1
        elif number_of[name]:
            while True:
                inner, begin = opened.pop()
                number_of[inner] -= 1
                if inner == name:
                    break
            if not opened:
                yield begin, found.end()


def _divide_long(
    text: str, places: list[Place], counts: list[int], max_tokens: int, count_tokens: CountTokens
) -> tuple[list[Place], list[int]]:
    """Pieces that are too long are divided at white space, and words that still are at every character."""
    for finer in (_word_places, _inner_places):
        if all(count <= max_tokens for count in counts):
            break
        divided, added = list[Place](), list[Place]()
        for (place, count), (end, _) in zip(zip(places, counts, strict=False), places[1:], strict=True):
            divided.append(place)
            if count > max_tokens:
                inside = finer(text, place[0], end, count / max_tokens)
                divided += inside
                added += [place, *inside]
        divided.append(places[-1])
        following = {begin: end for (begin, _), (end, _) in pairwise(divided)}
        known = {place: count for (place, _), count in zip(places, counts, strict=False)}
        known |= zip(
            (begin for begin, _ in added),
            count_tokens([text[begin : following[begin]] for begin, _ in added]),
            strict=True,
        )
        places, counts = divided, [known[begin] for begin, _ in divided[:-1]]
    return places, counts


def _word_places(text: str, begin: int, end: int, num_passages: float = 1.0) -> list[Place]:
    """White space in an endless sentence, some sixty places for each passage that it will fill."""
    found = [one for one in _WHITE_SPACE.finditer(text, begin, end) if one.start() > begin]
    step = max(1, int(len(found) / (64 * num_passages)))
    return [(one.start(), LINE if "\n" in one.group() else WORD) for one in found[::step]]


def _inner_places(text: str, begin: int, end: int, num_passages: float) -> list[Place]:
    """Places in an endless word, some sixteen for each passage that it will fill."""
    step = max(1, int((end - begin) / (16 * num_passages)))
    first = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
    return [(place, CHARACTER) for place in range(first + step, end, step)]


def _cut(places: list[Place], counts: list[int], max_tokens: int) -> list[int]:
    """The places to cut at, first and last included: least sum of prices (a shortest path over the places)."""
    before = [0, *accumulate(counts)]
    aim = max(1.0, before[-1] / max(1, -(-before[-1] // max_tokens)))
    cost, cut_before = [0.0], [0]
    first = 0
    for last in range(1, len(places)):
        while first < last - 1 and before[last] - before[first] > max_tokens:
            first += 1
        ways = ((cost[begin] + ((before[last] - before[begin]) / aim - 1) ** 2, begin) for begin in range(first, last))
        least, begin = min(ways)
        cost.append(least + places[last][1])
        cut_before.append(begin)
    cuts, last = [places[-1][0]], len(places) - 1
    while last:
        last = cut_before[last]
        cuts.append(places[last][0])
    return cuts[::-1]


def _passages(text: str, cuts: list[int]) -> list[str]:
    return [passage for begin, end in pairwise(cuts) if (passage := text[begin:end].strip())]


def _halve(passage: str, max_tokens: int, count_tokens: CountTokens) -> list[str]:
    if len(passage) == 1:
        return [passage]
    middle = len(passage) // 2
    inner = [place for place, _ in _places(passage)[1:-1]] or [
        place for place, _ in _word_places(passage, 0, len(passage))
    ]
    nearest = min(inner, key=lambda place: abs(place - middle), default=middle)
    halves = _passages(passage, [0, nearest, len(passage)])
    counts = count_tokens(halves)
    return [
        part
        for half, count in zip(halves, counts, strict=True)
        for part in ([half] if count <= max_tokens else _halve(half, max_tokens, count_tokens))
    ]
