"""The catalogue of the report's figures: whose notebook each belongs to, what it is drawn from, and how."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd

from fer_keras.data.synthetic import drawn_faces
from fer_keras.data.transforms import Augmentation, apply_plan, draw_plan
from fer_keras.labels import FER7, SPLITS
from fer_keras.recipes import RECIPES
from fer_keras.reporting import networks, plotting
from fer_keras.reporting.leaderboard import leaderboard
from fer_keras.reporting.runs import find_run, read_runs
from fer_keras.reporting.tables import read_table, table_names

# Share of FER-2013's labels that people gave too: 65 ± 5 %, Goodfellow et al. (2013), Challenges in representation
# learning, section 4.
HUMAN = {7: 0.65}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A figure of the report.

    Args:
        notebook: int, the number of the one notebook that it belongs to.
        alt: str, what the figure shows, for those who cannot see it and for its caption.
        inputs: function of nothing that returns what the figure is drawn from, read from the records; None as long as
            that is not recorded. Without it, only the notebook can draw the figure.
        plot: function of the inputs that returns the `Figure`.
    """

    notebook: int
    alt: str
    inputs: Callable | None = None
    plot: Callable | None = None


def audited(*names):
    """Return a function that reads parts of the recorded audit, or None if there is none."""

    def read():
        return {name: read_table("audit")[name] for name in names} if "audit" in table_names() else None

    return read


def mean_face_inputs():
    """Return the recorded mean faces and how many images are in each."""
    counts = audited("counts")()
    return counts and {"means": read_table("mean_faces"), "counts": counts["counts"]["train"]}


