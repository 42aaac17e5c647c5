"""From a trained run to a network in a file with its card; and what is measured of the networks that ship."""

import os
from collections.abc import Sequence
from pathlib import Path

from fer_keras import paths
from fer_keras.cards import make_card
from fer_keras.data import load_fer7
from fer_keras.evaluation.explain import measure_explanations
from fer_keras.evaluation.robustness import robustness
from fer_keras.models import weights
from fer_keras.models.weights import adapt
from fer_keras.results import Run, as_published, find_own_run, find_table, network_path, write_table
from fer_keras.training.scoring import load_network


def ship(recipe: str, seed: int = 0, *, path: str | os.PathLike | None = None) -> Path:
    """Write the network of a trained run to a `.keras` file, with its card beside it; the path of the file.

    A run of one's own comes before a recorded one. The package's folder takes the network of a final run that was
    trained to its end; any other place that of any finished run, whose card then has metrics on validation only.

    Args:
        recipe: name of a recipe that was trained on this machine.
        seed: int, of the run.
        path: of the `.keras` file, whose name the network takes; default below `models.weights.folder()`.

    Raises:
        ValueError: if there is no such run, it may not ship, or its network is not on this machine.
    """
    run = find_own_run(recipe, seed)
    if run is None:
        raise ValueError(f"Expected a recorded run. Received: {recipe!r}, seed {seed}, which has none. Train it first.")
    path = paths.expand(path or weights.folder() / f"{run.recipe_name}.keras")
    if path.suffix != ".keras":
        raise ValueError(f"A network is written to a .keras file. Received: {path}. Let its name end in .keras.")
    if run.stopped_by_time:
        received = f"{run.run!r}, with {run.epochs_run} of {run.recipe['epochs']} epochs"
        advice = "The same `train` command resumes it while its state is there; or --force."
        raise ValueError(f"Expected a run that was trained to its end. Received: {received}. {advice}")
    if path.parent.resolve() == weights.folder().resolve() and not run.final:
        words = f"Expected a final run for the package's own folder. Received: {run.run!r}"
        raise ValueError(f"{words}. Write it elsewhere: pass a path such as {path.name} (--out).")
    paths.check_writable(path)
    network = network_of(run, path.stem)
    paths.sweep(path.parent)
    weights.save(network.model, path, network.card)
    return path


def network_of(run: Run, name: str) -> weights.Network:
    """Load the network of a run on this machine, with the card that it ships with; a ValueError if it is not there."""
    model = adapt(load_network(run), len(run.classes), name=name)
    card = make_card(run, model.input_shape, name) | {"sha256": weights.digest_of(network_path(run))}
    return weights.Network(model, card)


def inspect(names: Sequence[str] | None = None) -> list[str]:
    """Measure and record the robustness and the explanations of networks that ship, on FER-2013.

    In the tables `robustness` and `explain`, by network, and `mean_heat`, an array each network, method and emotion.
    What was measured of the same file is left as it is; the names of the others, by default of all, are returned.
    """
    faces, measured = None, []
    for name in names or weights.shipped():
        network = weights.load(name)
        split = "validation"  # nothing here looks at the test split
        about = {"sha256": network.card["sha256"], "split": split, "classes": list(network.classes)}
        if (find_table("explain") or {}).get(name, {}).get("sha256") == about["sha256"]:
            continue
        faces = faces or as_published(load_fer7())
        images, labels = faces.to_classes(network.classes, drop=True)[split]
        print(f"{name}: {len(images):,} {split} images …", flush=True)
        rows = robustness(network.predict, images, labels)
        explanations, means = measure_explanations(network, images, labels)
        found = {"robustness": {name: {**about, "num_images": len(images), "rows": rows}}}
        found["mean_heat"] = {f"{name}/{key}": mean for key, mean in means.items()}
        found["explain"] = {name: about | explanations}  # last: it says that all is measured
        for table, entries in found.items():
            write_table(table, (find_table(table) or {}) | entries)
        measured.append(name)
    return measured
