"""From a trained run to a network in a file with its card; and what is measured of the networks that ship."""

import itertools
import os
from pathlib import Path

import numpy as np

from fer_keras import paths
from fer_keras.data import load_fer7
from fer_keras.evaluation import fit_temperature, heatmaps
from fer_keras.evaluation.explain import METHODS, explain, find_layer, layer_trace, map_layers
from fer_keras.evaluation.intervals import mean_with_interval
from fer_keras.evaluation.robustness import robustness
from fer_keras.models import weights
from fer_keras.models.weights import adapt
from fer_keras.results import Run, find_table, write_table
from fer_keras.training.scoring import find_own_run, load_network, network_path

TERMS = (
    "FER-2013's pictures were collected from the web for research and are not part of this file, which holds trained "
    "values only. The file is under this package's licence; whether the terms of the data allow a use is the user's to "
    "check."
)
OTHER_TERMS = (
    "The pictures that it was trained on ({source}) are not part of this file, which holds trained values only; "
    "whether their terms allow a use is the user's to check."
)
USE = (
    "Naming the expression of a face that was cut out of a photo, for study, teaching and software that the people "
    "pictured agreed to."
)
LIMITS = (
    "It names what strangers would call an expression, not what a person feels. {labels}Ages, genders and origins of "
    "the faces were never counted. Not for judging or watching people: not in hiring, schools, policing or at borders."
)
DISPUTED = "FER+'s voters dispute many of FER-2013's labels, those of disgust and fear above all. "

# Explanations are measured on validation: nothing here looks at the test split.
SPLIT = "validation"
IMAGES_PER_CLASS = 100  # correctly classified images of each class that are explained, at most
LAST_MAP = "grad-cam on the last map"  # however coarse that is
REGION_METHODS = ("grad-cam++", "occlusion")  # methods whose heatmaps are averaged by emotion and region


def ship(recipe: str, seed: int = 0, *, path: str | os.PathLike | None = None) -> Path:
    """Write the network of a trained run to a `.keras` file, with its card beside it.

    A run of one's own, whose record lies in `build/results`, comes before a recorded one. The package's folder takes
    the network of a final run that was trained to its end; any other place that of any finished run, whose card then
    has metrics on validation only.

    Args:
        recipe: name of a recipe that was trained on this machine.
        seed: int, of the run.
        path: of the `.keras` file, whose name the network takes; default below `models.weights.folder()`.

    Returns:
        The path of the `.keras` file.

    Raises:
        ValueError: if there is no such run, it may not ship, or its network is not on this machine.
    """
    run = find_own_run(recipe, seed)
    if run is None:
        raise ValueError(f"Expected a recorded run. Received: {recipe!r}, seed {seed}, which has none. Train it first.")
    path = Path(path or weights.folder() / f"{run.recipe_name}.keras")
    if path.suffix != ".keras":
        raise ValueError(f"A network is written to a .keras file. Received: {path}. Let its name end in .keras.")
    if run.stopped_by_time:
        raise ValueError(
            f"Expected a run that was trained to its end. Received: {run.run!r}, with {run.epochs_run} of "
            f"{run.recipe['epochs']} epochs. The same `train` command resumes it."
        )
    if path.parent.resolve() == weights.folder().resolve() and not run.final:
        raise ValueError(
            f"Expected a final run for the package's own folder. Received: {run.run!r}. Write it elsewhere: "
            f"pass a path such as {path.name} (--out)."
        )
    network = network_of(run, path.stem)
    paths.sweep(path.parent)
    weights.save(network.model, path, network.card)
    return path


def network_of(run: Run, name: str) -> weights.Network:
    """Load the network of a run on this machine, with the card that it ships with; a ValueError if it is not there."""
    model = adapt(load_network(run), len(run.classes), name=name)
    return weights.Network(model, card(run, model.input_shape, name) | {"sha256": weights.digest_of(network_path(run))})


