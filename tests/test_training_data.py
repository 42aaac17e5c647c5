"""What a recipe trains on: its own data set or another in its classes, with a validation part, and targets."""

import dataclasses

import numpy as np
import pytest
from data_files import (
    challenge_lines,
    ckplus_folders,
    fer_table,
    noise,
    parquet_frame,
    rafdb_faces,
    set_up,
    write_csv,
    write_parquet,
    write_rafdb_folders,
    write_tree,
)
from small_networks import small

from fer_keras.data import FaceDataset, concatenate, load_ckplus, load_fer7, load_ferplus, load_folder, load_rafdb
from fer_keras.labels import FER6, FERPLUS8
from fer_keras.recipes import RECIPES, for_split, make_targets, own_recipe, to_recipe_classes
from fer_keras.training import fit, trainer
from fer_keras.training.data import load_recipe_data, with_validation


@pytest.fixture
def fer_folder(tmp_path, monkeypatch):
    """The folder of FER-2013 with the votes of FER+."""
    set_up(monkeypatch, tmp_path)
    return write_parquet(tmp_path / "fer", parquet_frame(fer_table(210)))


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


def test_a_recipe_asks_for_its_own_split_unless_any_will_do(tmp_path, monkeypatch):
    set_up(monkeypatch, tmp_path)
    file = write_csv(tmp_path / "data", challenge_lines(fer_table(70)), "train.csv")
    assert load_recipe_data(RECIPES["mini-xception"], file, any_split=True).protocol == "own"
    for name, path, any_split, message in (
        ("mini-xception", file, False, "Expected the official split"),
        ("capstone-model-1@course", file, True, "Expected the course split"),
        ("sep-se", write_rafdb_folders(tmp_path / "raf", rafdb_faces()), False, "Expected one of the following"),
        ("mini-xception", tmp_path / "nowhere", True, "no such file or folder"),
    ):
        with pytest.raises(ValueError, match=message):
            load_recipe_data(RECIPES[name], path, any_split=any_split)


@pytest.mark.parametrize("name", ["sep-se", "mini-xception", "capstone-model-1", "one-vs-rest-happy"])
def test_recipes_take_other_data_sets_in_their_own_classes(name, tmp_path, capsys):
    recipe = RECIPES[name]
    place = write_rafdb_folders(tmp_path / "raf", rafdb_faces(140))
    faces = load_recipe_data(recipe, place, any_split=True)
    variant = for_split(recipe, faces.protocol)
    faces = to_recipe_classes(variant, faces)
    assert (variant.name, faces.classes, faces.protocol) == (f"{name}@raf-db", recipe.classes, "raf-db")
    names = np.array(load_rafdb(place).classes)[load_rafdb(place).labels]
    expected = names[np.isin(names, recipe.classes)]
    if recipe.positive:
        assert (faces.labels == (names == "happy")).all()
    else:
        assert (np.array(faces.classes)[faces.labels] == expected).all()
        left_out = f"{len(names) - len(expected)} images of other classes than those of {name} are left out"
        assert (left_out in capsys.readouterr().err) == (len(expected) < len(names))


def test_sep_trains_and_is_scored_on_what_that_project_trained_on(fer_folder, tmp_path, monkeypatch, own_folders):
    """CK+48 alone, and joined with FER+."""
    monkeypatch.setattr(trainer, "build", small)
    place = write_tree(tmp_path / "ck", ckplus_folders())
    six, seven = (load_recipe_data(RECIPES[name], place, any_split=True) for name in ("sep-se", "mini-xception"))
    assert (six.classes, six.protocol) == (FER6, "own")
    with pytest.raises(ValueError, match=r"expects the classes .*neutral.*Received: .*contempt.* CK\+48.*--folder"):
        to_recipe_classes(RECIPES["mini-xception"], seven)
    joined = concatenate([part.select(classes=FER6) for part in (load_ferplus(fer_folder), load_ckplus(place))])
    for faces, protocol in ((place, "own"), (joined, "joined")):
        run = fit("sep-se", epochs=1, faces=faces, verbose=0)
        assert (run.recipe_name, run.protocol, run.classes) == (f"sep-se@epochs-1@{protocol}", protocol, FER6)
        assert set(run.metrics) == {"train", "validation"}
        assert run.metrics["validation"]["num_images"] == run.data["num_images"]["validation"] > 0


