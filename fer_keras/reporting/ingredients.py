"""What each ingredient of our recipe gives: the recorded search with one of them changed at a time."""

import functools
import math

import numpy as np

from fer_keras.evaluation import Comparison
from fer_keras.recipes import find_recipe
from fer_keras.recipes.peers import PEERS
from fer_keras.recipes.spaces import INGREDIENTS
from fer_keras.reporting.sentences import MISSING, percent, table, with_interval
from fer_keras.results.runs import find_run, find_table

TABLE = "search-ingredients"
REFERENCE = "as it is"


def gains():
    """Return what each change of the recipe gives on validation, the best first, or None if that is not recorded.

    Returns:
        A list of `(change, mean accuracy, number of seeds, Comparison)`, of the seeds with which every change was
        trained, if these are two or more. The difference is the mean, over seeds, of the change's accuracy minus the
        recipe's own with the same seed. Its 95 % interval is Dunnett's, of many changes against one reference, which
        hold together: the spread between seeds is estimated from all changes at once, each seed being a block.
        It says how much the seed matters, on these validation images.

    Reference: Dunnett, "A multiple comparison procedure for comparing several treatments with a control", 1955,
    doi:10.1080/01621459.1955.10501294.
    """
    accuracy = by_seed()
    if accuracy is None or len(accuracy) < 2:
        return None
    means, (total, changes) = accuracy.mean(), accuracy.shape
    residuals = accuracy.sub(accuracy.mean(axis=1), axis=0) - means + means.mean()
    freedom = (total - 1) * (changes - 1)
    error = math.sqrt(2 / total * float((residuals**2).to_numpy().sum()) / freedom)
    half = critical_value(changes - 1, freedom) * error
    found = []
    for name in accuracy.columns.drop(REFERENCE):
        difference = float(means[name] - means[REFERENCE])
        found.append((name, means[name], total, Comparison(difference, difference - half, difference + half)))
    return sorted(found, key=lambda one: -one[3].difference)


def by_seed():
    """Return the accuracy on validation, a row a seed with which all recorded changes were trained, a column a change.

    None if there is no search, no reference or no change.
    """
    trained = find_table(TABLE)
    if trained is None:
        return None
    accuracy = trained.pivot_table(index="seed", columns="variant", values="accuracy")
    known = [name for name in INGREDIENTS if name in accuracy]
    whole = accuracy[known].dropna()
    return whole if REFERENCE in known and len(known) > 1 and len(whole) else None


@functools.cache
def critical_value(changes, freedom, level=0.95):
    """Return how many standard errors an interval reaches to either side, for all changes to lie in theirs together.

    Dunnett's two-sided value: the quantile of the largest of `changes` Student variables with a correlation of one
    half, as they share a reference.

    Example:

    >>> round(critical_value(1, 10), 2)
    2.23
    """
    from scipy.optimize import brentq
    from scipy.stats import multivariate_t

    together = multivariate_t(shape=(np.eye(changes) + 1) / 2, df=freedom)

    def missed(reach):
        ends = np.full(changes, reach)
        return together.cdf(ends, lower_limit=-ends, random_state=0) - level

    return brentq(missed, 1, 1000, xtol=1e-3)


def ingredients():
    """Return what each change of the recipe gives, as a table."""
    lines = [[name, percent(mean), seeds, str(result)] for name, mean, seeds, result in gains() or of_one_seed()]
    if not lines:
        return MISSING
    return table(("change of the recipe", "accuracy on validation", "seeds", "against the recipe as it is"), lines)


def of_one_seed():
    """Return the lines of a single seed, the best change first; nothing can be concluded from them."""
    accuracy = by_seed()
    if accuracy is None:
        return []
    differences = accuracy.iloc[0].drop(REFERENCE).sort_values(ascending=False) - accuracy.iloc[0][REFERENCE]
    return [
        (name, accuracy.iloc[0][name], 1, f"{100 * difference:+.1f} points, without an interval")
        for name, difference in differences.items()
    ]


def verdict():
    """Return which changes help, which harm and which make no difference, in words."""
    found = gains()
    if found is None:
        return "too few seeds yet to say" if of_one_seed() else MISSING
    groups = {"helps": [], "harms": [], "makes no difference beyond the seeds": []}
    for name, _, _, result in found:
        key = list(groups)[2] if result.no_difference else "helps" if result.difference > 0 else "harms"
        groups[key].append(name)
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)


