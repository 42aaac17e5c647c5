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

from fer_keras.data import FaceDataset, concatenate, load_ckplus, load_fer7, load_ferplus, load_folder, load_rafdb
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4, FER6, FER7, FERPLUS8
from fer_keras.recipes import RECIPES, for_split
from fer_keras.training import fit
from fer_keras.training.data import (
    check_faces,
    load_recipe_data,
    make_targets,
    own_recipe,
    to_recipe_classes,
    with_validation,
)


def fer_folder(tmp_path):
    """Write FER-2013 with the votes of FER+, and return its folder."""
    return write_parquet(tmp_path / "fer", parquet_frame(fer_table(210)))


def test_recipes_of_ferplus_have_its_classes_and_load_its_faces(tmp_path, monkeypatch):
    set_up(monkeypatch, tmp_path)
    place = fer_folder(tmp_path)
    for name, classes in (("ferplus8", FERPLUS8), ("ferplus6", FER6)):
        recipe = dataclasses.replace(RECIPES["mini-xception"], name=name, data=name)
        assert recipe.classes == classes
        for any_split in (False, True):
            faces = load_recipe_data(recipe, place, any_split=any_split)
            assert faces.fingerprint == load_ferplus(place, classes=classes).fingerprint
            assert to_recipe_classes(recipe, faces) is faces


def test_a_recipe_asks_for_its_own_split_unless_any_will_do(tmp_path, monkeypatch):
    set_up(monkeypatch, tmp_path)
    file = write_csv(tmp_path / "data", challenge_lines(fer_table(70)), "train.csv")
    for name in ("mini-xception", "capstone-model-1"):
        with pytest.raises(ValueError, match="Expected the official split"):
            load_recipe_data(RECIPES[name], file)
        assert load_recipe_data(RECIPES[name], file, any_split=True).protocol == "own"
    with pytest.raises(ValueError, match="Expected the course split"):
        load_recipe_data(RECIPES["capstone-model-1@course"], file, any_split=True)


