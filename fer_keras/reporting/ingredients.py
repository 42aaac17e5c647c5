"""What each ingredient of our recipe gives: the recorded search with one of them changed at a time."""

import math

from fer_keras.evaluation import Comparison
from fer_keras.recipes.peers import PEERS
from fer_keras.recipes.spaces import INGREDIENTS
from fer_keras.reporting.runs import find_run
from fer_keras.reporting.sentences import MISSING, percent, table, with_interval
from fer_keras.reporting.tables import find_table

TABLE = "search-ingredients"
REFERENCE = "as it is"


def gains():
    """Return what each change of the recipe gives on validation, the best first, or None if that is not recorded.

    Returns:
        A list of `(change, mean accuracy, number of seeds, Comparison)`, of two seeds or more. The difference is the
        mean, over seeds, of the change's accuracy minus the recipe's own with the same seed; its 95 % interval is
        Student's over the seeds. It says how much the seed matters, on these validation images.
    """
    found = [
        (name, mean, len(differences), over_seeds(differences))
        for name, mean, differences in by_seed()
        if len(differences) > 1
    ]
    return sorted(found, key=lambda one: -one[3].difference) or None


def by_seed():
    """Yield each change of the recipe that is recorded, its mean accuracy, and its differences, one a seed."""
    trained = find_table(TABLE)
    if trained is None:
        return
    accuracy = trained.pivot_table(index="seed", columns="variant", values="accuracy")
    for name in INGREDIENTS:
        if {name, REFERENCE} <= set(accuracy) and name != REFERENCE:
            differences = (accuracy[name] - accuracy[REFERENCE]).dropna()
            if len(differences):
                yield name, accuracy[name][differences.index].mean(), differences


def over_seeds(differences):
    """Return the mean of differences, one a seed, with Student's 95 % interval."""
    from scipy.stats import t

    mean, total = float(differences.mean()), len(differences)
    half = float(t.ppf(0.975, total - 1)) * float(differences.std(ddof=1)) / math.sqrt(total)
    return Comparison(mean, mean - half, mean + half)


def ingredients():
    """Return what each change of the recipe gives, as a table."""
    lines = [[name, percent(mean), seeds, str(result)] for name, mean, seeds, result in gains() or ()]
    lines += [
        [name, percent(mean), 1, f"{100 * differences.iloc[0]:+.1f} points, without an interval"]
        for name, mean, differences in by_seed()
        if len(differences) == 1
    ]
    if not lines:
        return MISSING
    return table(("change of the recipe", "accuracy on validation", "seeds", "against the recipe as it is"), lines)


def verdict():
    """Return which changes help, which harm and which make no difference, in words."""
    found, single = gains() or (), [name for name, _, differences in by_seed() if len(differences) == 1]
    if not found and not single:
        return MISSING
    groups = {"helps": [], "harms": [], "makes no difference beyond the seeds": []}
    for name, _, _, result in found:
        key = list(groups)[2] if result.no_difference else "helps" if result.difference > 0 else "harms"
        groups[key].append(name)
    groups["too few seeds yet to say"] = single
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in groups.items() if names)


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
BLOCKS = {"ingredients": ingredients, "ingredients-verdict": verdict, "peers": peers}
