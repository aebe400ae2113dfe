"""The report's table of the corpus: what became of the documents of each source."""

from rcpt_ray.report.inputs import ReportInputs
from rcpt_ray.report.tables.table import Table

_SPLITS = ("train", "replay", "heldout")


def corpus_table(inputs: ReportInputs) -> Table:
    """One row a source: documents or passages read, used by split, and left out by reason."""
    details, unit = inputs.corpus.details, inputs.corpus.counts.unit
    rows = []
    for name, own in details.get("sources", {}).items():
        reasons = {reason: number for reason, number in own.items() if reason not in ("in", *_SPLITS)}
        left_out = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
        rows.append([name, f"{own['in']:,}", *(f"{own.get(split, 0):,}" for split in _SPLITS), left_out or "none"])
    questions = ", ".join(
        f"{name} ({own['num_items']:,} questions, {own['num_too_short']:,} too short to look for)"
        for name, own in details.get("decontaminated_against", {}).items()
    )
    left = "; ".join(
        f"{name}: {', '.join(f'{number} {ending}' for ending, number in endings.items())}"
        for name, endings in details.get("files_not_read", {}).items()
    )
    note = f"In {unit}s. Looked for the questions of: {questions or 'no set'}."
    note += f" Files beside those that were read: {left}." if left else ""
    return Table("Corpus", ["Source", "Read", "Train", "Replay", "Held out", "Left out"], rows, note)
