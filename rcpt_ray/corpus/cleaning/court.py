"""Where the opinion of a US court begins: after court, docket number, parties, counsel, panel and dates.

The beginning is the name of the judge who wrote it ("LIPEZ, Circuit Judge."), "Per Curiam", "delivered the opinion of
the Court", or a heading such as OPINION, in this order. Invariants: where none of them stands behind something that is
plainly a caption, the text stays whole, and never more than `MAX_CAPTION_CHARS` or `MAX_CAPTION_SHARE` of it, whichever
is larger, is cut. A cut text is not cut again. Price: a few searches in the first 10,000 characters.
"""

import re

MAX_CAPTION_CHARS = 3500
MAX_CAPTION_SHARE = 0.3
_WINDOW = 12000
_CAPTION_WINDOW = 1200

_NAME = r"(?:Mc|Mac|Di|De|La)?[A-ZÀ-Þ][A-ZÀ-Þ.'’ \-]{1,40}[A-ZÀ-Þ]"
_TITLE = r"(?:(?:U\.S\.|Chief|Senior|Circuit|District|Associate|Magistrate|Presiding)\s+){0,3}(?:Judge|Justice)"
_BYLINES = tuple(
    re.compile(pattern, re.M)
    for pattern in (
        # an author in capitals, at the start of a paragraph or behind a date or a sentence, never in a list of judges
        rf"(?:^|(?<=\d\d\d\d )|(?<=[.*] ))(?P<byline>{_NAME} ?,? ?[*†\d]* ?{_TITLE} ?[*†]*(?:\s?[.:]|$))",
        rf"^(?P<byline>(?:[A-Z][\w.'’-]+ ){{0,2}}[A-Z][\w'’-]+ ?, ?[*†]* ?{_TITLE}\.)(?= ['\"“]?[A-Z])",
        r"(?:^\W{0,3}|(?<=[.\d*] ))(?P<byline>(?:PER CURIAM|Per Curiam|Per curiam)\b ?[.:*]*)",
        rf"^(?P<byline>{_NAME}, (?:C\.? ?J|P\.? ?J|J)\.?[:,.])",
        r"^(?P<byline>(?:Opinion by |(?:MR\. |Mr\. )?(?:CHIEF )?(?:JUSTICE|Justice) )[^\n]{2,60}"
        r"(?:delivered the opinion of the [Cc]ourt)[^\n.:]{0,40}[.:])",
        r"^(?P<byline>(?:OPINION(?: OF THE COURT)?|MEMORANDUM(?: OPINION| DISPOSITION)?|"
        r"ORDER(?: AND JUDGMENT| OF(?: THE)? COURT)?|MEMORANDUM AND ORDER(?: OF COURT)?) ?[*†\d]*)$",
        r"(?P<byline>)UPON DUE CONSIDERATION\b",
    )
)
_COURT = re.compile(
    r"\b(?:COURTS? OF (?:\w+ )?APPEALS|SUPREME COURT|DISTRICT COURT|CIRCUIT COURT|SUPERIOR COURT|COURT OF [A-Z]+)\b"
    r"|^(?:In the )?[A-Z][^\n.]{0,40}(?:Court of Appeals|Supreme Court|District Court)[^\n.]{0,60}$"
    r"|United States Court of Appeals,? \w+ Circuit\.",
    re.M,
)
_PARTIES = re.compile(r"\bv\.|\b(?:IN|In) (?:RE|re)\b|\bEX PARTE\b|\bEx parte\b")
_LIST_OF_JUDGES = re.compile(r"(?:,|;|:|\band|&|Before|BEFORE|PRESENT)\s*$")


def find_opinion(text: str) -> int | None:
    """Where the opinion proper begins; None where the text does not tell with certainty."""
    head = text[:_CAPTION_WINDOW]
    if not (_COURT.search(head) and _PARTIES.search(text[:_WINDOW])):
        return None
    limit = max(MAX_CAPTION_CHARS, int(MAX_CAPTION_SHARE * len(text)))
    for byline in _BYLINES:
        for found in byline.finditer(text, 0, min(limit, _WINDOW)):
            if not _LIST_OF_JUDGES.search(text[max(0, found.start() - 20) : found.start()]):
                begin = found.end("byline")
                return begin if _PARTIES.search(text[:begin]) and text[begin:].strip() else None
    return None


def cut_caption(text: str) -> str:
    """The text from its opinion on; the whole text where the opinion's beginning is not certain.

    Scans of underlined names tell them twice ("CYR, Circuit Judge. After CYR, Circuit Judge. failing"); so the byline
    goes once more from the first lines.
    """
    begin = find_opinion(text)
    if begin is None:
        return text
    byline = text[:begin].rstrip(" .:*\n")[-60:].rsplit("\n", 1)[-1].strip()
    opinion = text[begin:].lstrip()
    again = re.compile(rf"{re.escape(byline)} ?[.:]?\s*").search(opinion, 0, 200) if len(byline) > 8 else None
    return opinion if again is None else (opinion[: again.start()] + opinion[again.end() :]).strip()
