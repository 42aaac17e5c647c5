"""A grid is trained cell by cell, stopped and resumed; its table holds every trained cell once, the best first."""

import dataclasses
import sys
from types import SimpleNamespace

import made_up
import numpy as np
import pytest

from fer_keras import paths
from fer_keras.data.synthetic_faces import make_faces
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


@pytest.fixture(scope="module")
def faces():
    return make_faces(12, classes=FER4, seed=1)


@pytest.fixture
def trained(monkeypatch, own_folders):
    """Record made-up runs instead of training; the list of what was asked for, and before which number it fails."""
    asked = SimpleNamespace(recipes=[], seeds=[], errors={})

    def fit(recipe, seed=0, *, results, **_):
        if error := asked.errors.pop(len(asked.recipes), None):
            raise error
        asked.recipes.append(recipe)
        asked.seeds.append(seed)
        run = made_up.run(seed=seed, skill=1 + recipe.batch_size / 32, **dataclasses.asdict(recipe))
        return write_run(*run, folder=results)

    monkeypatch.setattr(trainer, "fit", fit)
    return asked


def pairs(table):
    return list(zip(table["learning_rate"], table["batch_size"], strict=True))


def test_every_cell_is_trained_once_in_order_and_the_best_stands_first(faces, trained, own_folders):
    table = search(SMALL, faces=faces, verbose=0)
    assert [(recipe.learning_rate, recipe.batch_size) for recipe in trained.recipes] == IN_ORDER
    assert trained.recipes[0].name == "capstone-model-1@batch_size=16,epochs=1,learning_rate=0.01"
    assert not trained.recipes[0].final, "the test split is never looked at"
    assert pairs(table) == IN_ORDER[2:] + IN_ORDER[:2]
    folder = next((own_folders / "build" / "searches").glob("*/results"))
    scores = read_runs(folder)[0].metrics["validation"]
    assert table.loc[3, list(SCORES)].tolist() == [scores[name] for name in SCORES]
    last = ["train_images", "validation_images", "best_epoch", "epochs_run", "seconds", "device"]
    assert list(table) == ["learning_rate", "batch_size", "epochs", *SCORES, *last]
    assert pairs(read_table("search-small", folder=own_folders / "build" / "results")) == pairs(table)
    assert search(SMALL, faces=faces, verbose=0).equals(table)
    assert len(trained.recipes) == 4, "trained cells are read back"


def test_a_search_that_was_stopped_goes_on(faces, trained, tmp_path):
    trained.errors[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        search(SMALL, faces=faces, results=tmp_path / "mine")
    assert pairs(read_table("search-small", folder=tmp_path / "mine")) == IN_ORDER[:2], "what was done"
    assert len(search(SMALL, faces=faces)) == 4
    assert len(trained.recipes) == len({recipe.name for recipe in trained.recipes}) == 4, "no cell is trained twice"


def test_no_cell_begins_after_the_minutes(faces, trained, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9 + 40.0 * len(trained.recipes))
    assert len(search(SMALL, faces=faces, minutes=1)) == 2
    assert len(search(SMALL, faces=faces)) == 4


def test_a_cell_that_fails_stops_no_other_and_is_reported(faces, trained, own_folders):
    trained.errors[0] = ValueError("the loss is no number")
    with pytest.raises(ValueError, match=r"1 that failed; 3 cells.*\n.*=0\.01-\w+-s0: ValueError: the loss is no"):
        search(SMALL, faces=faces)
    assert pairs(read_table("search-small", folder=own_folders / "build" / "results")) == [*IN_ORDER[2:], IN_ORDER[1]]


def test_options_and_a_path_of_data_reach_every_training(faces, own_folders, monkeypatch, tmp_path):
    other, asked = dataclasses.replace(faces, protocol="four-fifths"), []
    monkeypatch.setattr("fer_keras.training.data.load_recipe_data", lambda recipe, path, any_split: other)
    monkeypatch.setattr(trainer, "fit", lambda recipe, seed, **how: asked.append((recipe, how)) or made_up.run()[0])
    assert len(search(SMALL, faces=tmp_path, precision="mixed_bfloat16", verbose=0)) == len(asked) == 4
    assert asked[0][0].name == "capstone-model-1@four-fifths@batch_size=16,epochs=1,learning_rate=0.01"
    assert asked[0][1].items() >= {"faces": tmp_path, "precision": "mixed_bfloat16", "verbose": 0}.items()


def test_variants_change_several_fields_and_seeds_repeat_them(faces, trained):
    variants = {"as it is": {}, "plain": {"flip": False, "brightness": (1.0, 1.0)}}
    grid = {"variant": list(variants), "seed": [0, 1], "epochs": [1]}
    table = search(Space("named", "capstone-model-1", grid, "a test", variants), seed=7, faces=faces)
    assert set(zip(table["variant"], table["seed"], strict=True)) == {(name, n) for name in variants for n in (0, 1)}
    assert [recipe.flip for recipe in trained.recipes] == [True, False, True, False]
    assert trained.seeds == [0, 0, 1, 1]


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


def test_cells_share_their_start_its_features_and_their_teachers():
    def work(name, seed=0, **changes):
        return shared_work(dataclasses.replace(RECIPES[name], name="cell", final=False, **changes), seed)

    tuned, frozen = work("emovision-vgg@finetuned"), work("emovision-vgg@frozen", learning_rate=0.1)
    assert len(tuned) == 2
    assert work("emovision-vgg@finetuned", epochs=3) == tuned
    assert set(tuned) - set(work("emovision-vgg@finetuned", 1)) == {("emovision-vgg@frozen", 0)}
    assert not set(tuned) & set(work("mini-xception"))
    assert len(frozen) == 1
    assert work("emovision-vgg@frozen", learning_rate=0.2) == frozen
    assert set(frozen) < set(tuned)
    assert not set(frozen) & set(work("emovision-vgg@frozen", train_fraction=0.5))
    four, digest = "fer-small@four", RECIPES["fer-small@four"].digest
    teachers = tuple((four, digest, seed) for seed in (3, 4))
    assert work(four, teachers=teachers) == {(four, seed): FER4 for seed in (3, 4)}
    assert work(four, start_recipe="fer-small") == {("fer-small", 0): FER7}
    assert work(four, epochs=1) == {}


def test_a_task_takes_its_share_of_the_cores():
    assert share([{"CPU": 8.0}], 3) == {"num_cpus": 2.6666, "num_gpus": 0}, "three at once, not four"
    assert share([{"CPU": 2.0}], 1) == {"num_cpus": 2.0, "num_gpus": 0}
    assert share([{"CPU": 16.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}]) == {"num_cpus": 2.0, "num_gpus": 1}
    for wrong in (0, 3):
        with pytest.raises(ValueError, match=rf"must be 1 to 2, .* Received: {wrong}\."):
            share([{"CPU": 2.0}], wrong)


def test_what_cannot_be_searched_is_refused(faces, own_folders, monkeypatch):
    with pytest.raises(ValueError, match=r"fields of a recipe\. Received: depth"):
        search(Space("odd", "capstone-model-1", {"depth": [1]}, ""), faces=faces)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "fer_keras\[ray\]"'):
        search(SMALL, faces=faces, ray=True)
