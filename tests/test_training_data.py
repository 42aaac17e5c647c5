"""What a recipe trains on: its own data set or another in its classes, with a validation part."""

import dataclasses

import data_files as files
import numpy as np
import pytest
from small_networks import small

from fer_keras.data import FaceDataset, concatenate, load_ckplus, load_fer7, load_ferplus, load_folder, load_rafdb
from fer_keras.labels import FER6, FERPLUS8
from fer_keras.recipes import RECIPES, for_split, own_recipe, to_recipe_classes
from fer_keras.training import fit, trainer
from fer_keras.training.data import load_recipe_data, with_validation

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def fer_folder(tmp_path):
    """The folder of FER-2013 with the votes of FER+."""
    return files.write_parquet(tmp_path / "fer", files.parquet_frame(files.fer_table(210)))


def test_recipes_of_ferplus_have_its_classes_and_load_its_faces(fer_folder):
    for name, classes in (("ferplus8", FERPLUS8), ("ferplus6", FER6)):
        recipe = dataclasses.replace(RECIPES["mini-xception"], name=name, data=name)
        faces = load_recipe_data(recipe, fer_folder)
        assert faces.fingerprint == load_ferplus(fer_folder, classes=classes).fingerprint
        assert (to_recipe_classes(recipe, faces), recipe.classes) == (faces, classes)
    # labels of FER+ and of FER-2013 never stand in for each other
    for name, other in (("sep-se", load_fer7(fer_folder)), ("mini-xception", load_ferplus(fer_folder))):
        with pytest.raises(ValueError, match="expects the classes"):
            to_recipe_classes(RECIPES[name], other)


def test_a_recipe_asks_for_its_own_split_unless_any_will_do(tmp_path):
    file = files.write_csv(tmp_path / "data", files.challenge_lines(files.fer_table(70)), "train.csv")
    other = files.write_rafdb_folders(tmp_path / "raf", files.rafdb_faces())
    assert load_recipe_data(RECIPES["mini-xception"], file, any_split=True).protocol == "own"
    for name, path, any_split, message in (
        ("mini-xception", file, False, "Expected the official split"),
        ("capstone-model-1@course", file, True, "Expected the course split"),
        ("sep-se", other, False, "Expected one of the following"),
    ):
        with pytest.raises(ValueError, match=message):
            load_recipe_data(RECIPES[name], path, any_split=any_split)


def test_recipes_take_other_data_sets_in_their_own_classes(tmp_path, capsys):
    place = files.write_rafdb_folders(tmp_path / "raf", files.rafdb_faces(140))
    names = np.array(load_rafdb(place).classes)[load_rafdb(place).labels]
    for name in ("sep-se", "mini-xception", "capstone-model-1", "one-vs-rest-happy"):
        recipe, given = RECIPES[name], load_recipe_data(RECIPES[name], place, any_split=True)
        variant = for_split(recipe, given.protocol)
        faces = to_recipe_classes(variant, given)
        assert (variant.name, faces.classes, faces.protocol) == (f"{name}@raf-db", recipe.classes, "raf-db")
        expected = np.where(names == "happy", *recipe.classes[::-1]) if recipe.positive else names
        expected = expected[np.isin(expected, recipe.classes)]
        np.testing.assert_array_equal(np.array(faces.classes)[faces.labels], expected)
        line = f"{len(names) - len(expected)} images of other classes than those of {name} are left out"
        assert (line in capsys.readouterr().err) == (len(expected) < len(names))


def test_sep_trains_and_is_scored_on_what_that_project_trained_on(fer_folder, tmp_path, monkeypatch, own_folders):
    """CK+48 alone, and joined with FER+."""
    monkeypatch.setattr(trainer, "build", small)
    place = files.write_tree(tmp_path / "ck", files.ckplus_folders())
    with pytest.raises(ValueError, match=r"expects the classes .*neutral.*Received: .*contempt.* CK\+48.*--folder"):
        to_recipe_classes(RECIPES["mini-xception"], load_recipe_data(RECIPES["mini-xception"], place, any_split=True))
    joined = concatenate([part.select(classes=FER6) for part in (load_ferplus(fer_folder), load_ckplus(place))])
    joined = dataclasses.replace(joined, difference="")  # as of all of FER-2013
    for faces, protocol in ((place, "own"), (joined, "joined")):
        run = fit("sep-se", epochs=1, faces=faces, verbose=0)
        assert (run.recipe_name, run.protocol, run.classes) == (f"sep-se@epochs-1@{protocol}", protocol, FER6)
        assert set(run.metrics) == {"train", "validation"}
        assert run.metrics["validation"]["num_images"] == run.data["num_images"]["validation"] > 0


