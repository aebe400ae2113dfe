"""The passages of the real corpora are those that were read and found good."""

import golden_passages
import pytest


@pytest.mark.parametrize("corpus", golden_passages.SOURCES)
def test_passages_are_those_that_were_read(corpus: str) -> None:
    """A difference says what changed; tests/golden_passages.py says how to read and renew the sample."""
    if not (golden_passages.CORPORA / f"{corpus}.parquet").exists():
        pytest.skip("the corpus is not here; set RCPT_SHARED to the folder that holds data/corpus")
    assert golden_passages.differences(corpus) == []
    assert len(golden_passages.kept(corpus)) == golden_passages.NUM_PASSAGES
