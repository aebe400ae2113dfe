"""What a model wrote becomes a letter, a number or nothing; samples become votes; thoughts are counted in sentences."""

import re
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rcpt_ray.evaluation.answers import find_letter, find_number, number_in_words
from rcpt_ray.evaluation.rows import sample_scores
from rcpt_ray.evaluation.sentences import count_sentences
from rcpt_ray.evaluation.votes import majority, pass_at, sizes_of_draws


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # what follows on "Answer:"
        (" B", "B"),
        ("B.", "B"),
        ("b)", "B"),
        ("B. Paris", "B"),
        ("B) Paris", "B"),
        ("B Paris", "B"),
        ("'B'", "B"),
        ("A", "A"),
        ("A.", "A"),
        ("a", "A"),
        ("A (Paris)", "A"),
        ("A\nbecause it floats", "A"),
        ("a) yes", "A"),
        ("d", "D"),
        # marks
        (r"\boxed{C}", "C"),
        (r"\boxed{\text{(D)}}", "D"),
        (r"\( B \)", "B"),
        ("#### D", "D"),
        ("**C**", "C"),
        ("So **C** it is", "C"),
        ("That leaves (C)", "C"),
        ("Ｂ", "B"),
        ("Ⓐ", "A"),
        # statements
        ("Answer: (B)", "B"),
        ("Answer - C", "C"),
        ("Answer: $B$", "B"),
        ("The answer is B.", "B"),
        ("The answer is: **B**", "B"),
        ("the answer is a", "A"),
        ("The answer is (a).", "A"),
        ("The best answer is A because it floats", "A"),
        ("The correct answer to the question is D", "D"),
        ("The answer should be the letter B", "B"),
        ("Option B is correct", "B"),
        ("(A) is correct", "A"),
        ("A is the correct answer", "A"),
        ("C is the answer", "C"),
        ("The choice is B", "B"),
        ("I choose C", "C"),
        ("I would go with D because the others melt", "D"),
        ("It must be C.", "C"),
        ("Answer: A, because B is wrong", "A"),
        ("The answer is (B), not (A)", "B"),
        ("The answer is B. No wait, the answer is C.", "C"),
        ("The answer isn't B, it's C", "C"),
        ("D\n\nQuestion: which of these", "D"),
        # what stands first is the answer, whatever other letters come behind it
        (" B. DNA is the best template", "B"),
        (" C. Vitamin D is best absorbed", "C"),
        (" B. A is correct but incomplete", "B"),
        (" B because option A is true", "B"),
        (" b because option A is true", "B"),
        ("B, A is true of others", "B"),
        (" D. RNA is the right answer", "D"),
        ("**B** as A is too small", "B"),
        ("(C) It is A that melts", "C"),
        ("Option B, since A is true", "B"),
        ("Answer: B. A is correct but incomplete", "B"),
        ("B. It is D\n\nQuestion: and which of these?\nAnswer: A", "B"),
        # but what is said to be the answer later on corrects it
        ("B. No wait, the answer is C.", "C"),
        ("A is not the answer; the answer is (D)", "D"),
        ("B, or rather \\boxed{C}", "C"),
        # a capital before words, the A like the others
        ("A car", "A"),
        ("B cars", "B"),
        ("A cell divides when it is large", "A"),
        ("B cells divide when they are large", "B"),
        ("Answer: A good one", "A"),
        # an a that is an article, and letters within words
        ("a dog", None),
        ("It has DNA is true", None),
        ("Vitamin D is best absorbed at noon", None),
        ("The answer is a bit complicated", None),
        # letters of other words, and of none of the choices
        ("Answer: D'Alembert", None),
        ("Answer: B-cells", None),
        ("Answer: C++", None),
        ("D.C. is the capital", None),
        ("Vitamin C helps against it", None),
        ("Hepatitis B is viral", None),
        ("Answer: E", None),
        # more than one, or denied
        ("Answer: A or B", None),
        ("A/B", None),
        ("Both A and C", None),
        ("between (A) and (B)", None),
        ("The answer is not B", None),
        ("B is incorrect", None),
        ("The answer is that A is wrong", None),
        ("I don't know", None),
        ("answer" + " " * 3000 + "?", None),
        (" " * 3000 + "x", None),
        ("", None),
    ],
)
def test_letter_of_an_answer(text: str, letter: str | None) -> None:
    assert find_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 42", "42"),
        ("42.", "42"),
        ("#### 1,234", "1234"),
        ("12,345,678", "12345678"),
        ("$12.50", "12.5"),
        ("€20", "20"),
        ("-3", "-3"),
        ("−3", "-3"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        (".5", "0.5"),
        ("1.0", "1"),
        ("007", "7"),
        ("-0", "0"),
        ("1e3", "1000"),
        ("50%", "50"),
        ("2/4", "0.5"),
        ("1/3", "1/3"),
        ("1/0", "1"),
        ("５", "5"),
        ("**72**", "72"),
        (r"\boxed{\$1{,}234}", "1234"),
        (r"\boxed{\frac{3}{4}}", "0.75"),
        (r"so $x=\dfrac{1}{2}$", "0.5"),
        ("The answer is 42.", "42"),
        ("The answer is -7 degrees, not 7", "-7"),
        ("The answer is 5, so 6 would be wrong", "5"),
        ("The answer to 3 + 4 is 7", "7"),
        ("Answer: 3 + 4 = 7", "7"),
        ("3 + 5 = 8", "8"),
        ("x = -4", "-4"),
        ("5-3=2", "2"),
        ("3 apples + 5 apples = 8 apples", "8"),
        ("3 times 5 is 15", "15"),
        ("18 / 2 = 9", "9"),
        (" 18 dollars for 2 days", "18"),
        (" 18 because 3 x 6", "18"),
        (" 18 because 3 x 6 = 18.", "18"),
        (" $18 in 5 days.", "18"),
        ("18cm, as 2 x 9", "18"),
        ("18 = 9 x 2", "18"),
        ("About 18 dollars for 2 days", "18"),
        ("18.\n\nQuestion: and of 7?\nAnswer: 7", "18"),
        ("18 dollars. Wait, the answer is 20.", "20"),
        ("18, or rather #### 20", "20"),
        ("18. The answer is not 20", "18"),
        ("18. The answer is what 2 days cost", "18"),
        ("42 (in 3 boxes)", "42"),
        ("10-12", "12"),
        ("1,2,3", "3"),
        ("12:30", "30"),
        ("H2O", None),
        ("3.4.5", None),
        ("9" * 50, None),
        ("no number", None),
        ("", None),
    ],
)
def test_number_of_an_answer(text: str, number: str | None) -> None:
    assert find_number(text) == number