@pytest.mark.parametrize("name", ["sep-se", "mini-xception", "capstone-model-1", "one-vs-rest-happy"])
def test_recipes_take_other_data_sets_in_their_own_classes(name, tmp_path, capsys):
    recipe = RECIPES[name]
    place = write_rafdb_folders(tmp_path / "raf", rafdb_faces(140))
    faces = load_recipe_data(recipe, place, any_split=True)
    variant = for_split(recipe, faces.protocol)
    faces = to_recipe_classes(variant, faces)
    check_faces(variant, faces)
    assert (variant.name, variant.final) == (f"{name}@raf-db", False)
    assert (faces.classes, faces.protocol) == (recipe.classes, "raf-db")
    others = {"sep-se": 154 // 7, "capstone-model-1": 3 * 154 // 7}
    if name in others:
        assert f"{others[name]} images of other classes than those of {name} are left out" in capsys.readouterr().err
    names = np.array(load_rafdb(place).classes)[load_rafdb(place).labels]
    if recipe.positive:
        assert (faces.labels == (names == "happy")).all()
    else:
        expected = names[np.isin(names, recipe.classes)]
        assert (np.array(faces.classes)[faces.labels] == expected).all()


def test_ck48_is_for_recipes_of_six_classes(tmp_path):
    place = ck48(tmp_path)
    faces = load_recipe_data(RECIPES["sep-se"], place, any_split=True)
    assert (faces.classes, faces.protocol) == (FER6, "own")
    seven = RECIPES["mini-xception"]
    faces = to_recipe_classes(seven, load_recipe_data(seven, place, any_split=True))
    with pytest.raises(ValueError, match=r"expects the classes .*neutral.*Received: .*contempt.* CK\+48.*--folder"):
        check_faces(seven, faces)


def test_other_data_is_taken_only_where_any_will_do(tmp_path, monkeypatch):
    set_up(monkeypatch, tmp_path)
    place = write_rafdb_folders(tmp_path / "raf", rafdb_faces())
    with pytest.raises(ValueError, match="Expected one of the following"):
        load_recipe_data(RECIPES["sep-se"], place)
    with pytest.raises(ValueError, match="no such file or folder"):
        load_recipe_data(RECIPES["sep-se"], tmp_path / "nowhere", any_split=True)


def test_labels_of_ferplus_and_of_fer_2013_never_stand_in_for_each_other(tmp_path, monkeypatch):
    set_up(monkeypatch, tmp_path)
    place = fer_folder(tmp_path)
    faces = to_recipe_classes(RECIPES["sep-se"], load_ferplus(place))
    check_faces(RECIPES["sep-se"], faces)
    for name, other in (("sep-se", load_fer7(place)), ("mini-xception", load_ferplus(place))):
        with pytest.raises(ValueError, match="expects the classes"):
            check_faces(RECIPES[name], to_recipe_classes(RECIPES[name], other))


def test_the_order_of_classes_becomes_the_recipes(capsys):
    faces = drawn_faces(3, classes=FER4[::-1], size=16)
    ordered = to_recipe_classes(RECIPES["capstone-model-1"], faces)
    assert ordered.classes == FER4
    assert (np.array(FER4)[ordered.labels] == np.array(faces.classes)[faces.labels]).all()
    assert capsys.readouterr().err == ""


def rafdb(tmp_path):
    return write_rafdb_folders(tmp_path / "raf", rafdb_faces())


def ck48(tmp_path):
    return write_tree(tmp_path / "ck", ckplus_folders())


def ferplus_and_ck48(tmp_path):
    parts = load_ferplus(fer_folder(tmp_path)), load_ckplus(ck48(tmp_path))
    return concatenate([part.select(classes=FER6) for part in parts])


@pytest.mark.parametrize(("data", "protocol"), [(rafdb, "raf-db"), (ck48, "own"), (ferplus_and_ck48, "joined")])
def test_sep_trains_and_is_scored_on_what_that_project_trained_on(data, protocol, tmp_path, monkeypatch, own_folders):
    set_up(monkeypatch, tmp_path)
    run = fit("sep-se", epochs=1, faces=data(tmp_path), verbose=0)
    assert (run.recipe_name, run.protocol, run.classes) == (f"sep-se@epochs-1@{protocol}", protocol, FER6)
    assert set(run.metrics) == {"train", "validation"}
    assert run.metrics["validation"]["num_images"] == run.data["num_images"]["validation"] > 0


def test_ones_own_folders_of_few_pictures_are_trained_on(tmp_path, own_folders, capsys):
    run = fit("mini-xception", epochs=1, faces=few_pictures(tmp_path), verbose=0)
    assert (run.recipe_name, run.classes) == ("mini-xception@epochs-1@own", ("cat", "dog"))
    assert run.data["num_images"] == {"train": 4, "validation": 2, "test": 6}
    assert "2 of 6 training images drawn for validation with seed 0" in capsys.readouterr().err


def made_up(labels, split="train", *, classes=("happy", "sad"), images=None, **more):
    images = noise(len(labels))[..., None] if images is None else images
    split = np.full(len(labels), split, "<U10") if isinstance(split, str) else np.array(split)
    return FaceDataset(images, np.array(labels), split, classes, "my pictures", **more)


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


def test_duplicates_stay_on_one_side():
    images = noise(4)[[0, 0, 0, 1, 2, 2, 3, 3]][..., None]
    drawn = with_validation(made_up([0, 0, 0, 0, 1, 1, 1, 1], images=images))
    for digest in np.unique(drawn.digests):
        assert len(set(drawn.split[drawn.digests == digest])) == 1
    assert (drawn.counts().loc[["train", "validation"]] > 0).all(axis=None)


def test_too_few_pictures_are_refused_with_how_many_are_needed():
    same = noise(2)[[0, 0, 1, 1]][..., None]  # each class has one picture, twice
    for faces in (made_up([0, 0, 0, 1]), made_up([0, 0, 1, 1], images=same)):
        with pytest.raises(ValueError, match=r"needs 2 different training pictures .*Received: 1 of '(sad|happy)'"):
            with_validation(faces)


def test_a_class_without_validation_image_gets_one_in_ones_own_pictures_only():
    labels, split = [0] * 10 + [1] * 5, ["train"] * 8 + ["validation"] * 2 + ["train"] * 4 + ["test"]
    faces = made_up(labels, split)  # as resplit divides ten and five
    drawn = with_validation(faces)
    assert drawn.counts().loc["validation"].tolist() == [2, 1, 3]
    assert (drawn.split[:10] == faces.split[:10]).all()
    official = dataclasses.replace(faces, protocol="official")
    assert with_validation(official) is official


def few_pictures(tmp_path):
    """Write three pictures a class for training and three for testing, and return their folder."""
    names = [f"{split}/{name}/{n}.png" for split in ("train", "test") for name in ("cat", "dog") for n in range(3)]
    return write_tree(tmp_path / "mine", dict(zip(names, noise(len(names)), strict=True)))


def test_folders_with_train_and_test_alone_fit_the_recipe_for_ones_own_pictures(tmp_path):
    place = few_pictures(tmp_path)
    faces = load_folder(place)
    recipe = own_recipe(RECIPES["mini-xception"], faces)
    assert (recipe.name, recipe.protocol, recipe.final) == ("mini-xception@own", "own", False)
    assert recipe.classes == ("cat", "dog")
    for own in (with_validation(faces), load_recipe_data(recipe, place)):
        check_faces(recipe, own)
        assert own.counts().total.tolist() == [4, 2, 6]
    with pytest.raises(ValueError, match=r"no validation images.*faces.resplit\("):
        check_faces(recipe, faces)


def test_what_teachers_say_is_mixed_into_the_targets_of_training_images_alone():
    faces = made_up([0, 1, 1], ["train", "train", "validation"])
    recipe = dataclasses.replace(own_recipe(RECIPES["mini-xception"], faces), teacher_share=0.25)
    probabilities = np.array([[0.2, 0.8]] * 3, np.float32)
    np.testing.assert_allclose(make_targets(recipe, faces), np.eye(2)[faces.labels])
    targets = make_targets(recipe, faces, probabilities)
    np.testing.assert_allclose(targets, [[0.8, 0.2], [0.05, 0.95], [0, 1]], rtol=1e-6)
    assert targets.dtype == np.float32


def test_fewer_training_images_are_taken_where_the_recipe_says_so():
    faces = drawn_faces(20, classes=FER7, size=16)
    recipe = dataclasses.replace(RECIPES["mini-xception"], train_fraction=0.5)
    counts, before = to_recipe_classes(recipe, faces).counts(), faces.counts()
    assert counts.loc["train", "total"] == before.loc["train", "total"] / 2
    assert (counts.loc["validation"] == before.loc["validation"]).all()
