"""English with formulas is English, German is not; and the filters say which of them refused, and why."""

import pytest

from rcpt_ray.corpus.language import language_of, other_language, words_alone
from rcpt_ray.corpus.quality import QualityFilters
from rcpt_ray.corpus.spec import QualityFilter

ENGLISH = (
    "The pump was rated for forty litres a minute but delivered twenty-six, since the hose had been replaced in March "
    "with one of half the bore, and nobody had told the night shift about it."
)
GERMAN = (
    "Was hat sich geändert? Natürlich der Schlauch, und mit ihm der Druck am Eingang der Pumpe. Ich sollte prüfen, ob "
    "die Zahlen übereinstimmen, bevor ich das aufschreibe."
)
FORMULAS = r" $\frac{\text{d}y}{\text{d}x} = \sum_{i=1}^{n} \alpha_i x^{i-1}$ " * 12


@pytest.mark.parametrize(("text", "code"), [(ENGLISH, "en"), (GERMAN, "de"), (ENGLISH.replace(" ", FORMULAS, 3), "en")])
def test_language_is_that_of_the_words(text: str, code: str) -> None:
    found, probability = language_of(text)
    assert (found, probability > 0.9) == (code, True)


@pytest.mark.parametrize("text", ["", "Short.", FORMULAS, "12 34 56 " * 50, "```\nint main() { return 0; }\n```" * 9])
def test_too_few_words_tell_no_language(text: str) -> None:
    assert language_of(text) == ("und", 0.0)
    assert other_language(text, ["en"]) is None


def test_other_language_is_named() -> None:
    assert other_language(GERMAN, ["en"]) == "de"
    assert other_language(GERMAN, ["en", "de"]) is None
    assert other_language(ENGLISH, ["en"]) is None


def test_formulas_code_and_links_are_not_words() -> None:
    assert words_alone("Let \\[x\n= y\\] and `f(x)` at https://a.b/c be $a$ or x_1.") == "Let and at be or"


def good(number: int) -> str:
    return f"It is true that the hose number {number} of the pump was not to be replaced with one of half the bore."


TEXT = "\n\n".join(good(number) for number in range(3, 8))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("gopher_quality", ENGLISH, None),
        ("gopher_quality", "1 2 3 4 5 6 7 8 9 the of and 10 11", "gopher_quality:below_avg_threshold"),
        ("gopher_quality", "# the # of # and # have # it # them #", "gopher_quality:too_many_hashes"),
        ("gopher_repetition", ENGLISH, None),
        ("gopher_repetition", "The same line again.\n\n" * 9, "gopher_repetition:dup_para_frac"),
        ("fineweb", ENGLISH, None),
        ("fineweb", "menu\nhome\nnews\nabout us\ncontact", "fineweb:line_punct_ratio"),
    ],
)
def test_filter_refuses_with_its_name_and_rule(name: QualityFilter, text: str, reason: str | None) -> None:
    assert QualityFilters([name]).reason(text) == reason


def test_first_filter_that_refuses_is_named() -> None:
    names: list[QualityFilter] = ["fineweb", "gopher_repetition"]
    assert QualityFilters(names).reason("menu\n\n" * 9) == "fineweb:line_punct_ratio"
    assert QualityFilters(names[::-1]).reason("menu\n\n" * 9) == "gopher_repetition:dup_para_frac"


@pytest.mark.parametrize("text", ["", " \n ", "\u2028"])
def test_text_without_words_is_refused_and_no_error(text: str) -> None:
    assert QualityFilters(["gopher_quality"]).reason(text) == "gopher_quality:empty"


def test_no_filter_refuses_nothing() -> None:
    assert QualityFilters([]).reason("") is None


def test_short_text_is_not_refused_for_being_short() -> None:
    assert QualityFilters(["gopher_quality"]).reason("That is the one of them.") is None