def seeds(*recipes):
    """Return every recorded seed of some recipes, with one view and with the mean over both views, as a table."""
    lines = []
    for run in (run for name in recipes for run in recorded_seeds(name)):
        views = (f"{split}{end}" for split in ("validation", "test") for end in ("", "_flip"))
        scores = [with_interval(run.metrics.get(view, {})) for view in views]
        lines.append([f"`{run.recipe_name}`", run.seed, *scores])
    header = "recipe", "seed", "validation", "with the mirror image", "test", "with the mirror image"
    return table(header, lines) if lines else MISSING


def spread(recipe):
    """Return the mean accuracy of a recipe's recorded seeds, and how far they lie apart."""
    runs = recorded_seeds(recipe)
    if len(runs) < 2:
        return MISSING
    found = [run.scores["accuracy"] for run in runs]
    names = ", ".join(str(run.seed) for run in runs)
    return (
        f"{percent(sum(found) / len(found))} on {runs[0].scores['split']} on average over the seeds {names}; "
        f"{100 * (max(found) - min(found)):.1f} points between the best and the worst"
    )


def seed_difference(first, second):
    """Return how far two recipes lie apart on average over their seeds (second minus first), in words.

    The intervals are Student's, of a difference of two means with one spread: of the recipes, not of two networks that
    came out of them.
    """
    ours = [recorded_seeds(name) for name in (first, second)]
    if min(map(len, ours)) < 2:
        return MISSING
    counts = f"{len(ours[1])} seeds of `{second}` against {len(ours[0])} of `{first}`, on average"
    found = []
    for split in ("validation", "test"):
        scores = [[run.metrics[split]["accuracy"] for run in runs if split in run.metrics] for runs in ours]
        if min(map(len, scores)) > 1:
            found.append(f"{of_means(*scores)} on {split}")
    return f"{counts}: {', '.join(found)}"


def of_means(first, second):
    """Return the `Comparison` of the means of two samples (second minus first)."""
    from scipy.stats import ttest_ind

    low, high = ttest_ind(second, first).confidence_interval(0.95)
    return Comparison(float(np.mean(second) - np.mean(first)), float(low), float(high))


def leads(reference, *recipes):
    """Return by how much recipes lie above another on validation, by epoch, or None if none can be told.

    Returns:
        A dict from each recorded recipe that trained as many epochs as the reference to a `pandas.DataFrame` with the
        columns `epoch` and `difference`: of the mean accuracies over all seeds, itself a running mean over five epochs.
    """
    base = mean_history(reference)
    if base is None:
        return None
    found = {name: mean for name in recipes if (mean := mean_history(name)) is not None and len(mean) == len(base)}
    differences = {name: (mean - base).rolling(5, center=True).mean().dropna() for name, mean in found.items()}
    return {name: each.rename("difference").reset_index() for name, each in differences.items()} or None


def mean_history(name):
    """Return the mean accuracy on validation over a recipe's recorded seeds, by epoch, or None."""
    accuracies = [run.history().set_index("epoch")["val_accuracy"] for run in recorded_seeds(name)]
    return sum(accuracies) / len(accuracies) if accuracies else None


def recorded_seeds(name):
    """Return the recorded runs of a recipe, in the order of their seeds."""
    return [run for seed in sorted(find_recipe(name).seeds) if (run := find_run(name, seed))]


def peers(*recipes):
    """Return our networks beside those that people install today, as a table."""
    lines = []
    for name in recipes:
        run = find_run(name)
        if run and "test" in run.metrics:
            size = [f"{run.num_parameters:,}", f"{run.multiply_adds / 1e6:,.1f} M"]
            lines.append([f"`{name}`", *size, with_interval(run.metrics["test"]), "PublicTest"])
    if not lines:
        return MISSING
    for peer in PEERS:
        size = [f"{peer.parameters:,}", f"{peer.multiply_adds / 1e6:,.1f} M"]
        lines.append([peer.name, *size, f"{peer.accuracy:.2f} %", peer.chosen_on])
    return table(("network", "parameters", "multiply-adds", "accuracy on PrivateTest", "chosen on"), lines)


def lead(run):
    """Return how far a run lies above the best of the networks that people install today."""
    best = max(PEERS, key=lambda peer: peer.accuracy)
    scores, share = run.scores, best.accuracy / 100
    points = 100 * (scores["accuracy"] - share)
    inside = scores["accuracy_low"] <= share <= scores["accuracy_high"]
    where = "no different from" if inside else f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"
    return f"{where} {best.name} ({best.accuracy:.2f} %), which was chosen on {best.chosen_on}"


OF_RUNS = {"lead": lead}
BLOCKS = {
    "ingredients": ingredients,
    "ingredients-verdict": verdict,
    "peers": peers,
    "seeds": seeds,
    "spread": spread,
    "seed-difference": seed_difference,
}
