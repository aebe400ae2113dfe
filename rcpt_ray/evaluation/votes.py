"""What several samples of one question are worth together: pass@k and the majority's answer."""

from collections import Counter
from collections.abc import Sequence
from math import comb


def pass_at(k: int, num_samples: int, num_right: int) -> float:
    """The chance that one of k samples, drawn without putting back, is right: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator of Chen et al., arXiv 2107.03374, equation 1.

    >>> pass_at(1, 4, 1), pass_at(2, 4, 1), pass_at(4, 4, 1)
    (0.25, 0.5, 1.0)
    """
    return 1.0 - comb(num_samples - num_right, k) / comb(num_samples, k)


def sizes_of_draws(num_samples: int) -> list[int]:
    """The k of pass@k: powers of two and all samples.

    >>> sizes_of_draws(6)
    [1, 2, 4, 6]
    """
    powers = [2**power for power in range(num_samples.bit_length()) if 2**power < num_samples]
    return [*powers, num_samples]


def majority(answers: Sequence[str | None]) -> str | None:
    """The answer of most samples (self-consistency, Wang et al., arXiv 2203.11171); None where no sample has one.

    Samples without an answer do not vote. Of answers with equally many votes the one wins that came first, in the order
    of the samples.

    >>> majority(["7", None, "8", "8", "7"])
    '7'
    """
    votes = Counter(answer for answer in answers if answer is not None)
    return max(votes, key=votes.__getitem__, default=None)
