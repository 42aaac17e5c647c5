"""What is said of a search follows from its table, whichever setting matters and whatever was best."""

import itertools

import pandas as pd
import pytest

from fer_keras.recipes import RECIPES
from fer_keras.recipes.spaces import SPACES, Space
from fer_keras.reporting import searches, text
from fer_keras.reporting.catalogue import FIGURES
from fer_keras.reporting.sentences import MISSING
from fer_keras.reporting.tables import write_table

SMALL = Space("small", "sep-baseline", {"learning_rate": [0.1, 0.001], "batch_size": [32, 64], "epochs": [2]}, "a test")
NAMES = ("search", "search-budget", "search-best", "search-matters")


@pytest.fixture(autouse=True)
def small(own_folders, monkeypatch):
    monkeypatch.setitem(SPACES, "small", SMALL)


def record(accuracies, *, half=0.01):
    """Record a search of the small space: accuracies of (.1, 32), (.1, 64), (.001, 32), (.001, 64), as far as given."""
    grid = itertools.product(*SMALL.grid.values())
    cells = [
        dict(zip(SMALL.grid, values, strict=True))
        | {"accuracy": share, "accuracy_low": share - half, "accuracy_high": share + half}
        | {"macro_f1": share / 2, "train_images": 1234, "best_epoch": 1, "epochs_run": 2, "seconds": 90.0}
        for values, share in zip(grid, accuracies, strict=False)
    ]
    table = pd.DataFrame(cells).sort_values("accuracy", ascending=False).reset_index(drop=True)
    write_table("search-small", table.rename_axis("place"))


def test_a_search_that_was_not_made_is_missing():
    assert [text(name, "small") for name in NAMES] == [MISSING] * 4
    with pytest.raises(ValueError, match="small"):
        text("search", "large")


def test_the_table_shows_what_was_varied_the_best_first():
    record([0.2, 0.3, 0.6, 0.5])
    lines = text("search", "small").splitlines()
    assert lines[0].startswith("| learning rate | batch size | accuracy on validation")
    assert lines[2] == "| 0.001 | 32 | 60.0 % (59.0 to 61.0) | 30.0 % | 1 of 2 | 2 min |"
    assert len(lines) == 6


def test_the_budget_counts_what_was_trained_and_what_it_cost():
    record([0.2, 0.3, 0.6])
    said = "3 of 4 trainings of `sep-baseline`, each with epochs 2, on 1,234 training images; 4 min together"
    assert text("search-budget", "small") == said


def test_what_matters_most_stands_first_with_its_spread():
    record([0.2, 0.3, 0.6, 0.52])
    assert text("search-matters", "small").splitlines() == [
        "- learning rate: from 25.0 % on average (at 0.1) to 56.0 % (at 0.001), 31.0 points.",
        "- batch size: from 40.0 % on average (at 32) to 41.0 % (at 64), no difference: 1.0 points.",
    ]
    record([0.2, 0.6, 0.21, 0.62])
    first, second = text("search-matters", "small").splitlines()
    assert first.startswith("- batch size: from 20.5 % on average (at 32)")
    assert "no difference: 1.5 points" in second
    record([0.2, 0.6])
    first, second = text("search-matters", "small").splitlines()
    assert first.startswith("- batch size: ")
    assert second == "- 2 trainings are not made yet, so these means are not of the same settings."


def test_the_recipes_own_settings_are_found_among_the_cells():
    assert (RECIPES["sep-baseline"].learning_rate, RECIPES["sep-baseline"].batch_size) == (0.001, 32)
    record([0.7, 0.3, 0.6, 0.5])
    said = text("search-best", "small")
    assert said.startswith("Best on validation: learning rate 0.1, batch size 32, with 70.0 % (69.0 to 71.0).")
    own = "`sep-baseline`'s own (learning rate 0.001, batch size 32)"
    assert said.endswith(f"{own} stands at place 2 of 4, with 60.0 % (59.0 to 61.0).")
    record([0.615, 0.3, 0.6, 0.5])
    assert text("search-best", "small").endswith(f"{own} is no different from it: 60.0 % (59.0 to 61.0), place 2 of 4.")
    record([0.7, 0.3, 0.9, 0.5])
    assert text("search-best", "small").endswith(f"{own} is the best.")
    record([0.7, 0.3])
    assert text("search-best", "small").endswith("is not among them.")


def test_grids_stand_side_by_side_with_the_number_of_their_trainings():
    lines = text("grids", "sep-table-2", "small").splitlines()
    assert lines[0] == "| grid | learning rate | batch size | epochs | stop patience epochs | trainings | source |"
    assert "| 0.1, 0.01, 0.001, 0.0001 | 8, 16, 32, 64 | 10, 20, 30 | 0, 5 | 96 |" in lines[2]
    assert lines[3] == "| `small` | 0.1, 0.001 | 32, 64 | 2 | - | 4 | a test |"


def test_the_figure_draws_each_setting_that_was_varied(monkeypatch):
    entry = FIGURES["search-sep-reduced"]
    assert entry.inputs() is None
    space = SPACES["sep-reduced"]
    name, values = next((name, values) for name, values in space.grid.items() if len(values) > 1)
    cells = {field: values[0] for field, values in space.grid.items()}
    table = pd.DataFrame([{**cells, name: value, "accuracy": 0.3 + place / 9} for place, value in enumerate(values)])
    write_table("search-sep-reduced", table)
    (axes,) = entry.plot(entry.inputs()).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [searches.words(name), "validation accuracy"]