def test_ones_own_folders_of_few_pictures_are_trained_on(tmp_path, own_folders, monkeypatch, capsys):
    """Three a class for training and three for testing."""
    monkeypatch.setattr(trainer, "build", small)
    names = [f"{split}/{name}/{n}.png" for split in ("train", "test") for name in ("cat", "dog") for n in range(3)]
    place = write_tree(tmp_path / "mine", dict(zip(names, noise(len(names)), strict=True)))
    faces = load_folder(place)
    recipe = own_recipe(RECIPES["mini-xception"], faces)
    assert (recipe.name, recipe.protocol, recipe.final) == ("mini-xception@own", "own", False)
    with pytest.raises(ValueError, match=r"no validation images.*faces.resplit\("):
        to_recipe_classes(recipe, faces)
    run = fit("mini-xception", epochs=1, faces=place, verbose=0)
    assert (run.recipe_name, run.classes) == ("mini-xception@epochs-1@own", ("cat", "dog"))
    assert run.data["num_images"] == {"train": 4, "validation": 2, "test": 6}
    assert "2 of 6 training images drawn for validation with seed 0" in capsys.readouterr().err


def made_up(labels, split="train", *, images=None):
    images = noise(len(labels))[..., None] if images is None else images
    split = np.full(len(labels), split, "<U10") if isinstance(split, str) else np.array(split)
    return FaceDataset(images, np.array(labels), split, ("happy", "sad"), "my pictures")


def test_a_validation_part_is_drawn_from_train_and_said(capsys):
    faces = made_up([0] * 40 + [1] * 5 + [0] * 9, ["train"] * 45 + ["test"] * 9)
    drawn = with_validation(faces)
    assert drawn.counts()[["happy", "sad"]].to_numpy().tolist() == [[36, 4], [4, 1], [9, 0]]
    assert (drawn.split[45:] == "test").all()
    assert (with_validation(faces).split == drawn.split).all()
    said = "my pictures, 5 of 45 training images drawn for validation with seed 0"
    assert (drawn.source, drawn.protocol) == (said, "own")
    assert capsys.readouterr().err == f"fer_keras: {said}\n" * 2
    assert with_validation(drawn) is drawn


def test_duplicates_stay_on_one_side_and_too_few_pictures_are_refused():
    images = noise(4)[[0, 0, 0, 1, 2, 2, 3, 3]][..., None]
    drawn = with_validation(made_up([0, 0, 0, 0, 1, 1, 1, 1], images=images))
    for digest in np.unique(drawn.digests):
        assert len(set(drawn.split[drawn.digests == digest])) == 1
    assert (drawn.counts().loc[["train", "validation"]] > 0).all(axis=None)
    same = noise(2)[[0, 0, 1, 1]][..., None]  # each class has one picture, twice
    for faces in (made_up([0, 0, 0, 1]), made_up([0, 0, 1, 1], images=same)):
        with pytest.raises(ValueError, match=r"needs 2 different training pictures .*Received: 1 of '(sad|happy)'"):
            with_validation(faces)


def test_a_class_without_validation_image_gets_one_in_ones_own_pictures_only():
    faces = made_up([0] * 10 + [1] * 5, ["train"] * 8 + ["validation"] * 2 + ["train"] * 4 + ["test"])
    drawn = with_validation(faces)
    assert drawn.counts().loc["validation"].tolist() == [2, 1, 3]
    assert (drawn.split[:10] == faces.split[:10]).all()
    official = dataclasses.replace(faces, protocol="official")
    assert with_validation(official) is official


def test_what_teachers_say_is_mixed_into_the_targets_of_training_images_alone():
    faces = made_up([0, 1, 1], ["train", "train", "validation"])
    recipe = dataclasses.replace(own_recipe(RECIPES["mini-xception"], faces), teacher_share=0.25)
    probabilities = np.array([[0.2, 0.8]] * 3, np.float32)
    np.testing.assert_allclose(make_targets(recipe, faces), np.eye(2)[faces.labels])
    targets = make_targets(recipe, faces, probabilities)
    np.testing.assert_allclose(targets, [[0.8, 0.2], [0.05, 0.95], [0, 1]], rtol=1e-6)
