"""A grid is walked cell by cell, stopped and taken up, and its table holds every cell once."""

import dataclasses

import pytest

from fer_keras import recipes
from fer_keras.__main__ import main
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES, SPACES, Space
from fer_keras.results import read_runs, read_table
from fer_keras.training import search as search_module

pytest.importorskip("optuna")
GRID = {"learning_rate": [0.01, 0.0001], "batch_size": [16, 32]}
SMALL = Space("small", "capstone-model-1", GRID | {"epochs": [1]}, "a test")


@pytest.fixture(scope="module")
def faces():
    return drawn_faces(12, classes=FER4, seed=1)


def cells(table):
    return sorted(zip(table["learning_rate"], table["batch_size"], strict=True))


def test_every_cell_is_trained_once_and_the_best_stands_first(faces, own_folders, monkeypatch):
    table = search_module.search(SMALL, faces=faces, verbose=0)
    assert cells(table) == [(0.0001, 16), (0.0001, 32), (0.01, 16), (0.01, 32)]
    assert table["accuracy"].is_monotonic_decreasing
    assert (table["epochs_run"] == 1).all()
    recorded = read_table("search-small", folder=own_folders / "build" / "results")
    assert cells(recorded) == cells(table)
    runs = read_runs(next((own_folders / "build" / "searches").glob("*/results")))
    assert {run.recipe["batch_size"] for run in runs} == {16, 32}
    assert not any("test" in run.metrics for run in runs), "the test split is never looked at"
    monkeypatch.setattr(search_module, "fit", None)  # would fail if it was called
    assert cells(search_module.search(SMALL, faces=faces, verbose=0)) == cells(table)


def test_a_search_that_was_stopped_goes_on(faces, own_folders, monkeypatch):
    fit, calls = search_module.fit, []

    def stopping(recipe, *arguments, **options):
        calls.append(recipe.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(recipe, *arguments, **options)

    monkeypatch.setattr(search_module, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        search_module.search(SMALL, faces=faces, verbose=0)
    assert len(read_table("search-small", folder=own_folders / "build" / "results")) == 2, "what was done is recorded"
    table = search_module.search(SMALL, faces=faces, verbose=0)
    assert len(cells(table)) == len(set(cells(table))) == 4
    assert calls[3] == calls[2], "the cell that was stopped comes first"
    assert sorted(calls) == sorted([*set(calls), calls[2]]), "only the cell that was stopped is begun again"


def test_time_is_kept(faces, own_folders):
    assert len(search_module.search(SMALL, faces=faces, minutes=1e-6, verbose=0)) == 1
    assert len(search_module.search(SMALL, faces=faces, verbose=0)) == 4


def test_a_grid_of_what_is_no_field_is_refused(faces, own_folders):
    with pytest.raises(ValueError, match=r"fields of a recipe\. Received: depth"):
        search_module.search(Space("odd", "capstone-model-1", {"depth": [1]}, ""), faces=faces, verbose=0)


def test_published_spaces_vary_fields_of_their_recipes(capsys):
    for space in SPACES.values():
        recipe = RECIPES[space.recipe]
        fields = {name: values for name, values in space.grid.items() if name not in ("variant", "seed")}
        for name, values in [
            *fields.items(),
            *((name, [value]) for each in space.variants.values() for name, value in each.items()),
        ]:
            assert type(getattr(recipe, name)) is type(values[0]), (space.name, name)
        assert list(space.variants) == space.grid.get("variant", [])
    assert main(["search"]) == 0
    assert "sep-table-2       96 trainings of sep-baseline" in capsys.readouterr().out
    assert main(["search", "sep-reduced", "--workers", "2"]) == 2
    assert "--workers is for --ray" in capsys.readouterr().err
    assert main(["search", "everything"]) == 2
    assert "Expected one of: sep-table-2" in capsys.readouterr().err
    assert recipes.find_recipe("sep-baseline").epochs in SPACES["sep-table-2"].grid["epochs"]


def test_a_grid_may_hold_no_start_and_several_shares(faces, own_folders, monkeypatch):
    short = dataclasses.replace(RECIPES["fer-small@four"], name="fer-small@short", epochs=1)
    monkeypatch.setitem(recipes.RECIPES, "fer-small@short", short)
    grid = {"start_recipe": [None, "fer-small@short"], "frozen_body": [False, True], "train_fraction": [1.0, 0.25]}
    space = Space("starts", "fer-small@four", grid | {"epochs": [1]}, "a test")
    table = search_module.search(space, faces=faces, verbose=0)
    assert len(table) == 8
    recorded = read_table("search-starts", folder=own_folders / "build" / "results")
    assert recorded["start_recipe"].isna().sum() == 4
    assert recorded.groupby(["frozen_body", "train_fraction"]).size().tolist() == [2, 2, 2, 2]
    runs = read_runs(next((own_folders / "build" / "searches").glob("*/results")))
    seen = {run.recipe["train_fraction"]: run.data["num_images"]["train"] for run in runs}
    assert seen[0.25] * 4 == seen[1.0]


def test_variants_change_several_fields_and_seeds_repeat_them(faces, own_folders):
    variants = {"as it is": {}, "plain": {"flip": False, "brightness": (1.0, 1.0)}}
    grid = {"variant": list(variants), "seed": [0, 1], "epochs": [1]}
    table = search_module.search(Space("named", "capstone-model-1", grid, "a test", variants), faces=faces, verbose=0)
    assert sorted(zip(table["variant"], table["seed"], strict=True)) == [
        ("as it is", 0),
        ("as it is", 1),
        ("plain", 0),
        ("plain", 1),
    ]
    runs = read_runs(next((own_folders / "build" / "searches").glob("*/results")))
    assert {(run.recipe["flip"], run.seed) for run in runs} == {
        (flip, seed) for flip in (True, False) for seed in (0, 1)
    }


def test_an_ingredient_changes_something_and_nothing_else():
    base = RECIPES["fer-small"]
    for name, changes in SPACES["ingredients"].variants.items():
        changed = search_module.variant(SPACES["ingredients"], base, {"variant": name, "seed": 1, "epochs": 15})
        assert {field for field in changes if getattr(base, field) == getattr(changed, field)} == set(), name
        assert (
            dataclasses.replace(
                changed,
                name=base.name,
                final=True,
                epochs=base.epochs,
                **{field: getattr(base, field) for field in changes},
            )
            == base
        )
