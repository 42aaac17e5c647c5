"""Search spaces: the grids that `python -m fer_keras search` walks, as plain data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Space:
    """A grid around a recipe.

    Args:
        name: the space's name.
        recipe: name of the recipe whose fields are varied.
        grid: dict from a field of the recipe to the list of its values, as scikit-learn's `ParameterGrid` takes it.
        source: who published the grid, or why it is as it is.
    """

    name: str
    recipe: str
    grid: dict
    source: str


# Table 2 of the SEP-CVDL report: 96 trainings. The dropout rate of .5 and the patience of 5 epochs have one value each.
SEP = {
    "learning_rate": [0.1, 0.01, 0.001, 0.0001],
    "batch_size": [8, 16, 32, 64],
    "epochs": [10, 20, 30],
    "stop_patience_epochs": [0, 5],
}

_ALL = (
    Space("sep-table-2", "sep-baseline", SEP, "Jaschkowitz, Kawka, Mohammadi and Wang, SEP-CVDL, table 2"),
    Space(
        "sep-reduced",
        "sep-baseline",
        SEP | {"batch_size": [32, 64], "epochs": [10], "stop_patience_epochs": [0]},
        "the corner of table 2 that two cores can walk",
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
