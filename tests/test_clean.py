"""What is not the text's own goes, the rest stays as it was, and cleaning twice changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcpt_ray.corpus.cleaning.clean import clean, repair, tidy_white_space
from rcpt_ray.corpus.cleaning.court import MAX_CAPTION_CHARS, MAX_CAPTION_SHARE, cut_caption, find_opinion
from rcpt_ray.corpus.cleaning.latex import MAX_DEPTH, latex_to_text
from rcpt_ray.corpus.cleaning.page import cut_page_furniture
from rcpt_ray.corpus.spec import SourceSpec

PLAIN = SourceSpec(path="x", domain="stem", markup="plain")
MARKDOWN = SourceSpec(path="x", domain="stem", markup="markdown")
LATEX = SourceSpec(path="x", domain="stem", markup="latex")
COURT = SourceSpec(path="x", domain="law", furniture=["court", "page"])
PAGE = SourceSpec(path="x", domain="law", furniture=["page"])

PIECES = [
    "Word", "word", "dis-", "- ", "tions", "v.", "1.", "42", "____", "\n", "\n\n", " ", "\t", "\r\n", "\u00a0",
    "\u200b", "\u0000", "&amp;", "&lt;", "<", "\u00c3\u00a9", "\ufb01", "---", "`", "```", "$", "\\", "{", "}", "[",
    "]", "(http://a)", "[a](/b)", "%", "<!--", "-->", "!", "\\begin{align}", "\\end{align}", "\\[", "\\]", "\\item",
    "\\emph", "\\iftag", "!!{", "\\olsection", "PER CURIAM.", "STAHL, Circuit Judge.", "COURT OF APPEALS",
]  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


def cleaned(text: str, source: SourceSpec = PLAIN, ending: str = "", repair_encoding: bool = True) -> str:
    return clean(text, source, ending, repair_encoding)


@given(TEXTS, st.sampled_from([PLAIN, MARKDOWN, PAGE]))
def test_cleaning_twice_changes_nothing(text: str, source: SourceSpec) -> None:
    once = cleaned(text, source)
    assert cleaned(once, source) == once


@given(TEXTS)
def test_latex_becomes_a_clean_plain_text_whatever_it_was(text: str) -> None:
    once = cleaned(text, LATEX)
    assert cleaned(once, repair_encoding=False) == once


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x01\x07", "\ufeff\n", "\u200b \u00a0"])
def test_text_that_nobody_sees_becomes_empty(text: str) -> None:
    assert cleaned(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.\n\nA second paragraph.",
        "def f(x):\n    if x:\n        return 1\n\n    return 2",
        "“Curled” quotes, 𝔸 ≠ ℝ, x² and ｗｉｄｅ letters — as they were.",
        r"Let $a & b$ be \[ x \] and \begin{align} y &= 1 \\ \end{align} stay.",
        "5 < 6 & 7",
    ],
)
def test_text_that_needs_nothing_stays_as_it_is(text: str) -> None:
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("cafÃ© and â€œquotesâ€\x9d", "café and “quotes”"),
        ("oﬃce", "office"),
        ("a\x00b\r\nc", "ab\nc"),
        ("nai\u0308ve", "na\u00efve"),
        ("x &lt; y", "x < y"),
    ],
)
def test_broken_encoding_is_mended(broken: str, mended: str) -> None:
    assert cleaned(broken) == mended


def test_encoding_stays_where_repair_is_not_wanted() -> None:
    assert cleaned("cafÃ© ﬁne", repair_encoding=False) == "cafÃ© ﬁne"


@given(TEXTS)
def test_repairing_line_by_line_is_what_ftfy_does(text: str) -> None:
    """The short cut for plain lines is only a short cut."""
    from ftfy import TextFixerConfig, fix_and_explain

    config = TextFixerConfig(
        explain=False, uncurl_quotes=False, fix_character_width=False, unescape_html="<" not in text
    )
    if not set(text) & set("\r\x0b\x0c\x85\u2028\u2029"):
        whole = "\n".join(fix_and_explain(line, config).text for line in text.split("\n"))
        assert repair(text) == whole


def test_white_space_is_one_kind_and_indentation_survives() -> None:
    messy = "\r\nTitle \t\r\n\r\n\r\n\r\n\tcode\tend  \n    a\u00a0b\u2028c\n\n"
    assert tidy_white_space(messy) == "Title\n\n\tcode end\n    a b\nc"


@pytest.mark.parametrize(("ending", "has_macro"), [(".tex", False), (".TEX", False), (".txt", True), ("", True)])
def test_markup_goes_by_the_ending_where_none_is_set(ending: str, has_macro: bool) -> None:
    anything = SourceSpec(path="x", domain="stem")
    assert ("\\emph" in cleaned(r"an \emph{old} word", anything, ending)) is has_macro
    assert "\\emph" in cleaned(r"an \emph{old} word", PLAIN, ending)


def test_markdown_loses_what_only_a_renderer_reads() -> None:
    text = "---\ntitle: x\n---\n# Head\n\nSee [the page](https://a.b/c) ![pic](/p.png)<!-- no -->*now*.\n\n"
    code = "```md\n[a](https://b)\n```\n\n`[c](/d)` and $f[x](/y)$"
    assert cleaned(text + code, MARKDOWN) == "# Head\n\nSee the page *now*.\n\n" + code


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"\emph{a} \textbf{b} ``c'' d~e --- f", 'a b "c" d e — f'),
        ("one\ntwo % a note\nthree", "one two three"),
        (r"\section{Sets}\label{sec:x} Let $x \in A$ \cite{key} be.", "Sets\n\nLet $x \\in A$ be."),
        (r"\begin{thm}[Cantor]\label{t} No map.\end{thm}", "Theorem (Cantor). No map."),
        (r"\begin{enumerate}\item one \item two\end{enumerate}", "1. one\n2. two"),
        ("\\begin{align*}\n a &= b \\label{eq:1}\\\\\n\\end{align*}", "\\begin{align*}\n a &= b\\\\\n\\end{align*}"),
        (r"\unknown{kept} \mystyle{also} \ZFC is", "kept also ZFC is"),
        (r"the \Intro{\lif} rule", r"the $\Intro{\lif}$ rule"),
        (r"100\% of G\"odel and \L ukasiewicz", "100% of Gödel and Łukasiewicz"),
        (r"\documentclass{a}\usepackage{b}\begin{document}Body.\end{document}", "Body."),
        (r"a \begin{tikzpicture}\draw (0,0);\end{tikzpicture} b", "a\n\nb"),
        (r"\AxiomC{$A$}\UnaryInfC{$B$}\DisplayProof", r"\AxiomC{$A$}\UnaryInfC{$B$}\DisplayProof"),
    ],
)
def test_latex_becomes_readable(latex: str, plain: str) -> None:
    assert latex_to_text(latex) == (plain, None)


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"\olsection{A} !!^a{element} of !!{formula}s", "A\n\nAn element of formulas"),
        (r"\olfileid{a}{b}{c} $\Box!A \land !B$", r"$\Box A \land B$"),
        (r"\olfileid{a}{b}{c}\iftag{prvAll}{yes $\iftag{notx}{1}{2}$}{no}", "yes $2$"),
        (r"\olfileid{a}{b}{c}By \olref[x][y]{thm:main}, the \olref{lem:a}.", "By the theorem, the lemma."),
    ],
)
def test_notation_of_open_logic_becomes_words(latex: str, plain: str) -> None:
    assert latex_to_text(latex).text == plain


@pytest.mark.parametrize(
    "latex", ["{" * 500, "\\begin{a}" * 300, "\\emph{" * 5000, "$" * 999, "[" * 800, "\\frac" * 99]
)
def test_broken_latex_ends_in_a_text_and_never_in_an_error(latex: str) -> None:
    text, problem = latex_to_text(latex)
    assert problem is None or text == latex


def test_latex_that_is_too_deep_stays_as_it_was_and_says_why() -> None:
    latex = "{" * (MAX_DEPTH + 1) + "x" + "}" * (MAX_DEPTH + 1)
    assert latex_to_text(latex) == (latex, f"more than {MAX_DEPTH} groups inside each other")


CAPTION = (
    "United States Court of Appeals For the First Circuit\n\nNo. 08-1\n\nJOHN ROE,\n\nAppellee,\n\nv.\n\nJANE DOE,\n\n"
    "Appellant.\n\nAPPEAL FROM THE UNITED STATES DISTRICT COURT\n\n[Hon. A. Bee, U.S. District Judge]\n\nBefore\n\n"
    "Lynch, Chief Judge,\n\nSelya and Boudin, Circuit Judges.\n\nC. Dee, for appellant.\n\nJune 2, 2010\n\n"
)
OPINION = "This appeal is about a fence. " * 20


@pytest.mark.parametrize(
    "author",
    [
        "LIPEZ, Circuit Judge.", "LYNCH, Chief Judge.", "Per Curiam.", "PER CURIAM:", "STAHL, Circuit Judge\n",
        "CAMPBELL, Senior Circuit Judge.", "H ALL, Circuit Judge:", "McAULIFFE,* District Judge.", "SMITH, J.:",
        "Justice Kagan delivered the opinion of the Court.", "OPINION\n",
    ],
)  # fmt: skip
def test_opinion_begins_after_its_author(author: str) -> None:
    assert cut_caption(f"{CAPTION}{author} {OPINION}").strip() == OPINION.strip()


def test_name_that_a_scan_tells_twice_goes_twice() -> None:
    text = f"{CAPTION}CYR, Circuit Judge. After failing to CYR, Circuit Judge. appear, he fled. {OPINION}"
    assert cut_caption(text).startswith("After failing to appear, he fled.")


@pytest.mark.parametrize(
    "text",
    [
        CAPTION + OPINION,
        f"{OPINION}\n\nSELYA, Circuit Judge. I concur.",
        CAPTION + "ERRATA SHEET\n\nOn page 3, replace a with b.",
        CAPTION + "x " * max(MAX_CAPTION_CHARS, 3000) + f"\n\nLIPEZ, Circuit Judge. {OPINION}",
        "United States Court of Appeals\n\nRoe v. Doe\n\nBefore: LEVAL, Circuit Judge, and KRAVITZ, District Judge.* x",
    ],
    ids=["no author", "no caption", "no opinion", "too far", "a panel"],
)
def test_text_whose_opinion_is_not_found_with_certainty_stays_whole(text: str) -> None:
    assert find_opinion(text) is None
    assert cut_caption(text) == text


@given(TEXTS)
def test_no_more_than_the_bounded_share_is_cut(text: str) -> None:
    text = CAPTION + text
    begin = find_opinion(text)
    assert begin is None or begin <= max(MAX_CAPTION_CHARS, MAX_CAPTION_SHARE * len(text)) + 100


@pytest.mark.parametrize(
    ("pages", "text"),
    [
        ("He is eligible\n\nfor a change.", "He is eligible for a change."),
        ("under the\n\nSentencing Guidelines.", "under the Sentencing Guidelines."),
        ("brought under 42\n\nU.S.C. 1983.", "brought under 42 U.S.C. 1983."),
        ('the district court\n\n"expressly" did.', 'the district court "expressly" did.'),
        ("It ends.\n\nhere is more", "It ends.\n\nhere is more"),
        ("II. Facts\n\nHe was born.", "II. Facts\n\nHe was born."),
        ("ROE\n\nv.\n\nDOE", "ROE\n\nv.\n\nDOE"),
        ("one\n\na. two", "one\n\na. two"),
        ("before.\n\n- 17 -\n\n_______\n\nAfter.", "before.\n\nAfter."),
        ("a limita-\ntion and", "a limitation and"),
        ("limitations; the limita- tions", "limitations; the limitations"),
        ("Toro-Berrios and Toro- Berrios at 54- 60", "Toro-Berrios and Toro-Berrios at 54-60"),
        ("pre- and post-trial", "pre- and post-trial"),
    ],
)
def test_pages_leave_no_trace(pages: str, text: str) -> None:
    assert cleaned(pages, PAGE) == text


def test_running_head_goes_and_a_repeated_answer_stays() -> None:
    page = "Roe v. Doe Company\n\nQ. Did you see it?\n\nA. Yes.\n\n"
    assert cut_page_furniture(page * 6).count("Roe v. Doe Company") == 0
    assert cut_page_furniture(page * 6).count("A. Yes.") == 6
    assert cut_page_furniture(page * 4).count("Roe v. Doe Company") == 4


def test_captions_are_cut_only_where_that_is_set() -> None:
    text = f"{CAPTION}LIPEZ, Circuit Judge. {OPINION}"
    assert cleaned(text).startswith("United States Court")
    assert cleaned(text, COURT).startswith("This appeal")
