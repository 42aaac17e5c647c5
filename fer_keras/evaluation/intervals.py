"""95 % intervals of accuracies, means and their differences."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 1000
Z95 = 1.959963984540054


def wilson(successes: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, after Wilson (1927, JASA 22): it stays inside [0, 1] and holds for few images too.

    Example:

    >>> low, high = wilson(119, 128)
    >>> f"{low:.3f} {high:.3f}"
    '0.872 0.963'
    """
    if not 0 <= successes <= total or total == 0:
        expected = "Expected 0 <= successes <= total and total > 0"
        raise ValueError(f"{expected}. Received: {successes} of {total}. Pass two counts.")
    share, correction = successes / total, Z95**2 / total
    centre = share + correction / 2
    half = Z95 * math.sqrt(share * (1 - share) / total + correction / (4 * total))
    return max(0.0, (centre - half) / (1 + correction)), min(1.0, (centre + half) / (1 + correction))


def accuracy_with_interval(labels: np.ndarray, predicted: np.ndarray, name: str) -> dict[str, float | None]:
    """Accuracy as `{name, name_low, name_high}`; each None where there is no image to score."""
    if not len(labels):
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    right, total = int((labels == predicted).sum()), len(labels)
    low, high = wilson(right, total)
    return {name: round(right / total, 6), f"{name}_low": round(low, 6), f"{name}_high": round(high, 6)}


def mean_with_interval(values: ArrayLike, *, seed: int = 0) -> dict[str, float]:
    """Mean of values `(n,)`, such as paired differences, and its 95 % bootstrap interval: `mean`, `low`, `high`."""
    values = np.asarray(values, float)
    if not len(values):
        raise ValueError("Expected one value at least. Received: none. Leave the empty group out.")
    generator, total = np.random.default_rng(seed), len(values)
    means = [values[generator.integers(0, total, total)].mean() for _ in range(RESAMPLES)]
    found = values.mean(), *np.quantile(means, (0.025, 0.975))
    return {name: round(float(value), 6) for name, value in zip(("mean", "low", "high"), found, strict=True)}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The difference of two accuracies (second minus first) and its 95 % interval."""

    difference: float
    low: float
    high: float

    @property
    def no_difference(self) -> bool:
        """True where the interval holds zero: the two do not differ measurably."""
        return self.low <= 0 <= self.high

    def __str__(self):
        points = f"{100 * self.difference:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"
        return f"no difference: {points}" if self.no_difference else points


def difference(first: dict, second: dict) -> Comparison:
    """Compare two accuracies (second minus first) on other images; on the same, `compare` finds smaller differences.

    Reference:
        Newcombe (1998), Statistics in Medicine 17, method 10.

    Args:
        first, second: dicts with `accuracy`, `accuracy_low` and `accuracy_high`, Wilson's interval.

    Example (the reference's first: 56 of 70 against 48 of 80):

    >>> first, second = (accuracy_with_interval(np.arange(n) < right, np.ones(n), "accuracy")
    ...                  for right, n in ((48, 80), (56, 70)))
    >>> str(difference(first, second))
    '+20.0 points (+5.2 to +33.4)'
    """
    (old, old_low, old_high), (new, new_low, new_high) = (
        [scores[f"accuracy{end}"] for end in ("", "_low", "_high")] for scores in (first, second)
    )
    low = new - old - math.hypot(new - new_low, old_high - old)
    return Comparison(new - old, low, new - old + math.hypot(new_high - new, old - old_low))
