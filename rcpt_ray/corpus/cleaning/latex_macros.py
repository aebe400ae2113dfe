"""What macros and environments of LaTeX mean for a reader: tables, with a few of the Open Logic Project's own.

A macro stands here when its name alone would mislead: it must be dropped, has arguments that are not text, or begins a
line. Everything else keeps the text of its arguments. Price: the parsing context is built once a process.
"""

import re
from functools import cache
from typing import Any


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


MATH_ENVIRONMENTS = _names(
    "math displaymath equation align alignat flalign gather multline eqnarray subequations dmath"
)
VERBATIM_ENVIRONMENTS = MATH_ENVIRONMENTS | _names(
    "verbatim lstlisting minted Verbatim alltt tabular tabularx longtable array prooftree oltableau tableau derivation"
)
"""Kept as they are written: formulas, code, tables, proofs."""
DROPPED_ENVIRONMENTS = _names(
    "comment tikzpicture picture pspicture editorial thebibliography filecontents sidewaysfigure"
)
"""Pictures, and notes to the editors of a text."""
LISTS = _names("itemize enumerate description tagenumerate compactitem compactenum")
THEOREMS = {
    "thm": "Theorem", "theorem": "Theorem", "lem": "Lemma", "lemma": "Lemma", "prop": "Proposition",
    "proposition": "Proposition", "cor": "Corollary", "corollary": "Corollary", "defn": "Definition",
    "definition": "Definition", "defish": "Definition", "ex": "Example", "example": "Example", "prob": "Problem",
    "probtag": "Problem", "problem": "Problem", "exercise": "Exercise", "rem": "Remark", "remark": "Remark",
    "axiom": "Axiom", "conv": "Convention", "claim": "Claim", "conjecture": "Conjecture", "proof": "Proof",
    "solution": "Solution", "question": "Question", "note": "Note",
}  # fmt: skip
HEADINGS = _names(
    "part chapter section subsection subsubsection paragraph subparagraph title olsection olchapter olpart caption"
)
DROPPED = _names(
    "label ollabel documentclass usepackage input include includegraphics bibliography bibliographystyle cite citep "
    "citealt citealp citeyear nocite ref eqref pageref vref vspace hspace vskip hskip setlength setcounter "
    "addtocounter newcommand renewcommand providecommand newtheorem newenvironment renewenvironment def let index "
    "olfileid olimport olasset olphoto OLEndChapterHook OLEndPartHook tagprob tagendprob tagrefs includeonly "
    "pagestyle thispagestyle maketitle tableofcontents noindent indent par centering raggedright newpage clearpage "
    "bigskip medskip smallskip hfill vfill hline phantom hphantom vphantom tikzstyle date author markboth "
    "bottomAlignProof addcontentsline @ / -"
)
BREAKS = {
    "\\": "\n", "newline": "\n", "linebreak": "\n", "par": "\n\n", " ": " ", "quad": " ", "qquad": " ", ",": " ",
    ";": " ", ":": " ", "!": "", "~": " ", "\n": " ",
}  # fmt: skip
REFERENCES = _names("olref cref Cref autoref tagrefs")
"""They print the kind of what they refer to, so its name stays."""
CITATIONS = _names("citet textcite citeauthor")
KEPT_ARGUMENT = {"iftag": 1, "oliflabeldef": 1, "href": 1, "textcolor": 1, "multicolumn": 2, "multirow": 2}
"""Of several arguments the one (from 0) that is the text."""
WRITTEN_BY_LIBRARY = frozenset(("url", "sqrt", "frac", "l", "L", "o", "O", "ss", "ae", "AE", "aa", "AA", "i", "j"))
SPECIALS = {"~": " ", "``": '"', "''": '"', "`": "'", "--": "–", "---": "—", "!`": "¡", "?`": "¿", "&": " "}