def test_ones_own_folders_of_few_pictures_are_trained_on(tmp_path, own_folders, monkeypatch, capsys):
    """Three a class for training and three for testing."""
    monkeypatch.setattr(trainer, "build", small)
    names = [f"{split}/{name}/{n}.png" for split in ("train", "test") for name in ("cat", "dog") for n in range(3)]
    place = files.write_tree(tmp_path / "mine", dict(zip(names, files.noise(len(names)), strict=True)))
    recipe = own_recipe(RECIPES["mini-xception"], load_folder(place))
    with pytest.raises(ValueError, match=r"no validation images.*faces.resplit\("):
        to_recipe_classes(recipe, load_folder(place))
    run = fit("mini-xception", epochs=1, faces=place, verbose=0)
    assert (run.recipe_name, run.classes) == ("mini-xception@epochs-1@own", ("cat", "dog"))
    assert run.data["num_images"] == {"train": 4, "validation": 2, "test": 6}
    assert "2 of 6 training images drawn for validation with seed 0" in capsys.readouterr().err


def made_up(labels, split="train", pictures=None):
    images = files.noise(len(labels))[slice(None) if pictures is None else pictures]
    split = np.full(len(labels), split, "<U10") if isinstance(split, str) else np.array(split)
    return FaceDataset(images[..., None], np.array(labels), split, ("happy", "sad"), "my pictures")


def test_a_validation_part_is_drawn_from_train_and_said(capsys):
    faces = made_up([0] * 40 + [1] * 5 + [0] * 9, ["train"] * 45 + ["test"] * 9)
    drawn = with_validation(faces)
    assert drawn.counts()[["happy", "sad"]].to_numpy().tolist() == [[36, 4], [4, 1], [9, 0]]
    assert (drawn.split[45:] == "test").all()
    assert (with_validation(faces).split == drawn.split).all()
    line = "my pictures, 5 of 45 training images drawn for validation with seed 0"
    assert (drawn.source, drawn.protocol) == (line, "own")
    assert capsys.readouterr().err == f"fer_keras: {line}\n" * 2
    assert with_validation(drawn) is drawn
    lacking = made_up([0] * 10 + [1] * 5, ["train"] * 8 + ["validation"] * 2 + ["train"] * 4 + ["test"])
    drawn = with_validation(lacking)
    assert drawn.counts().loc["validation"].tolist() == [2, 1, 3]
    assert (drawn.split[:10] == lacking.split[:10]).all()
    official = dataclasses.replace(lacking, protocol="official")
    assert with_validation(official) is official, "one's own pictures only"


def test_ones_own_validation_part_never_holds_persons_that_are_trained_on(tmp_path):
    faces = load_ckplus(files.write_tree(tmp_path / "ck", files.ckplus_folders()))
    kept = faces.take(faces.split != "validation")
    persons, drawn = kept.rows // 10**11, with_validation(kept)
    sides = [set(persons[drawn.split == split]) for split in ("train", "validation")]
    assert all(sides)
    assert not set.intersection(*sides)
    one = faces.take((faces.split != "validation") | (faces.labels == faces.labels[faces.split == "validation"][0]))
    assert with_validation(one) is one, "a class that it lacks would be of persons in train"


def test_duplicates_stay_on_one_side_and_too_few_pictures_are_refused():
    drawn = with_validation(made_up([0, 0, 0, 0, 1, 1, 1, 1], pictures=[0, 0, 0, 1, 2, 2, 3, 3]))
    for digest in np.unique(drawn.digests):
        assert len(set(drawn.split[drawn.digests == digest])) == 1
    assert (drawn.counts().loc[["train", "validation"]] > 0).all(axis=None)
    for faces in (made_up([0, 0, 0, 1]), made_up([0, 0, 1, 1], pictures=[0, 0, 1, 1])):
        with pytest.raises(ValueError, match=r"needs 2 different training pictures .*Received: 1 of '(sad|happy)'"):
            with_validation(faces)
