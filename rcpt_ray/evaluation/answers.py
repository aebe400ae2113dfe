"""The answer in what a model wrote behind the cue "Answer:": a letter of a choice, or a number. Null without one.

What stands first behind the cue is the answer. Places are tried in this order, and the first kind that is there
decides:

    1. a mark of its own       \\boxed{C}, #### C
    2. the beginning           "C", "C. Paris", "c)", "**C**", "Option C", "C because A is true"; a later "the answer
                               is (D)" corrects it
    3. a statement             "It must be C", "C is correct", "I choose C"; the last one counts
    4. the only marked letter  "so **C** it is", "that leaves (C)"

At the beginning a capital letter before words is the answer whatever the letter: "A car" and "A cell divides" are A
as "B Paris" and "B cells divide" are B. Taking an A there for an article would make rights and wrongs depend on the
letter of the right choice. A small letter needs a mark or a reason. Further on a letter in running text is none: not
the article of "I guess A car", not the C of "vitamin C". Two letters together ("A or B") are none either.

Numbers go the same way: "18 dollars for 2 days" is 18 unless it opens a calculation ("3 apples + 5 = 8"); then the one
behind the last equals sign, then the last in the text. Both functions are pure, and never fail, whatever the text.
"""

import re
from fractions import Fraction

_BEGINS = r"(?<!\w)(?<!\w['’/&+-])"
_LETTER = _BEGINS + r"(?P<letter>[A-Da-d])"
_CAPITAL = _BEGINS + r"(?P<letter>[A-D])"
_WRAP = r"[\s*_`$\"'“‘\[({<\\]*(?:\\?(?:text|math)\w*\{[\s(]*)?"
_ENDS = r"(?![\w+#]|['’/&-]\w|\.[A-Za-z]\b)"
"""What follows is no more of a word: not D'Alembert, C++, B-cell, A/B, B.C."""
_ALONE = r"(?!\W*(?:\bor\b|\band\b|&)\s*[(\[]*[A-D]\b(?!['’])|\W*,\s*[(\[]*[A-D]\b(?!['’]|\s+(?:is|was)\b))"
"""No second letter beside it."""
_NO_ARTICLE = (
    r"(?:(?<![Aa])|(?=\W*$|[)\].:;,*_\"'”’}`$\\]|\s*\n|\s*[(–—-]\s*|\s+(?:because|since|as|due|so|which|but)\b))"
)
"""An A stands for a choice where no word goes on behind it as behind an article."""
_TAIL = _ENDS + _NO_ARTICLE + _ALONE
_FILLER = (
    r"(?:(?:most likely|probably|clearly|definitely|certainly|therefore|thus|hence|simply|option|choice|letter|the"
    r"|correct|answer|one)\b[\s:]*)*"
)
_IS = r"(?:\bis\b|\bwas\b|\b(?:would|should|must|will) be\b|\bbe\b|[:=–—-]|['’]s\b)"
_OWN_MARK = re.compile(rf"(?:\\boxed\s*\{{|####){_WRAP}{_LETTER}{_ENDS}")
_CORRECTION = re.compile(
    rf"(?i:\banswers?\s+(?:choice\s+|option\s+)?(?:is|was|(?:would|should|must|will)\s+be)\b)[\s*_:]*(?i:{_FILLER})"
    rf"{_WRAP}{_LETTER}{_TAIL}"
)
"""No "Answer: C", which a model writes that goes on with a question of its own."""
_STATEMENTS = [
    re.compile(pattern)
    for pattern in (
        rf"(?i:\banswers?\b(?:\s+(?:choice|option|letter|(?:to|for)\s[^.:\n]{{1,80}}?))?)"
        rf"[\s*_]*(?i:{_IS})?[\s*_:]*(?i:{_FILLER}){_WRAP}{_LETTER}{_TAIL}",
        rf"{_CAPITAL}{_ENDS}[\s)\]*_\"'”’.]*(?i:\b(?:is|seems|must be|would be)\s+(?:(?:the|clearly|most|probably)\s+)*"
        rf"(?:correct|right|true|answer|best(?=\W*$|\s+(?:answer|choice|option|one)\b))\b)",
        rf"(?i:\b(?:choos\w+|chose|pick\w*|select\w*|go(?:ing)? with|went with|(?:choice|option) is)\s+"
        rf"{_FILLER}){_WRAP}{_CAPITAL}{_TAIL}",
        rf"(?i:\b(?:it|that|this)(?:['’]s|\s+is|\s+must be)\s+{_FILLER}){_WRAP}{_CAPITAL}(?=\W*$)",
    )
]
_DENIED = r"(?!\W*\s(?:(?:is|was|can|does)(?:n['’]?t\b|not\b|\s+(?:not|never|wrong|false|incorrect|in\s*correct)\b)))"
_REASON = r"\s+(?:because|since|as|is\s+(?:the\s+)?(?:correct|right|true|answer))\b"
_BEGINNING = re.compile(
    rf"\A{_WRAP}(?:(?i:answer\s*[:=]){_WRAP})?(?:(?i:(?:the\s+)?(?:option|choice|letter)\b:?){_WRAP})?"
    rf"(?:{_CAPITAL}{_ENDS}{_ALONE}{_DENIED}|(?P<small>[a-d])(?=\s*$|\s*\n|[)\]:*]|\.(?:\s|$)|{_REASON}))"
)
_MARKED = re.compile(r"[(\[]\s*([A-D])\s*[)\]]|\*\*\s*\(?([A-D])\)?[.:]?\s*\*\*")

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,40}+(?![0-9]))"
_NUMBER = (
    r"(?<![\w.])(?P<sign>(?:(?<![)\]}%])[-−–]\s?)?[$€£]?\s?(?:(?<=[$€£])[-−–])?)"
    rf"(?P<digits>{_DIGITS}(?:\.[0-9]{{1,40}}+)?|\.[0-9]{{1,40}}+)(?!\.?[0-9])"
    r"(?P<power>[eE][+-]?[0-9]{1,2}(?![0-9]))?(?:\s?/\s?(?P<below>[0-9]{1,40}+)(?![0-9/]|\.[0-9]))?"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*([-−]?[0-9]{1,40})\s*\}\s*\{\s*([0-9]{1,40})\s*\}")
