"""Where networks look, whether that is true, and what damage does to them: sentences and tables from the records."""

from fer_keras.evaluation.heat import REGIONS
from fer_keras.evaluation.robustness import DAMAGES
from fer_keras.labels import FER7
from fer_keras.reporting.sentences import MISSING, percent, table, with_interval
from fer_keras.results.runs import find_table

EXPLAIN, ROBUSTNESS, MEAN_HEAT = "explain", "robustness", "mean_heat"
RIVALS = ("chance", "another face", "single pixels")
FILLS = {"mean": "grey", "blur": "blur"}
EVEN = {name: bottom - top for name, (top, bottom) in REGIONS.items()}


def measured(kind, network):
    """Return what a table holds of a network, or None if it is not recorded."""
    return (find_table(kind) or {}).get(network)


def looked_into():
    """Return the names of the recorded seven-class networks, the most accurate on undamaged faces first."""
    found = find_table(ROBUSTNESS) or {}
    seven = {name: one["rows"][0]["accuracy"] for name, one in found.items() if one["classes"] == list(FER7)}
    return sorted(seven, key=lambda name: -seven[name])


def faithfulness(network, fill="mean"):
    """Return by how many points of probability deleting what a map marks is ahead of its rivals, a row a map."""
    found = measured(EXPLAIN, network)
    if found is None:
        return MISSING
    maps = {name: one["sooner_than"] for name, one in found["deletion"][fill].items() if "sooner_than" in one}
    order = sorted(maps, key=lambda name: -maps[name]["chance"]["mean"])
    lines = [[name, *[points(maps[name][rival]) for rival in RIVALS]] for name in order]
    return table((f"`{network}`, map", *(f"against {rival}" for rival in RIVALS)), lines)


def points(value):
    """Return a mean difference in points with its 95 % interval, "no difference" where that holds 0."""
    found = "{mean:+.1f} ({low:+.1f} to {high:+.1f})".format(**{key: 100 * each for key, each in value.items()})
    return f"no difference: {found}" if value["low"] <= 0 <= value["high"] else found


def true_maps(network, fill="mean"):
    """Return in a sentence which maps of a network mark what it needs, better than smooth maps of chance do."""
    found = measured(EXPLAIN, network)
    if found is None:
        return MISSING
    maps = {name: one["sooner_than"]["chance"] for name, one in found["deletion"][fill].items() if "sooner_than" in one}
    order = sorted(maps, key=lambda name: -maps[name]["mean"])
    good, bad = ([name for name in order if (maps[name]["low"] > 0) is wanted] for wanted in (True, False))
    said = [f"what {listed(good)} marks matters more than what chance marks"] if good else []
    said += [f"what {listed(bad)} marks does not"] if bad else []
    return f"on {found['num_images']:,} faces that `{network}` names rightly, {'; '.join(said)}"


def read_from(network, method="occlusion"):
    """Return how much of a network's heat lies on each part of the face, as times what an even map has there."""
    found = measured(EXPLAIN, network)
    if found is None:
        return MISSING
    lines = [
        [emotion, f"{one['num_images']:,}", *[f"{one['regions'][name]['mean'] / EVEN[name]:.1f}" for name in REGIONS]]
        for emotion, one in emotions_of(found, method)
    ]
    return table((f"`{network}`, {method}", "faces", *REGIONS), lines)


def emotions_of(found, method):
    """Return pairs of an emotion and what is recorded of it by a method, in the order of the network's classes."""
    return [(name, found["emotions"][method][name]) for name in found["classes"] if name in found["emotions"][method]]


def hottest(network, method="occlusion"):
    """Return where each emotion has the most heat for the part's size, as far as the intervals tell parts apart."""
    found = measured(EXPLAIN, network)
    if found is None:
        return MISSING
    places = {}
    for emotion, one in emotions_of(found, method):
        heat = {
            name: [value[end] / EVEN[name] for end in ("low", "mean", "high")] for name, value in one["regions"].items()
        }
        first, second = sorted(heat, key=lambda name: -heat[name][1])[:2]
        apart = heat[first][0] > heat[second][2]
        places.setdefault(f"the {first}" if apart else f"{first} and {second} alike", []).append(emotion)
    return "; ".join(f"{listed(emotions)} at {place}" for place, emotions in places.items())


def damages(*networks):
    """Return what the severest level of each damage leaves of networks' accuracy, and where a loss begins."""
    found = {name: one["rows"] for name in networks if (one := measured(ROBUSTNESS, name))}
    if not found:
        return MISSING
    header, lines = ["damage", "in"], []
    for name in found:
        header += [f"`{name}`: clear loss from", "at the severest level"]
    for kind, (unit, levels) in DAMAGES.items():
        line = [kind, f"{unit}, up to {levels[-1]:g}"]
        for rows in found.values():
            rows_of_kind = [row for row in rows if row["kind"] == kind]
            first = next((f"{row['level']:g}" for row in rows_of_kind if is_loss(rows_of_kind[0], row)), "none")
            line += [first, with_interval(rows_of_kind[-1])]
        lines.append(line)
    return table(header, lines)


def is_loss(whole, damaged):
    """Tell whether the intervals of two accuracies are apart, the second below the first."""
    return damaged["accuracy_high"] < whole["accuracy_low"]


def covered(network):
    """Return what covering eyes and mouth costs a network, each by its widest bar."""
    found = measured(ROBUSTNESS, network)
    if found is None:
        return MISSING
    rows = {kind: [row for row in found["rows"] if row["kind"] == kind] for kind in ("eyes covered", "mouth covered")}
    costs = {kind.split()[0]: 100 * (each[0]["accuracy"] - each[-1]["accuracy"]) for kind, each in rows.items()}
    worse, other = sorted(costs, key=lambda part: -costs[part])
    whole = rows["eyes covered"][0]
    return (
        f"of {percent(whole['accuracy'])} on whole faces, covering the {worse} costs `{network}` {costs[worse]:.1f} "
        f"points and covering the {other} {costs[other]:.1f}"
    )


def listed(names):
    """Return names as a list in a sentence.

    Example:

    >>> listed(["eyes", "nose", "mouth"])
    'eyes, nose and mouth'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


BLOCKS = {
    "faithfulness": faithfulness,
    "true-maps": true_maps,
    "read-from": read_from,
    "hottest": hottest,
    "damages": damages,
    "covered": covered,
}