@given(st.text(alphabet=st.sampled_from("ABCDabcd .,:;()[]{}*$\\\"'\nanswer is box1/23-=#%eE")))
def test_any_text_gives_a_letter_a_number_or_nothing(text: str) -> None:
    assert find_letter(text) in {*"ABCD", None}
    number = find_number(text)
    assert number is None or number == number_in_words(Fraction(number))


@given(st.fractions(), st.sampled_from(["{}", "#### {}", "The answer is {}.", r"\boxed{{{}}}", " {} "]))
def test_numbers_are_equal_by_value(value: Fraction, frame: str) -> None:
    assert find_number(frame.format(value)) == number_in_words(value)
    assert Fraction(number_in_words(value)) == value


@given(st.integers(-(10**12), 10**12), st.integers(0, 3))
def test_commas_and_zeros_behind_the_point_are_no_part_of_the_value(value: int, zeros: int) -> None:
    assert find_number(f"{value:,}" + ("." + "0" * zeros if zeros else "")) == str(value)


@given(
    st.sampled_from("ABCD"),
    st.sampled_from(["{}", "({})", "{}.", "The answer is {}.", "Answer: **{}**", "$\\boxed{{{}}}$"]),
)
def test_every_letter_is_found_in_every_form(letter: str, frame: str) -> None:
    assert (
        find_letter(frame.format(letter)) == find_letter(frame.format(letter).replace(letter, letter.lower())) == letter
    )


CHOICES = st.text(st.sampled_from([*"ABCDRNAabcd is the best right correct vitamin 12.,;:()-'"]), max_size=40)
WORDS = st.lists(
    st.sampled_from(
        [
            "Vitamin",
            "DNA",
            "A",
            "B",
            "C",
            "D",
            "is",
            "the",
            "best",
            "right",
            "correct",
            "because",
            "option",
            "(C)",
            "choose",
        ]
    )
)


@given(st.sampled_from("ABCD"), st.sampled_from(".):"), CHOICES | WORDS.map(" ".join))
def test_a_marked_letter_at_the_beginning_decides_whatever_the_choice_says(letter: str, mark: str, text: str) -> None:
    denies = re.match(r"\W*(or|and|,|is)", text)
    assume(not denies)
    assert find_letter(f" {letter}{mark} {text}") == letter


@given(st.integers(-999, 999), st.sampled_from(["dollars", "km", "because", "in"]), WORDS, st.integers(0, 99))
def test_a_number_at_the_beginning_decides_whatever_others_follow(
    value: int, unit: str, words: list[str], other: int
) -> None:
    assert find_number(f" {value} {unit} {' '.join(words)} {other}") == str(value)


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(case: tuple[int, int, int]) -> None:
    num_samples, num_right, k = case
    draws = list(combinations([True] * num_right + [False] * (num_samples - num_right), k))
    assert pass_at(k, num_samples, num_right) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_passes_are_asked_for_powers_of_two_and_all_samples() -> None:
    assert [sizes_of_draws(number) for number in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        (["7", "8", "8"], "8"),
        (["7", "8", "8", "7"], "7"),
        ([None, None, "8"], "8"),
        ([None, None], None),
    ],
    ids=["most", "a tie: the first", "silence does not vote", "nothing"],
)
def test_majority(answers: list[str | None], chosen: str | None) -> None:
    assert majority(answers) == chosen


def test_scores_of_one_sample_and_of_several() -> None:
    assert sample_scores(["B"], "B") == {"acc": 1.0, "extracted": 1.0}
    assert sample_scores(["8", None, "7", "8"], "8") == {
        "acc": 0.5,
        "extracted": 0.75,
        "pass@1": 0.5,
        "pass@2": pytest.approx(5 / 6),
        "pass@4": 1.0,
        "maj@4": 1.0,
    }


@pytest.mark.parametrize(
    ("thought", "number"),
    [
        ("", 0),
        ("One. Two! Three", 3),
        ("It falls, cf. Newton, at 9.8 m/s. So what?", 2),
        ("Steps:\n1. Find the height.\n2. Divide\n---\n", 3),
        ("Wait... No.", 2),
        ("so it is 4. then we add 0.5 to it. done", 3),
        ("水は百度で沸く。だから待つ。", 2),
    ],
)
def test_sentences_of_a_thought(thought: str, number: int) -> None:
    assert count_sentences(thought) == number