_ANY = re.compile(_NUMBER)
_OWN_NUMBER = re.compile(rf"(?:\\boxed\s*\{{|####)[\s\\({{]*(?:(?:text|math)\w*\{{)?\s*{_NUMBER}")
_STATED = re.compile(
    rf"(?i:\banswers?\b)[\s*_]*(?i:\bto\s[^.:\n]{{1,80}}?)?(?i:{_IS})[^0-9\n.]{{0,40}}?[\s*_$\\({{]*{_NUMBER}"
    r"(?!\s*[-+*/×÷=]\s*[$(]?[0-9])"
)
_EQUALS = re.compile(rf"=\s*[*_\\({{]*{_NUMBER}")
_SUM = r"(?:[-−–+*/×÷x]|plus\b|minus\b|times\b|divided\s+by\b)\s*[$€£(]?\s?[0-9.]"
_FIRST = re.compile(
    rf"\A[\s*_`\\({{~≈=]*(?:(?i:answer\s*[:=])[\s*_`\\({{]*)?"
    rf"(?:(?i:about|approximately|around|exactly|(?:a\s+)?total\s+of)\s[\s*_`\\({{]*)?{_NUMBER}(?![:,]?[0-9])[*_`)}}$%]*"
    rf"(?!(?:[A-Za-z]{{1,20}}(?![A-Za-z]))?(?:\s+[A-Za-z]{{1,20}}){{0,3}}\s*(?:{_SUM}|=\s*[$€£(]?{_DIGITS}(?!\s*{_SUM})))"
)
"""A number that no calculation goes on behind; one behind whose equals sign stands a calculation is its result."""
_CORRECTED = re.compile(
    rf"(?i:\banswers?\b)[\s*_]*(?i:\bto\s[^.:\n]{{1,80}}?)?\s*(?i:\b(?:is|was|(?:would|should|must|will)\s+be)\b)"
    r"(?i:\s+(?:about|approximately|exactly|now|then|thus|therefore|actually|really|instead|just|only)\b)*"
    rf"[\s:*_$\\({{]*{_NUMBER}(?!\s*[-+*/×÷=]\s*[$(]?[0-9])"
)
_FULL_WIDTH = {ord("０") + digit: str(digit) for digit in range(10)} | {ord("，"): ",", ord("．"): ".", 0xA0: " "}
_RUNS = re.compile(r"([\W_])\1{4,}")
"""Of one mark or blank; a thousand blanks would take the patterns hours."""
_LATEX = re.compile(r"\\[,!;: ]|\{,\}")


