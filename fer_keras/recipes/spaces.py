"""Search spaces: the grids that `python -m fer_keras search` walks, as plain data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Space:
    """A grid around a recipe.

    Args:
        name: the space's name.
        recipe: name of the recipe whose fields are varied.
        grid: dict from a field of the recipe to the list of its values, as scikit-learn's `ParameterGrid` takes it;
            also `"seed"`, and `"variant"` for names in `variants`.
        source: who published the grid, or why it is as it is.
        variants: dict from a name to the fields of the recipe that it changes together.
    """

    name: str
    recipe: str
    grid: dict
    source: str
    variants: dict = dataclasses.field(default_factory=dict)


# Table 2 of the SEP-CVDL report: 96 trainings. The dropout rate of .5 and the patience of 5 epochs have one value each.
SEP = {
    "learning_rate": [0.1, 0.01, 0.001, 0.0001],
    "batch_size": [8, 16, 32, 64],
    "epochs": [10, 20, 30],
    "stop_patience_epochs": [0, 5],
}
# From random values, from seven classes and from the votes of FER+ (which have seen these images), and from the three
# other classes (which share no image with these four); the body frozen or trained; on ever fewer training images.
TRANSFER = {
    "start_recipe": [None, "fer-small@short", "fer-small@votes", "fer-small@three"],
    "frozen_body": [False, True],
    "train_fraction": [1.0, 1 / 4, 1 / 16, 1 / 64],
}

# Our own recipe with one ingredient taken out, or put in, at a time; on a short schedule, on validation only.
INGREDIENTS = {
    "as it is": {},
    "Adam": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "no geometry": {"rotation_degrees": 0.0, "zoom": (1.0, 1.0), "shift_fraction": 0.0},
    "no erasing": {"erase_probability": 0.0},
    "mixup": {"mixup_alpha": 0.2},
    "no averaging": {"ema_decay": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "votes": {"targets": "votes"},
}

_ALL = (
    Space("sep-table-2", "sep-baseline", SEP, "Jaschkowitz, Kawka, Mohammadi and Wang, SEP-CVDL, table 2"),
    Space(
        "sep-reduced",
        "sep-se-residual",
        SEP | {"batch_size": [16, 32], "epochs": [3], "stop_patience_epochs": [0], "train_fraction": [0.2]},
        "a corner of table 2 that two cores can walk: the network that learns fastest, on a fifth of the images",
    ),
    Space(
        "sep-resnet18",
        "resnet18",
        SEP | {"learning_rate": [0.001, 0.0001], "batch_size": [16, 32], "epochs": [3, 6], "stop_patience_epochs": [0]},
        "a corner of table 2 in which ResNet-18 learns",
    ),
    Space(
        "transfer", "fer-small@four", TRANSFER, "does transfer help, frozen or fine-tuned, and from how many images on"
    ),
    Space(
        "ingredients",
        "fer-small",
        {"variant": list(INGREDIENTS), "seed": [0, 1, 2], "epochs": [15]},
        "what each ingredient of our recipe gives",
        INGREDIENTS,
    ),
)
SPACES = {space.name: space for space in _ALL}


def find_space(name):
    """Return the space of that name.

    Raises:
        ValueError: if there is none; the message lists those that there are.
    """
    if name not in SPACES:
        raise ValueError(f"There is no search space {name!r}. Expected one of: {', '.join(SPACES)}.")
    return SPACES[name]