def recorded(*recipes):
    """Return a function that returns what curves, confusion and recall need of those recipes that were run."""

    def read():
        runs = [run for run in map(find_run, recipes) if run]
        return [
            {
                "name": run.recipe_name,
                "model": run.recipe["model"],
                "classes": list(run.classes),
                "best_epoch": run.best_epoch,
                "history": run.history()[["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]],
                "split": run.scores["split"],
                "confusion": run.scores["confusion"],
                "per_class": run.scores["per_class"],
            }
            for run in runs
        ] or None

    return read


def board(**wanted):
    """Return a function that returns the rows of the leaderboard with these values, without what varies by machine."""

    def read():
        table = leaderboard(read_runs()).drop(columns=["seconds", "device"])
        for column, value in wanted.items():
            table = table[table[column] == value]
        return table if len(table) else None

    return read


def history(runs):
    """Draw the history of one run."""
    (run,) = runs
    options = {"model": run["model"], "best_epoch": run["best_epoch"], "num_classes": len(run["classes"])}
    return plotting.history(run["history"], title=run["name"], **options)


def histories(runs):
    """Draw the validation accuracy of several runs."""
    models = {run["name"]: run["model"] for run in runs}
    tables = {run["name"]: run["history"] for run in runs}
    best = {run["name"]: run["best_epoch"] for run in runs}
    return plotting.histories(tables, models=models, best_epochs=best, num_classes=len(runs[0]["classes"]))


def confusion(runs):
    """Draw the confusion matrix of one run."""
    (run,) = runs
    return plotting.confusion(run["confusion"], run["classes"], title=f"{run['name']}, {run['split']} split")


def recalls(runs):
    """Draw the recall of each class by several runs."""
    models = {run["name"]: run["model"] for run in runs}
    split = " and ".join(sorted({run["split"] for run in runs}))
    return plotting.recalls({run["name"]: run["per_class"] for run in runs}, models=models, title=f"{split} split")


def copies(found):
    """Draw how many images of a split are also in another."""
    pairs = (("validation", "train"), ("test", "train"), ("test", "validation"))
    counts = {f"{split}, also in {other}": found["copies"][split][other] for split, other in pairs}
    repeated = {f"{split}, repeated inside": found["copies"][split][split] for split in SPLITS}
    return plotting.bars(counts | repeated, axis="images that are exact copies of another")


def agreement(found):
    """Draw the share of each class' test labels that FER+'s voters chose too."""
    shares = {name: found["agreement"]["test"][name] for name in FER7}
    return plotting.bars(shares, axis="test images whose label is the FER+ plurality", shares=True)


def drawn(request):
    """Draw a grid of drawn faces, a row a class."""
    faces = drawn_faces(request["columns"], seed=request["seed"])
    order = np.argsort(faces.labels, kind="stable")
    titles = [faces.classes[label] for label in faces.labels[order]]
    return plotting.gallery(faces.images[order], titles, columns=request["columns"])


def transforms(request):
    """Draw one drawn face, changed at random in each way that training may change it."""
    faces = drawn_faces(3, seed=request["seed"])
    face = faces.images[faces.labels == faces.classes.index("happy")][:1]
    images, titles = [], []
    for name, change in request["changes"].items():
        many = np.repeat(face, request["columns"], axis=0)
        generator = np.random.default_rng(request["seed"])
        plan = draw_plan(Augmentation(**change), len(many), many.shape[1:3], generator)
        images.extend(apply_plan(many, plan).round().astype(np.uint8))
        titles.extend([name] * len(many))
    return plotting.gallery(images, titles, columns=request["columns"])


def eyes(request):
    """Draw a drawn face of each class, with what a crop cuts away made pale."""
    faces = drawn_faces(3, seed=request["seed"])
    top, bottom, left, right = request["crop"]
    first = [np.flatnonzero(faces.labels == label)[0] for label in range(len(faces.classes))]
    pale = (191 + faces.images[first] // 4).astype(np.uint8)
    height, width = pale.shape[1:3]
    kept = slice(None), slice(top, height - bottom), slice(left, width - right)
    pale[kept] = faces.images[first][kept]
    return plotting.gallery(pale, faces.classes, columns=len(first), side=1.0)


CHANGES = {
    "flip": {"flip": True},
    "rotation": {"rotation_degrees": 15},
    "shift": {"shift_fraction": 0.1},
    "zoom": {"zoom": (0.8, 1.2)},
    "brightness": {"brightness": (0.4, 1.6)},
    "erasing": {"erase_probability": 1.0},
}
FOUR = ("capstone-model-1", "capstone-model-2")
COURSE = ("capstone-model-1@course", "capstone-model-2@course")
SEVEN = ("emovision-baseline", "emovision-eyes", "mini-xception")


def of_each(notebook, recipes):
    """Return the entries of history and confusion matrix of each of some recipes."""
    return {
        f"history-{name}": Entry(notebook, f"Loss and accuracy by epoch of {name}.", recorded(name), history)
        for name in recipes
    } | {
        f"confusion-{name}": Entry(notebook, f"Confusion matrix of {name}.", recorded(name), confusion)
        for name in recipes
    }


NETWORKS = {  # by notebook
    2: ("capstone-model-1", "capstone-model-2"),
    3: ("emovision-baseline", "emovision-vgg-draft", "emovision-vgg", "scratch-four-conv", "mini-xception"),
    11: (
        "vgg16",
        "inception-resnet-v2",
        "efficientnet",
        "resnet101",
        "efficientnet-b5",
        "capstone-final",
        "sep-baseline",
        "sep-se",
        "sep-se-residual",
        "resnet18",
        "general",
        "fer-small",
    ),
}


def architectures():
    """Return the entries of the networks' diagrams."""
    return {
        f"architecture-{name}": Entry(
            notebook,
            f"The stages of {name}, from its pixels to its probabilities.",
            lambda name=name: (found := networks.read(name)) and {"title": name, "stages": found["stages"]},
            lambda inputs: plotting.architecture(inputs["stages"], title=inputs["title"]),
        )
        for notebook, names in NETWORKS.items()
        for name in names
    }


def searched(space):
    """Return a function that reads the recorded table of a search, or None if there is none."""
    return lambda: read_table(f"search-{space}") if f"search-{space}" in table_names() else None


FIGURES = {
    "class-counts": Entry(
        1,
        "Number of images of each class in the training, validation and test split of FER-2013.",
        audited("counts"),
        lambda found: plotting.class_counts(pd.DataFrame(found["counts"]).loc[list(FER7), list(SPLITS)].T),
    ),
    "mean-faces": Entry(
        1,
        "Mean face of each class over the training images of FER-2013.",
        mean_face_inputs,
        lambda found: plotting.mean_faces({name: found["means"][name] for name in FER7}, counts=found["counts"]),
    ),
    "copies": Entry(1, "Number of exact copies inside and across the splits of FER-2013.", audited("copies"), copies),
    "agreement": Entry(
        1, "Share of FER-2013's test labels that FER+'s voters chose too, by class.", audited("agreement"), agreement
    ),
    "drawn-faces": Entry(1, "Drawn faces of the seven classes, a row each.", lambda: {"columns": 7, "seed": 0}, drawn),
    "transforms": Entry(
        1,
        "One drawn face after each of the random changes of training, a row each.",
        lambda: {"columns": 7, "seed": 0, "changes": CHANGES},
        transforms,
    ),
    "curves-four": Entry(
        2, "Validation accuracy by epoch of the small four-class networks.", recorded(*FOUR), histories
    ),
    "curves-course": Entry(
        2, "Validation accuracy by epoch of the small networks on the course set.", recorded(*COURSE), histories
    ),
    "recall-four": Entry(2, "Recall of each of the four classes by the small networks.", recorded(*FOUR), recalls),
    **of_each(2, (*FOUR, *COURSE)),
    "eyes-crop": Entry(
        3,
        "A drawn face of each class; the part outside eyes and brows, which is cut away, is pale.",
        lambda: {"crop": dict(RECIPES["emovision-eyes"].model_options)["crop"], "seed": 1},
        eyes,
    ),
    "curves-seven": Entry(
        3, "Validation accuracy by epoch of the seven-class networks from scratch.", recorded(*SEVEN), histories
    ),
    "recall-seven": Entry(
        3, "Recall of each of the seven classes by the networks from scratch.", recorded(*SEVEN), recalls
    ),
    **of_each(3, SEVEN),
    **architectures(),
    "search-sep-reduced": Entry(
        11,
        "Learning rate, batch size and validation accuracy of each training of the reduced grid.",
        searched("sep-reduced"),
        lambda table: plotting.parallel_coordinates(table, ["learning_rate", "batch_size"], title="sep-baseline"),
    ),
    "leaderboard": Entry(
        11,
        "Accuracy of every recorded run with its interval, beside chance, the published number and people.",
        board(),
        lambda table: plotting.accuracies(table, human=HUMAN),
    ),
    "cost": Entry(
        11,
        "Test accuracy on seven classes against the number of parameters.",
        board(num_classes=7, protocol="official", split="test"),
        plotting.cost,
    ),
}
