"""What combining networks gives: the rules, and how a combination stands against its members."""

import numpy as np

from fer_keras.evaluation.ranking import compare_precision
from fer_keras.labels import FER7
from fer_keras.recipes import find_recipe
from fer_keras.reporting.findings import comparison, paired
from fer_keras.reporting.one_against_rest import SEVEN, in_groups, runs_of, unrecorded
from fer_keras.reporting.sentences import MISSING, percent, table

RULES = {
    "mean": (
        "the probability of each single network over the sum of all of them: one distribution; the mean of it and of "
        "those of networks that know all classes",
        "nothing",
    ),
    "stacking": (
        "multinomial logistic regression on the logarithms of all the members' probabilities",
        "validation; its scores on validation are from folds that it was not fitted on",
    ),
}


def answers():
    """Return how often none, one or more of the seven networks say that it is their emotion."""
    found = [run.predictions(run.scores["split"]).probabilities for run in runs_of(SEVEN).values()]
    if len(found) < len(FER7):
        return MISSING
    shares = [percent(np.mean(count)) for count in counted(found)]
    return f"none says yes on {shares[0]}, one alone on {shares[1]}, more than one on {shares[2]}"


def counted(probabilities):
    """Return three masks over the images: none, one, more than one network finds its emotion more probable."""
    number = sum((found[:, 1] > found[:, 0]).astype(int) for found in probabilities)
    return number == 0, number == 1, number > 1


def precision_gains(first, second):
    """Return how much better the second source ranks each emotion that both have, a `Comparison` each.

    Raises:
        ValueError: if they were not asked about the same images.
    """
    runs, gains = (runs_of(first), runs_of(second)), {}
    for name in [name for name in runs[0] if name in runs[1]]:
        pair = [(run, run.predictions(run.scores["split"])) for run in (runs[0][name], runs[1][name])]
        truths = [said.labels == run.classes.index(name) for run, said in pair]
        if not all(np.array_equal(*both) for both in (truths, [said.rows for _, said in pair])):
            raise ValueError(f"{first!r} and {second!r} were not asked about the same images: they cannot be compared.")
        gains[name] = compare_precision(
            truths[0], *[said.probabilities[:, run.classes.index(name)] for run, said in pair]
        )
    return gains


def ranks(first, second):
    """Return which emotions the second source ranks better, worse or no differently than the first."""
    gains = precision_gains(first, second)
    groups = {"better on": [], "no different on": [], "worse on": []}
    for name, gain in gains.items():
        group = "no different on" if gain.no_difference else "better on" if gain.difference > 0 else "worse on"
        groups[group].append(name if gain.no_difference else f"{name} {gain}")
    found = in_groups(groups | unrecorded(first, second)) if gains else MISSING
    return f"By average precision, {called(second)} against {called(first)}: {found}."


def called(source):
    """Return what a source is called."""
    return "the seven single networks" if source == SEVEN else f"`{source}`"


def above_members(ensemble):
    """Return whether an ensemble is above all of its members, and how it stands against each.

    Networks that know its classes are compared by accuracy, those that know one emotion by average precision.
    """
    members = [name for name, *_ in find_recipe(ensemble).members]
    whole = [name for name in members if not name.startswith(SEVEN)]
    results = [paired(name, ensemble) for name in whole]
    gains = precision_gains(SEVEN, ensemble)
    if None in results or len(gains) < len(members) - len(whole):
        return f"`{ensemble}` against its members: {MISSING}."
    above = all(found.low > 0 for found in [*gains.values(), *[result for result, _, _ in results]])
    parts = [f"`{ensemble}` is {'above all' if above else 'not above all'} of its members."]
    return " ".join([*parts, *[comparison(name, ensemble) for name in whole], ranks(SEVEN, ensemble)])


def rules(*ensembles):
    """Return who the members of ensembles are, by which rule they are combined and what that is fitted on."""
    lines = []
    for recipe in map(find_recipe, ensembles):
        others = [f"`{name}`" for name, *_ in recipe.members if not name.startswith(SEVEN)]
        singles = len(recipe.members) - len(others)
        lines.append([f"`{recipe.name}`", ", ".join([f"{singles} x `{SEVEN}`", *others]), *RULES[recipe.rule]])
    return table(("ensemble", "members", "rule", "fitted on"), lines)


BLOCKS = {"answers": answers, "ranks": ranks, "above-members": above_members, "rules": rules}