def card(run: Run, input_shape: tuple, name: str) -> dict:
    """Write the card of a run's network, but for the sum of its file; metrics on validation only unless it is final."""
    source, is_fer2013 = run.data["source"], "FER-2013" in run.data["source"]
    framing = "a face as FER-2013 cuts it: about square, from forehead to chin"
    return {
        "name": name,
        "classes": list(run.classes),
        "input": {
            "shape": f"(batch, {', '.join(map(str, input_shape[1:]))})",
            "values": "grey, [0, 255]; the network scales them itself",
            "framing": framing if is_fer2013 else f"as in its training images, {source}",
        },
        **{name: getattr(run, name) for name in ("recipe", "run", "data")},
        "terms": TERMS if is_fer2013 else OTHER_TERMS.format(source=source),
        "metrics": {split: run.metrics[split] for split in run.metrics if run.final or split.startswith("validation")},
        **temperatures(run),
        "parameters": run.num_parameters,
        "multiply_adds": run.multiply_adds,
        "versions": run.versions,
        "intended_use": USE,
        "limits": LIMITS.format(labels=DISPUTED if is_fer2013 else ""),
    }


def temperatures(run: Run) -> dict:
    """Fit what calibrates a run's probabilities on validation, and their mean with the mirror image's, if recorded."""
    splits = {"temperature": "validation", "temperature_mirrored": "validation_flip"}
    found = {name: run.predictions(split) for name, split in splits.items() if split in run.metrics}
    return {name: round(fit_temperature(each.labels, each.probabilities), 4) for name, each in found.items()}


def inspect(names=None) -> list[str]:
    """Measure and record the robustness and the explanations of networks that ship, on FER-2013.

    In the tables `robustness` and `explain`, by network, and `mean_heat`, an array each network, method and emotion.
    What was measured of the same file is left as it is; the names of the others, by default of all, are returned.
    """
    faces, measured = None, []
    for name in names or weights.shipped():
        network = weights.load(name)
        about = {"sha256": network.card["sha256"], "split": SPLIT, "classes": list(network.classes)}
        if (find_table("explain") or {}).get(name, {}).get("sha256") == about["sha256"]:
            continue
        faces = faces or load_fer7()
        images, labels = faces.to_classes(network.classes, drop=True)[SPLIT]
        print(f"{name}: {len(images):,} {SPLIT} images …", flush=True)
        rows = robustness(network.predict, images, labels)
        explanations, means = measure_explanations(network, images, labels)
        found = {"robustness": {name: {**about, "num_images": len(images), "rows": rows}}}
        found["mean_heat"] = {f"{name}/{key}": mean for key, mean in means.items()}
        found["explain"] = {name: about | explanations}  # last: it says that all is measured
        for table, entries in found.items():
            write_table(table, (find_table(table) or {}) | entries)
        measured.append(name)
    return measured


def measure_explanations(network, images, labels):
    """The entry of the table `explain`, and mean heatmaps, of images that a network classifies correctly."""
    correct = network.predict(images).argmax(axis=1) == labels
    order = np.random.default_rng(0).permutation(np.flatnonzero(correct))
    chosen = [order[labels[order] == label][:IMAGES_PER_CLASS] for label in range(len(network.classes))]
    images, labels = images[np.concatenate(chosen)], labels[np.concatenate(chosen)]
    maps = {method: explain(network.model, images, method=method, target_class=labels) for method in METHODS}
    last = list(map_layers(network.model))[-1]
    if last != find_layer(layer_trace(network.model), network.name):
        maps[LAST_MAP] = explain(network.model, images, target_class=labels, layer=last)
    emotions, means = {method: {} for method in REGION_METHODS}, {}
    for method, label in itertools.product(REGION_METHODS, np.unique(labels)):
        emotion, chosen = network.classes[label], maps[method][labels == label]
        regions = {name: mean_with_interval(shares) for name, shares in heatmaps.region_shares(chosen).items()}
        emotions[method][emotion] = {"num_images": len(chosen), "regions": regions}
        mean = chosen.mean(axis=0)
        means[f"{method}/{emotion}"] = np.rint(255 * mean / max(mean.max(), 1e-9)).astype(np.uint8)
    curves = {fill: heatmaps.deletion_curves(network.predict, images, labels, maps, fill) for fill in heatmaps.FILLS}
    return {"num_images": len(images), "shares": list(heatmaps.SHARES), "deletion": curves, "emotions": emotions}, means
