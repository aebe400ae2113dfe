"""The answer in what a model wrote after its thought: a letter of a choice, or a number. Null where there is none.

Places are tried from the plainest to the least plain, and the first kind that is there decides:

    1. a mark of its own       \\boxed{C}, #### C
    2. a statement             "The answer is (C).", "Answer: C", "C is correct", "I choose C"; the last one counts
    3. the beginning           "C", "C. Paris", "c)", as it follows on "Answer:"
    4. the only marked letter  "so **C** it is", "that leaves (C)"

A letter in running text is none: not the article of "A good guess", not the C of "vitamin C". Two letters in one
statement ("A or B") are none either. Numbers go the same way, then the one behind the last equals sign, then the last
in the text. Both functions are pure, and never fail, whatever the text.
"""

import re
from fractions import Fraction

_LETTER = r"(?P<letter>[A-Da-d])"
_CAPITAL = r"(?P<letter>[A-D])"
_WRAP = r"[\s*_`$\"'“‘\[({<\\]*(?:\\?(?:text|math)\w*\{[\s(]*)?"
_ENDS = r"(?![\w+#]|['’/&-]\w|\.[A-Za-z]\b)"
"""What follows is no more of a word: not D'Alembert, C++, B-cell, A/B, B.C."""
_ALONE = r"(?!\W*(?:\bor\b|\band\b|,|&)\s*[(\[*]*[A-D]\b(?!['’]))"
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
_STATEMENTS = [
    re.compile(pattern)
    for pattern in (
        rf"(?i:\banswers?\b(?:\s+(?:choice|option|letter|(?:to|for)\s[^.:\n]{{1,80}}?))?)"
        rf"[\s*_]*(?i:{_IS})?[\s*_:]*(?i:{_FILLER}){_WRAP}{_LETTER}{_TAIL}",
        rf"{_CAPITAL}{_ENDS}[\s)\]*_\"'”’.]*(?i:\b(?:is|seems|must be|would be)\s+(?:(?:the|clearly|most|probably)\s+)*"
        rf"(?:correct|right|best|true|answer)\b)",
        rf"(?i:\b(?:choos\w+|chose|pick\w*|select\w*|go(?:ing)? with|went with|(?:choice|option) is)\s+"
        rf"{_FILLER}){_WRAP}{_CAPITAL}{_TAIL}",
        rf"(?i:\b(?:it|that|this)(?:['’]s|\s+is|\s+must be)\s+{_FILLER}){_WRAP}{_CAPITAL}(?=\W*$)",
    )
]
_BEGINNING = re.compile(
    rf"\A{_WRAP}(?:{_CAPITAL}{_TAIL}(?=\W|$)(?!\s+[a-z])|(?P<small>[a-d])(?=\s*$|[)\]:*]|\.(?:\s|$)))"
)
_BEGINNING_WITH_REASON = re.compile(rf"\A{_WRAP}{_CAPITAL}\s+(?:because|since|as|is (?:the )?(?:correct|right))\b")
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
_FIRST = re.compile(rf"\A[\s*_`\\({{]*{_NUMBER}[*_`)}}$]*\s*(?=\Z|\n|[(]|[.;:](?:\s|\Z))")
_FULL_WIDTH = {ord("０") + digit: str(digit) for digit in range(10)} | {ord("，"): ",", ord("．"): ".", 0xA0: " "}
_LATEX = re.compile(r"\\[,!;: ]|\{,\}")


def find_letter(text: str) -> str | None:
    """The letter A to D that a text gives as its answer.

    >>> find_letter("The answer is (B), not A."), find_letter("A good guess is hard to make")
    ('B', None)
    """
    text = _plain(text)
    marked = [found["letter"] for found in _OWN_MARK.finditer(text)]
    if marked:
        return marked[-1].upper()
    stated = [(found.start("letter"), found["letter"]) for one in _STATEMENTS for found in one.finditer(text)]
    if stated:
        return max(stated)[1].upper()
    found = _BEGINNING.match(text) or _BEGINNING_WITH_REASON.match(text)
    if found:
        return (found["letter"] or found["small"]).upper()
    letters = {first or second for first, second in _MARKED.findall(text)}
    return letters.pop() if len(letters) == 1 else None


def find_number(text: str) -> str | None:
    """The number that a text gives as its answer, in plain digits; equal values are equal texts.

    Commas between thousands, currencies and units are left out, a percentage is the number before its sign, a fraction
    that no decimal can write stays one.

    >>> find_number("#### 1,234"), find_number("It costs $12.50."), find_number("-3/6"), find_number("1/3")
    ('1234', '12.5', '-0.5', '1/3')
    """
    text = _FRACTION.sub(r" \1/\2", _LATEX.sub(_comma, text.translate(_FULL_WIDTH)).replace("\\$", "$"))
    for pattern in (_OWN_NUMBER, _STATED):
        found = list(pattern.finditer(text))
        if found:
            return _written(found[-1])
    first = _FIRST.match(text)
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
    """Full-width and circled letters as plain ones."""
    return re.sub(r"[Ａ-Ｄａ-ｄⒶ-Ⓓⓐ-ⓓ]", lambda found: _LETTER_OF[found[0]], text)


def _comma(found: re.Match[str]) -> str:
    return "," if found[0] == "{,}" else ""


_LETTER_OF = {
    chr(first + place): "ABCD"[place] if capital else "abcd"[place]
    for first, capital in ((0xFF21, True), (0xFF41, False), (0x24B6, True), (0x24D0, False))
    for place in range(4)
}
