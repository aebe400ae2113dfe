"""A table of the report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first cell of a row names it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    folded: bool = False
    """Shown only when it is opened: details behind another table."""
