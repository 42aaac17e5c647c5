"""What is measured of the networks that ship beside their accuracy: where they look, and how much damage they bear.

All of it on validation: nothing here looks at the test split.
"""

import numpy as np

from fer_keras.data import load_fer7
from fer_keras.evaluation import heat
from fer_keras.evaluation.explain import METHODS, explain, map_layers
from fer_keras.evaluation.inside import find_layer, way
from fer_keras.evaluation.robustness import robustness
from fer_keras.models import weights
from fer_keras.results import find_table, write_table

SPLIT = "validation"
MOST_OF_EACH = 100  # rightly named faces of each class that are looked into
LAST_MAP = "grad-cam on the last map"  # however coarse that is
FILLS = ("mean", "blur")
READ_BY = ("grad-cam++", "occlusion")  # the methods by which it is said where an emotion is read


def inspect(names=None, path=None, *, force=False, folder=None):
    """Record of networks that ship what damage does to their accuracy, where they look, and whether that is true.

    In the tables `robustness` and `explain`, by network, and `mean_heat`, an array each network, method and emotion.
    What was measured of the same file is left as it is.

    Args:
        names: of the networks; default all that ship.
        path: where FER-2013 lies; default as for `load_fer7`.
        force: measure anew what was measured.
        folder: folder of results; default `paths.results()`.

    Returns:
        The names of the networks that were measured.
    """
    faces, measured = None, []
    for name in names or weights.shipped():
        network = weights.load(name)
        digest = network.card["sha256"]
        if not force and recorded("explain", folder).get(name, {}).get("sha256") == digest:
            continue
        faces = faces or load_fer7(path)
        images, labels = faces.to_classes(network.classes, drop=True)[SPLIT]
        print(f"{name}: {len(images):,} {SPLIT} images …", flush=True)
        about = {"sha256": digest, "split": SPLIT, "classes": list(network.classes)}
        rows = robustness(network.predict, images, labels)
        add("robustness", {name: {**about, "num_images": len(images), "rows": rows}}, folder)
        looked, means = look(network, *rightly_named(network, images, labels))
        add("mean_heat", {f"{name}/{key}": mean for key, mean in means.items()}, folder)
        add("explain", {name: about | looked}, folder)
        measured.append(name)
    return measured


def look(network, images, labels):
    """Return what table `explain` holds of a network, and the mean heat, from faces that it names rightly."""
    maps = {method: explain(network.model, images, method=method, target_class=labels) for method in METHODS}
    last = list(map_layers(network.model))[-1]
    if last != find_layer(way(network.model), network.name):
        maps[LAST_MAP] = explain(network.model, images, target_class=labels, layer=last)
    emotions, means = {method: {} for method in READ_BY}, {}
    for method in READ_BY:
        for label, emotion in enumerate(network.classes):
            chosen = maps[method][labels == label]
            if len(chosen):
                shares = {name: heat.mean_with_interval(each) for name, each in heat.region_shares(chosen).items()}
                emotions[method][emotion] = {"num_images": len(chosen), "regions": shares}
                mean = chosen.mean(axis=0)
                means[f"{method}/{emotion}"] = np.rint(255 * mean / max(mean.max(), 1e-9)).astype(np.uint8)
    found = {
        "num_images": len(images),
        "shares": list(heat.SHARES),
        "deletion": deletion(network, images, labels, maps),
    }
    return found | {"emotions": emotions}, means


def deletion(network, images, labels, maps):
    """Return by fill and map the curve of the probability, and how much sooner than by rivals it falls, with intervals.

    The rivals: smooth maps of chance, single pixels by chance, and another face's map of the same method.
    """
    pixels = np.random.default_rng(0).random(images.shape[:3])
    rivals = {"chance": heat.random_heat(images), "single pixels": pixels}
    found = {}
    for fill in FILLS:

        def fall(marked, fill=fill):
            return heat.deletion_scores(network.predict, images, marked, labels, fill=fill)

        curves = {name: fall(marked) for name, marked in (maps | rivals).items()}
        found[fill] = {name: {"curve": rounded(curve.mean(axis=0))} for name, curve in curves.items()}
        for name, marked in maps.items():
            against = {rival: curves[rival] for rival in rivals} | {"another face": fall(heat.others_heat(marked))}
            own = heat.area(curves[name])
            found[fill][name]["sooner_than"] = {
                rival: heat.mean_with_interval(heat.area(curve) - own) for rival, curve in against.items()
            }
    return found


def rightly_named(network, images, labels):
    """Return at most `MOST_OF_EACH` faces of each class that a network names rightly, and their labels."""
    right = network.predict(images).argmax(axis=1) == labels
    order = np.random.default_rng(0).permutation(np.flatnonzero(right))
    chosen = np.concatenate([order[labels[order] == label][:MOST_OF_EACH] for label in range(len(network.classes))])
    return images[chosen], labels[chosen]


def recorded(table, folder=None):
    """Return a recorded table, empty if there is none."""
    return find_table(table, folder=folder) or {}


def add(table, entries, folder=None):
    """Record entries in a table beside those that it has."""
    write_table(table, recorded(table, folder) | entries, folder=folder)


def rounded(values):
    """Return values as a list, with six digits after the point."""
    return [round(float(value), 6) for value in values]
