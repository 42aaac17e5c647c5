"""Figures of notebook 09: where networks look, what damage does to them, and what they get wrong."""

from fer_keras.evaluation.heat import REGIONS, SHARES
from fer_keras.evaluation.robustness import DAMAGES
from fer_keras.labels import FER7
from fer_keras.reporting import looks, plotting
from fer_keras.reporting.catalogue.entry import Entry
from fer_keras.results.runs import find_run, find_table

NETWORKS = ("fer-small", "fer-base", "mini-xception")
METHODS = ("occlusion", "grad-cam++")
RIVALS = ["chance", "single pixels"]


def heat_of(network):
    """Return a function that returns the mean heat of a network and the mean faces, or None if there are none."""

    def read():
        heat, faces = find_table(looks.MEAN_HEAT), find_table("mean_faces")
        if heat is None or faces is None or looks.measured(looks.EXPLAIN, network) is None:
            return None
        maps = {
            method: {name: heat[f"{network}/{method}/{name}"] for name in FER7 if f"{network}/{method}/{name}" in heat}
            for method in METHODS
        }
        emotions = looks.measured(looks.EXPLAIN, network)["emotions"][METHODS[0]]
        counts = {name: one["num_images"] for name, one in emotions.items()}
        return {"network": network, "heat": maps, "faces": {name: faces[name] for name in FER7}, "counts": counts}

    return read


def regions_of(network):
    """Return a function that returns the share of a network's heat on each part of the face, or None."""

    def read():
        found = looks.measured(looks.EXPLAIN, network)
        if found is None:
            return None
        emotions = found["emotions"][METHODS[0]]
        shares = {name: emotions[name]["regions"] for name in FER7 if name in emotions}
        return {"network": network, "method": METHODS[0], "shares": shares}

    return read


def of_looked_into(kind, part):
    """Return a function that returns a part of what a table holds of each seven-class network, or None."""

    def read():
        found = {name: part(one) for name in looks.looked_into() if (one := looks.measured(kind, name))}
        return found or None

    return read


def heat(found):
    """Draw the mean heat over the mean faces."""
    options = {"counts": found["counts"], "bands": REGIONS, "title": found["network"]}
    maps = {method: {emotion: each / 255 for emotion, each in one.items()} for method, one in found["heat"].items()}
    return plotting.heat_over_faces(found["faces"], maps, **options)


def regions(found):
    """Draw the share of the heat on each part of the face."""
    shares = {emotion: {name: parts[name] for name in REGIONS} for emotion, parts in found["shares"].items()}
    return plotting.heat_by_region(shares, even=looks.EVEN, title=f"{found['network']}, {found['method']}")


def damaged(found):
    """Draw accuracy by damage, with the share of validation's commonest class if that is recorded."""
    options = {"damages": DAMAGES, "chance": 1 / len(FER7), "majority": found["majority"]}
    return plotting.robustness(found["networks"], **options)


def damage_inputs():
    """Return the rows of each seven-class network and the share of validation's commonest class, or None."""
    rows = of_looked_into(looks.ROBUSTNESS, lambda one: one["rows"])()
    audit = find_table("audit")
    counts = audit["counts"]["validation"].values() if audit else None
    return rows and {"networks": rows, "majority": max(counts) / sum(counts) if counts else None}


def runs_of_networks():
    """Return the recorded runs of the seven-class networks that were looked into."""
    runs = [find_run(name) for name in looks.looked_into()]
    return [run for run in runs if run and run.classes == FER7]


def confused():
    """Return the confusion matrices of the networks, or None."""
    return {f"{run.recipe_name}, {run.scores['split']}": run.scores["confusion"] for run in runs_of_networks()} or None


def sided():
    """Return with whom the networks side, or None."""
    found = find_table("crowd") or {}
    return {run.recipe_name: found[run.run] for run in runs_of_networks() if run.run in found} or None


FIGURES = {
    **{
        f"heat-{name}": Entry(
            9,
            f"Mean heat of each emotion over its mean face, by occlusion and Grad-CAM++ of {name}.",
            heat_of(name),
            heat,
        )
        for name in NETWORKS
    },
    **{
        f"regions-{name}": Entry(
            9, f"Share of the heat of {name} on each part of the face, by emotion.", regions_of(name), regions
        )
        for name in NETWORKS
    },
    "deletion": Entry(
        9,
        "Mean probability of the class while the pixels that a map marks are deleted, beside deleting by chance.",
        of_looked_into(
            looks.EXPLAIN, lambda one: {name: each["curve"] for name, each in one["deletion"]["mean"].items()}
        ),
        lambda found: plotting.deletion(found, SHARES, rivals=RIVALS),
    ),
    "robustness": Entry(
        9, "Validation accuracy of the networks at each level of each damage, chance dashed.", damage_inputs, damaged
    ),
    "confusions": Entry(
        9,
        "The most frequent confusions of the networks, as shares of the true class.",
        confused,
        lambda found: plotting.confusions(found, FER7),
    ),
    "sides": Entry(
        9,
        "With whom the networks side on test images where FER-2013's label and FER+'s voters disagree.",
        sided,
        plotting.taken_sides,
    ),
}
