"""Columns, cleaning and sources of known corpora, as `corpus.sources.NAME.preset`.

What is known: arXiv 2505.10182 takes 150,000 documents of OpenWebMath (36.8M tokens, about 245 each) and 150,000
opinion sections of FreeLaw, that is US case law (28.3M tokens, about 189 each). Which release of either, which filters
and how the texts were cut to that length is not published. What stands here is our choice, and a recipe may set any
field otherwise; `max_documents: 150000` and `corpus.passage_tokens: 256` come nearest to the paper's sizes.
"""

from typing import Any


def preset_fields(preset: str) -> dict[str, Any]:
    """Fields of a SourceSpec that a preset sets; none for a name that is not known (which the spec refuses)."""
    match preset:
        case "openwebmath":
            # open-web-math/open-web-math (arXiv 2310.06786): url, text, date, metadata, all text; metadata holds JSON.
            # Its authors chose and cleaned the pages, and LaTeX stands inside their text, so nothing is filtered here.
            return {
                "path": "hf://open-web-math/open-web-math",
                "domain": "stem",
                "text_column": "text",
                "id_column": "url",
                "markup": "plain",
            }
        case "freelaw":
            # The opinions of US courts. common-pile/caselaw_access_project is the release that is open to everybody:
            # id, text, source, created, added, metadata {license, url, author}, with the caption of a case in its text,
            # which `furniture` cuts away. The same fields read free-law/Caselaw_Access_Project (access on request) and
            # the FreeLaw part of the Pile (text, meta; no id, so a document is named by its text; of the whole Pile
            # with where: {meta.pile_set_name: [FreeLaw]}). Where opinions are a column of their own, as in the exports
            # of case.law, text_column: casebody.opinions.text takes the opinion sections alone.
            return {
                "path": "hf://common-pile/caselaw_access_project",
                "domain": "law",
                "text_column": "text",
                "markup": "plain",
                "furniture": ["court", "page"],
                "quality": ["gopher_quality", "gopher_repetition"],
            }
        case _:
            return {}