_ARGUMENTS = {
    "label": "{", "ollabel": "{", "olfileid": "{{{", "olsection": "[{", "olchapter": "[{{{", "olpart": "[{{",
    "olimport": "*[{", "olasset": "{", "olphoto": "{{", "olref": "[[[{", "cref": "{", "Cref": "{", "autoref": "{",
    "tagrefs": "{", "iftag": "{{{", "tagitem": "{{{", "tagprob": "{", "oliflabeldef": "{{{", "usetoken": "{{",
    "printtoken": "{{", "cite": "[[{", "citep": "*[[{", "citet": "*[[{", "citealt": "*[[{", "citealp": "*[[{",
    "citeyear": "[[{", "citeauthor": "*[[{", "textcite": "[[{", "nocite": "{", "ref": "{", "eqref": "{",
    "pageref": "{", "vref": "{", "href": "{{", "textcolor": "{{", "url": "{", "vspace": "*{", "hspace": "*{",
    "setlength": "{{", "setcounter": "{{", "addtocounter": "{{", "phantom": "{", "hphantom": "{", "vphantom": "{",
    "multicolumn": "{{{", "multirow": "{{{", "tikzstyle": "{", "footnote": "[{", "thanks": "{", "index": "{",
    "caption": "[{", "part": "*[{", "chapter": "*[{", "section": "*[{", "subsection": "*[{",
    "subsubsection": "*[{", "paragraph": "*[{", "subparagraph": "*[{", "title": "[{", "includegraphics": "*[{",
    "input": "{", "include": "{", "usepackage": "[{", "documentclass": "[{", "bibliography": "{",
    "bibliographystyle": "{", "pagestyle": "{", "thispagestyle": "{", "date": "{", "author": "[{",
    "newcommand": "*{[[{", "renewcommand": "*{[[{", "providecommand": "*{[[{", "addcontentsline": "{{{",
    "newtheorem": "*{[{[", "item": "[", "indcase": "{{{", "emph": "{", "markboth": "{{",
}  # fmt: skip
PROOF_BEGINS = frozenset(("Axiom", "AxiomC"))
"""bussproofs: from here to \\DisplayProof stands a proof tree."""
ALL_NAMES = (
    HEADINGS | DROPPED | REFERENCES | CITATIONS | PROOF_BEGINS | frozenset([*BREAKS, *KEPT_ARGUMENT, *_ARGUMENTS])
)
_ENVIRONMENT_ARGUMENTS = dict.fromkeys([*THEOREMS, "reading", "history", "quote", "intro"], "[") | {
    "probtag": "{",
    "tagblock": "{",
    "tagenumerate": "{",
    "figure": "[",
    "table": "[",
    "enumerate": "[",
    "itemize": "[",
    "minipage": "[{",
}
_NOUNS = {
    "thm": "theorem", "lem": "lemma", "prop": "proposition", "cor": "corollary", "defn": "definition",
    "def": "definition", "ex": "example", "prob": "problem", "fig": "figure", "tab": "table", "sec": "section",
    "chap": "chapter", "part": "part", "eq": "equation", "eqn": "equation", "rem": "remark", "ax": "axiom",
    "proof": "proof",
}  # fmt: skip
_TOKEN = re.compile(r"!!(\^)?(a)?\{([^{}]*)\}")
_TOKEN_NAMES = {
    "constant": "constant symbol", "function": "function symbol", "predicate": "predicate symbol",
    "identity": "identity predicate", "nonenumerable": "non-enumerable",
}  # fmt: skip
_META_VARIABLE = re.compile(r"(?<![!\\])(?<=(.))?!(?=[A-Z])", re.S)
REFERENCE_NOUNS = frozenset(_NOUNS.values())
_BETWEEN_GROUPS = re.compile(r"(?:\s|%[^\n]*\n)*")
_CHOICE = re.compile(r"\\iftag\s*(?=\{)")
_CASE_VARIANT = re.compile(r"\\indcase[!*]")
_IS_OPEN_LOGIC = re.compile(r"!!\^?a?\{|\\ol(?:fileid|section|chapter|part)\b")