def find_letter(text: str) -> str | None:
    """The letter A to D that a text gives as its answer.

    >>> find_letter("The answer is (B), not A."), find_letter(" B. A is correct, but not all"), find_letter("I know it")
    ('B', 'B', None)
    """
    text = _plain(text)
    marked = [found["letter"] for found in _OWN_MARK.finditer(text)]
    if marked:
        return marked[-1].upper()
    found = _BEGINNING.match(text)
    if found:
        corrected = list(_CORRECTION.finditer(text, found.end()))
        return (corrected[-1]["letter"] if corrected else found["letter"] or found["small"]).upper()
    stated = [(found.start("letter"), found["letter"]) for one in _STATEMENTS for found in one.finditer(text)]
    if stated:
        return max(stated)[1].upper()
    letters = {first or second for first, second in _MARKED.findall(text)}
    return letters.pop() if len(letters) == 1 else None


def find_number(text: str) -> str | None:
    """The number that a text gives as its answer, in plain digits; equal values are equal texts.

    Commas between thousands, currencies and units are left out, a percentage is the number before its sign, a fraction
    that no decimal can write stays one.

    >>> find_number("#### 1,234"), find_number("It costs $12.50."), find_number("-3/6"), find_number("1/3")
    ('1234', '12.5', '-0.5', '1/3')
    """
    text = _RUNS.sub(r"\1\1\1\1", text)
    text = _FRACTION.sub(r" \1/\2", _LATEX.sub(_comma, text.translate(_FULL_WIDTH)).replace("\\$", "$"))
    found = list(_OWN_NUMBER.finditer(text))
    if found:
        return _written(found[-1])
    first = _FIRST.match(text)
    stated = list((_CORRECTED if first else _STATED).finditer(text))
    if stated:
        return _written(stated[-1])
    if first:
        return _written(first)
    found = list(_EQUALS.finditer(text)) or list(_ANY.finditer(text))
    return _written(found[-1]) if found else None


def number_in_words(value: Fraction) -> str:
    """A value in plain digits: a decimal where there is one, else a fraction in lowest terms.

    >>> number_in_words(Fraction("12.50")), number_in_words(Fraction(2, 6))
    ('12.5', '1/3')
    """
    below, power = value.denominator, 0
    while below % 10 == 0 or below % 2 == 0 or below % 5 == 0:
        below = below // 10 if below % 10 == 0 else below // 2 if below % 2 == 0 else below // 5
        power += 1
    if below != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**power // value.denominator).rjust(power + 1, "0")
    whole, behind = (digits[:-power], digits[-power:].rstrip("0")) if power else (digits, "")
    return f"{'-' if value < 0 else ''}{whole}{'.' if behind else ''}{behind}"


def _written(found: re.Match[str]) -> str:
    value = Fraction(found["digits"].replace(",", "") + (found["power"] or ""))
    if found["below"] and int(found["below"]):
        value /= int(found["below"])
    return number_in_words(-value if re.search("[-−–]", found["sign"]) else value)


def _plain(text: str) -> str:
    """Full-width and circled letters as plain ones, and no long runs."""
    text = _RUNS.sub(r"\1\1\1\1", text)
    return re.sub(r"[Ａ-Ｄａ-ｄⒶ-Ⓓⓐ-ⓓ]", lambda found: _LETTER_OF[found[0]], text)


def _comma(found: re.Match[str]) -> str:
    return "," if found[0] == "{,}" else ""


_LETTER_OF = {
    chr(first + place): "ABCD"[place] if capital else "abcd"[place]
    for first, capital in ((0xFF21, True), (0xFF41, False), (0x24B6, True), (0x24D0, False))
    for place in range(4)
}
