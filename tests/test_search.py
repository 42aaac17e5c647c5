"""A grid is trained cell by cell, stopped and resumed; its table holds every trained cell once, the best first."""

import dataclasses
import sys
from types import SimpleNamespace

import made_up
import numpy as np
import pytest

from fer_keras import paths
from fer_keras.labels import FER4, FER7
from fer_keras.ray_cluster import share
from fer_keras.recipes import RECIPES, SPACES, Space
from fer_keras.results import read_runs, read_table, search_table, write_run
from fer_keras.results.studies import SCORES
from fer_keras.training import trainer
from fer_keras.training.search import search, shared_work

GRID = {"learning_rate": [0.01, 0.0001], "batch_size": [16, 32]}
SMALL = Space("small", "capstone-model-1", GRID | {"epochs": [1]}, "a test")
IN_ORDER = [(0.01, 16), (0.0001, 16), (0.01, 32), (0.0001, 32)]  # of ParameterGrid


@pytest.fixture
def trained(monkeypatch, own_folders):
    """Record made-up runs instead of training; what was asked for, and before which number it fails."""
    asked = SimpleNamespace(cells=[], options=[], errors={})

    def fit(recipe, seed=0, *, results, **options):
        if error := asked.errors.pop(len(asked.cells), None):
            raise error
        asked.cells.append((recipe, seed))
        asked.options.append(options)
        run = made_up.run(seed=seed, skill=1 + recipe.batch_size / 32, **dataclasses.asdict(recipe))
        return write_run(*run, folder=results)

    monkeypatch.setattr(trainer, "fit", fit)
    return asked


def pairs(table):
    return list(zip(table["learning_rate"], table["batch_size"], strict=True))


def test_every_cell_is_trained_once_in_order_and_the_best_stands_first(faces, trained, own_folders):
    table = search(SMALL, faces=faces, verbose=0)
    recipes = [recipe for recipe, _ in trained.cells]
    assert [(recipe.learning_rate, recipe.batch_size) for recipe in recipes] == IN_ORDER
    assert recipes[0].name == "capstone-model-1@batch_size=16,epochs=1,learning_rate=0.01"
    assert not recipes[0].final, "the test split is never looked at"
    assert pairs(table) == IN_ORDER[2:] + IN_ORDER[:2]
    scores = read_runs(next(own_folders.glob("build/searches/*/results")))[0].metrics["validation"]
    assert table.loc[3, list(SCORES)].tolist() == [scores[name] for name in SCORES]
    assert pairs(read_table("search-small", folder=own_folders / "build" / "results")) == pairs(table)
    assert search(SMALL, faces=faces, verbose=0).equals(table)
    assert len(trained.cells) == 4, "trained cells are read back"