@cache
def parsing_context() -> Any:
    """pylatexenc's own context with the arguments of our macros."""
    from pylatexenc.latexwalker import get_default_latex_context_db
    from pylatexenc.macrospec import EnvironmentSpec, MacroSpec

    context = get_default_latex_context_db()
    math = [EnvironmentSpec(name + star, is_math_mode=True) for name in sorted(MATH_ENVIRONMENTS) for star in ("", "*")]
    context.add_context_category(
        "rcpt",
        prepend=True,
        macros=[MacroSpec(name, arguments) for name, arguments in _ARGUMENTS.items()],
        environments=math + [EnvironmentSpec(name, arguments) for name, arguments in _ENVIRONMENT_ARGUMENTS.items()],
    )
    return context


def expand_tokens(latex: str) -> str:
    """Open Logic's own notation: its words `!!{element}` and its schematic letters `!A`; other texts stay as they are.

    >>> expand_tokens("!!^a{element} and !!{formula}s such as $!A$")
    'An element and formulas such as $A$'
    """
    if not _IS_OPEN_LOGIC.search(latex):
        return latex
    latex = _CASE_VARIANT.sub(r"\\indcase", latex)
    latex = _TOKEN.sub(lambda found: _token(*found.groups()), _choose(latex))
    return _META_VARIABLE.sub(lambda found: " " if (found.group(1) or "").isalpha() else "", latex)


def _choose(latex: str) -> str:
    """`\\iftag{tag}{if so}{if not}` becomes one of the two: tags are taken as set, those named not... as not set."""
    for found in reversed(list(_CHOICE.finditer(latex))):
        groups, place, after = list[str](), found.end(), 0
        while len(groups) < 3 and (end := _closing(latex, place)) is not None:
            groups.append(latex[place + 1 : end])
            after = end + 1
            place = _BETWEEN_GROUPS.match(latex, after).end()  # type: ignore[union-attr]
        if len(groups) == 3:
            chosen = groups[2] if groups[0].startswith("not") else groups[1]
            latex = latex[: found.start()] + chosen + latex[after:]
    return latex


def _closing(latex: str, opening: int) -> int | None:
    """Where the group that opens at a place closes; None if no group opens there or it never closes."""
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.S).finditer(latex, opening):
        if brace.start() == opening and brace.group() != "{":
            return None
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start() if brace.start() > opening else None
    return None


def token_of(form: str = "", name: str = "") -> str:
    """A word of Open Logic in the form s, S, p or P (singular, plural, capitals)."""
    word = _TOKEN_NAMES.get(name, name) + ("s" if form in ("p", "P") else "")
    return word[:1].upper() + word[1:] if form in ("S", "P") else word


def _token(capital: str | None, article: str | None, name: str) -> str:
    word = _TOKEN_NAMES.get(name, name)
    if article:
        word = ("an " if word[:1].lower() in "aeiou" else "a ") + word
    return word[:1].upper() + word[1:] if capital else word


def noun_of(label: str) -> str:
    """What a label refers to, by its prefix.

    >>> noun_of("thm:main"), noun_of("sec"), noun_of("main")
    ('the theorem', 'the section', 'the above')
    """
    prefix = re.split(r"[:-]", label.split(",")[0].strip(), maxsplit=1)[0]
    return f"the {_NOUNS.get(prefix, 'above')}"


def author_of(keys: str) -> str:
    """Author and year where the key of a citation tells them, nothing where it does not.

    >>> author_of("Feferman2004"), author_of("sep-logic")
    ('Feferman (2004)', '')
    """
    found = [re.fullmatch(r"([A-Z][A-Za-z]+?)(\d{4})[a-z]?", key.strip()) for key in keys.split(",")]
    return ", ".join(f"{one.group(1)} ({one.group(2)})" for one in found if one)