def test_a_search_that_was_stopped_or_out_of_time_goes_on(faces, trained, tmp_path, monkeypatch):
    trained.errors[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        search(SMALL, faces=faces, results=tmp_path / "mine")
    assert pairs(read_table("search-small", folder=tmp_path / "mine")) == IN_ORDER[:1], "what was done"
    monkeypatch.setattr("time.time", lambda: 1e9 + 40.0 * len(trained.cells))
    assert len(search(SMALL, faces=faces, minutes=1)) == 3, "no cell begins after the minutes"
    for minutes in (0, -1):
        with pytest.raises(ValueError, match="`minutes` must be a number"):
            search(SMALL, faces=faces, minutes=minutes)
    with pytest.raises(ValueError, match="Expected a place where a file can be written"):
        search(SMALL, faces=faces, results="/proc/nope")
    assert len(search(SMALL, faces=faces)) == 4
    assert len(trained.cells) == len({recipe.name for recipe, _ in trained.cells}) == 4, "no cell is trained twice"


def test_a_cell_that_fails_stops_no_other_and_is_reported(faces, trained, own_folders):
    trained.errors[0] = ValueError("the loss is no number")
    with pytest.raises(ValueError, match=r"1 that failed; 3 cells.*\n.*=0\.01-\w+-s0: ValueError: the loss is no"):
        search(SMALL, faces=faces)
    assert pairs(read_table("search-small", folder=own_folders / "build" / "results")) == [*IN_ORDER[2:], IN_ORDER[1]]


def test_options_and_a_path_reach_every_training_and_variants_change_fields(faces, trained, monkeypatch, tmp_path):
    other = dataclasses.replace(faces, protocol="four-fifths")
    monkeypatch.setattr("fer_keras.training.data.load_recipe_data", lambda recipe, path, any_split: other)
    grid = {"variant": ["as it is", "plain"], "seed": [0, 1], "epochs": [1]}
    variants = {"as it is": {}, "plain": {"flip": False, "brightness": (1.0, 1.0)}}
    space = Space("named", "capstone-model-1", grid, "a test", variants)
    table = search(space, seed=7, faces=tmp_path, precision="mixed_bfloat16", verbose=0)
    assert sorted(zip(table["variant"], table["seed"], strict=True)) == [
        (v, s) for v in sorted(variants) for s in (0, 1)
    ]
    assert [(recipe.flip, seed) for recipe, seed in trained.cells] == [(True, 0), (False, 0), (True, 1), (False, 1)]
    assert trained.cells[0][0].name == "capstone-model-1@four-fifths@epochs=1,variant=as-it-is"
    assert trained.options == [{"faces": tmp_path, "precision": "mixed_bfloat16", "verbose": 0}] * 4


@pytest.mark.parametrize("name", ["ingredients", "sep-reduced", "transfer"])
def test_recorded_tables_are_written_as_they_stand(name):
    path = paths.results() / "tables" / f"search-{name}.csv"
    table, space, cells = read_table(f"search-{name}"), SPACES[name], []
    shuffled = table.assign(device=table.get("device", "")).replace({np.nan: None}).sample(frac=1, random_state=0)
    for row in shuffled.to_dict("records"):
        images = {"train": row["train_images"], "validation": row["validation_images"]}
        run = SimpleNamespace(metrics={"validation": row}, data={"num_images": images}, **row)
        cells.append(({field: row[field] for field in space.grid}, run))
    again = search_table(space, cells)[list(table)]
    assert again.to_csv(float_format="%.4f", lineterminator="\n").encode() == path.read_bytes()


def test_cells_on_ray_share_starts_features_and_teachers_and_take_their_part_of_the_cores():
    def work(name, seed=0, **changes):
        return shared_work(dataclasses.replace(RECIPES[name], name="cell", final=False, **changes), seed)

    frozen, four = work("emovision-vgg@frozen", learning_rate=0.1), RECIPES["fer-small@four"]
    assert work("emovision-vgg@finetuned") == {("emovision-vgg@frozen", 0): FER7} | frozen
    assert not set(frozen) & set(work("emovision-vgg@frozen", train_fraction=0.5))
    assert work(four.name, teachers=((four.name, four.digest, 3),)) == {(four.name, 3): FER4}
    assert work(four.name, 1, start_recipe="fer-small") == {("fer-small", 1): FER7}
    assert share([{"CPU": 8.0}], 3) == {"num_cpus": 2.6666, "num_gpus": 0}, "three at once, not four"
    assert share([{"CPU": 16.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}]) == {"num_cpus": 2.0, "num_gpus": 1}


def test_what_cannot_be_searched_is_refused(faces, own_folders, monkeypatch):
    for wrong in (0, 3):
        with pytest.raises(ValueError, match=rf"must be 1 to 2, .* Received: {wrong}\."):
            share([{"CPU": 2.0}], wrong)
    with pytest.raises(ValueError, match=r"fields of a recipe\. Received: depth"):
        search(Space("odd", "capstone-model-1", {"depth": [1]}, ""), faces=faces)
    for values, received in (({"epochs": 1}, "epochs: 1"), ({"epochs": []}, r"epochs: \[\]"), ({}, "an empty grid")):
        with pytest.raises(ValueError, match=f"Space odd: Expected a list of values .* Received: {received}"):
            Space("odd", "capstone-model-1", values, "")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "fer_keras\[ray\]"'):
        search(SMALL, faces=faces, ray=True)
