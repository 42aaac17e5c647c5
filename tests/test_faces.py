"""`FaceDataset`: selecting, splitting, digests."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_keras.data import FaceDataset, audit, concatenate
from fer_keras.data.dataset import four_fifths
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import CKPLUS7, FER4, FER6, FER7, FERPLUS8, SPLITS


def make(images, labels, *, split=None, classes=FER7, **more):
    split = np.array(split if split is not None else ["train"] * len(labels), "<U10")
    images = np.asarray(images, np.uint8).reshape(len(labels), 4, 4, 1)
    return FaceDataset(images, np.asarray(labels), split, classes, "made up", **more)


@pytest.fixture
def faces():
    images = np.random.default_rng(0).integers(0, 256, (70, 16))
    return make(
        images,
        np.arange(70) % 7,
        split=np.array(SPLITS)[np.arange(70) // 7 % 3],
        votes=np.arange(700, dtype=np.float32).reshape(70, 10),
        rows=np.arange(70) + 100,
    )


def test_a_split_gives_its_images_and_labels(faces):
    x, y = faces["validation"]
    assert x.shape == (21, 4, 4, 1)
    np.testing.assert_array_equal(x, faces.images[faces.split == "validation"])
    np.testing.assert_array_equal(y, faces.labels[faces.split == "validation"])


def test_selecting_classes_renumbers_labels_and_keeps_rows_together(faces):
    four = faces.select(classes=FER4, splits=("train", "test"))
    assert four.classes == FER4
    for index, row in enumerate(four.rows - 100):
        assert FER4[four.labels[index]] == FER7[faces.labels[row]]
        assert four.split[index] == faces.split[row] != "validation"
        np.testing.assert_array_equal(four.images[index], faces.images[row])
        np.testing.assert_array_equal(four.votes[index], faces.votes[row])


def test_what_is_not_changed_is_not_copied(faces):
    assert np.shares_memory(faces.select(splits=SPLITS).images, faces.images)


def test_counts_have_a_row_a_split_and_a_column_a_class(faces):
    table = faces.counts()
    assert list(table.index) == list(SPLITS)
    assert list(table.columns) == [*FER7, "total"]
    assert table["total"].tolist() == [28, 21, 21]
    assert faces.select(classes=("fear",), splits=("test",)).counts().to_numpy().tolist() == [[0, 0], [0, 0], [3, 3]]


def test_the_representation_says_what_is_there(faces):
    assert repr(faces).startswith("<FaceDataset made up: 28 train, 21 validation, 21 test; 4x4; angry, ")


def test_digests_are_equal_for_copies_only():
    faces = make([np.zeros(16), np.arange(16), np.zeros(16)], [0, 1, 2])
    assert faces.digests[0] == faces.digests[2] != faces.digests[1]
    assert faces.digests.dtype == np.uint64


def test_the_fingerprint_follows_everything_that_matters(faces):
    images = faces.images.copy()
    images[3, 0, 0] ^= 1
    relabelled, moved = faces.labels.copy(), faces.split.copy()
    relabelled[5], moved[5] = 0, "test"
    changed = [
        dataclasses.replace(faces, images=images),
        dataclasses.replace(faces, labels=relabelled),
        dataclasses.replace(faces, split=moved),
        dataclasses.replace(faces, classes=FER7[::-1]),
        faces.take(np.arange(69)),
    ]
    assert len({faces.fingerprint, *(other.fingerprint for other in changed)}) == 6
    assert dataclasses.replace(faces, source="elsewhere").fingerprint == faces.fingerprint


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 6)), min_size=1, max_size=120), st.integers(0, 2**32 - 1))
def test_copies_stay_on_one_side_of_a_new_split_whatever_their_labels(pictures, seed):
    faces = make([np.full(16, picture) for picture, _ in pictures], [label for _, label in pictures])
    split = faces.resplit(seed).split
    sides = {}
    for (picture, _), side in zip(pictures, split, strict=True):
        sides.setdefault(picture, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())
    np.testing.assert_array_equal(split, faces.resplit(seed).split)


def test_a_new_split_is_stratified_and_follows_its_seed():
    images = np.random.default_rng(1).integers(0, 256, (1000, 16))
    labels = np.repeat([0, 1], [900, 100])
    faces = make(images, labels, classes=("happy", "sad"), protocol="official")
    drawn = faces.resplit(1)
    assert drawn.counts().to_numpy().tolist() == [[720, 80, 800], [90, 10, 100], [90, 10, 100]]
    assert drawn.protocol == "own"
    assert (drawn.split != faces.resplit(2).split).any()
    assert faces.resplit(1, fractions=(0.5, 0.5, 0)).counts()["total"].tolist() == [500, 500, 0]


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.3, -0.1), (0.5, 0.2, 0.2)])
def test_fractions_that_do_not_add_up_are_refused(faces, fractions):
    with pytest.raises(ValueError, match="three shares that sum to 1"):
        faces.resplit(0, fractions=fractions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((70, 4, 4, 1))}, "`images` must be uint8"),
        ({"images": np.zeros((70, 4, 4), np.uint8)}, "`images` must be uint8"),
        ({"images": np.zeros((69, 4, 4, 1), np.uint8)}, "`images` must have a row for each of the 70"),
        ({"labels": np.full(70, 7)}, r"`labels` must lie in 0\.\.6"),
        ({"labels": np.full(70, -1)}, r"`labels` must lie in 0\.\.6"),
        ({"labels": np.zeros(70)}, "`labels` must be integers"),
        ({"split": np.full(70, "dev")}, "Unknown split 'dev'"),
        ({"votes": np.zeros((3, 10))}, "`votes` must have a row"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(faces, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(faces, **changes)


def test_unknown_names_and_short_masks_are_refused(faces):
    with pytest.raises(ValueError, match=r"Unknown class 'joy'. Expected one of: angry"):
        faces.select(classes=("joy",))
    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        faces["dev"]
    with pytest.raises(ValueError, match="a value for each of the 70 rows"):
        faces.take(np.ones(3, bool))


def test_a_validation_set_is_split_off_train_only():
    images = np.random.default_rng(1).integers(0, 256, (1200, 16))
    images[1:3] = images[0]  # copies, in train
    faces = make(images, np.arange(1200) % 7, split=["train"] * 1000 + ["test"] * 200, protocol="official")
    drawn = faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))
    assert (drawn.split[1000:] == "test").all()
    assert set(drawn.split[:1000]) == {"train", "validation"}
    assert len(set(drawn.split[:3])) == 1
    share = drawn.counts().loc["validation"] / faces.counts().loc["train"]
    np.testing.assert_allclose(share, 0.1, atol=0.006)
    assert drawn.protocol == "own"


def shared(groups, split):
    """Return the groups that are in more than one split."""
    return [group for group in set(groups.tolist()) if len(set(split[groups == group].tolist())) > 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 6), st.integers(0, 20)), min_size=1, max_size=90),
    st.integers(0, 2**32 - 1),
)
def test_groups_and_copies_stay_on_one_side(pictures, seed):
    picture, label, person = np.array(pictures).T
    faces = make(picture[:, None].repeat(16, axis=1), label)
    drawn = faces.resplit(seed, groups=person)
    assert not shared(person, drawn.split)
    assert not shared(picture, drawn.split)
    np.testing.assert_array_equal(drawn.split, faces.resplit(seed, groups=person).split)


def test_groups_are_shared_out_by_class():
    """As many people as in CK+, as many of each emotion, some with many pictures and some with one."""
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(7), [45, 59, 25, 69, 28, 83, 18])
    weight = generator.gamma(4, size=118)
    people = [generator.choice(118, (label == one).sum(), replace=False, p=weight / weight.sum()) for one in range(7)]
    faces, person = make(generator.integers(0, 256, (len(label), 16)), label), np.concatenate(people)
    counts = [faces.resplit(seed, groups=person).counts() for seed in range(12)]
    missed = [(table / table.sum()).sub([0.8, 0.1, 0.1], axis=0).abs().to_numpy().max() for table in counts]
    assert max(missed) < 0.05
    assert np.mean(missed) < 0.03
    assert (faces.resplit(0, groups=person).split != faces.resplit(1, groups=person).split).any()
    assert faces.resplit(0, groups=person, fractions=(0.5, 0.5, 0)).counts()["total"]["test"] == 0


def test_groups_of_another_length_are_refused(faces):
    with pytest.raises(ValueError, match=r"a value for each of the 70 rows. Received: 3"):
        faces.resplit(0, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        faces.resplit(0, within=("dev",))


@pytest.mark.parametrize("classes", [FERPLUS8, CKPLUS7, FER7[::-1], FER7])
def test_a_label_set_with_all_its_classes_takes_every_face(faces, classes):
    six = faces.select(classes=FER6)
    mapped = six.to_classes(classes)
    assert mapped.classes == classes
    assert [classes[label] for label in mapped.labels] == [FER6[label] for label in six.labels]
    for name in ("images", "split", "rows", "votes"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(six, name))


@pytest.mark.parametrize(
    ("classes", "lost"),
    [(FER6, "neutral (10 images)"), (FER4, "angry (10 images), disgust (10 images), fear (10 images)")],
)
def test_faces_without_a_counterpart_are_named_and_left_out_on_request(faces, classes, lost):
    with pytest.raises(ValueError, match=rf"Received: {re.escape(lost)}\. Pass drop=True"):
        faces.to_classes(classes)
    kept = faces.to_classes(classes, drop=True)
    assert kept.classes == classes
    assert kept.rows.tolist() == [
        row for row, label in zip(faces.rows, faces.labels, strict=True) if FER7[label] in classes
    ]
    assert [classes[label] for label in kept.labels] == [FER7[faces.labels[row - 100]] for row in kept.rows]


def test_contempt_has_no_counterpart_in_seven_classes(faces):
    eight = dataclasses.replace(faces, classes=FERPLUS8, labels=np.where(np.arange(70) < 3, 7, faces.labels))
    with pytest.raises(ValueError, match=r"Received: contempt \(3 images\)"):
        eight.to_classes(FER7)
    assert len(eight.to_classes(FER7, drop=True)) == 67
    assert faces.to_classes(FERPLUS8).to_classes(FER7).fingerprint == faces.fingerprint


def test_label_sets_without_a_common_class_are_refused(faces):
    with pytest.raises(ValueError, match="counterpart of its class among cats, dogs"):
        faces.to_classes(("cats", "dogs"), drop=True)


def test_one_class_against_the_rest():
    faces = make_faces(3)
    against = faces.against_rest("fear")
    assert against.classes == ("rest", "fear")
    np.testing.assert_array_equal(against.labels, faces.labels == FER7.index("fear"))
    with pytest.raises(ValueError, match="Unknown class 'bored'"):
        faces.against_rest("bored")


def test_a_share_of_the_training_images_is_nested_and_stratified():
    faces = make_faces(40, seed=2)
    half, quarter = faces.keep_of_train(0.5), faces.keep_of_train(0.25)
    counts = faces.counts().loc["train"]
    np.testing.assert_array_equal(half.counts().loc["train"][list(FER7)], (counts[list(FER7)] / 2).round())
    assert set(quarter.rows) < set(half.rows) < set(faces.rows)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(half[split][0], faces[split][0])
    assert faces.keep_of_train(1e-9).counts().loc["train", "total"] == len(FER7)
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        faces.keep_of_train(0)


def test_data_sets_of_the_same_classes_are_joined_and_keep_their_splits(faces):
    images = np.random.default_rng(1).integers(0, 256, (21, 16))
    other = make(images, np.arange(21) % 7, split=np.repeat(SPLITS, 7), classes=FER7[::-1])
    joined = concatenate([faces, other])
    assert (joined.classes, joined.protocol, joined.source) == (FER7, "joined", "made up + made up")
    assert joined.split.tolist() == [*faces.split, *other.split]
    assert joined.rows.tolist() == list(range(70 + 21))
    names = [*np.array(FER7)[faces.labels], *np.array(FER7[::-1])[other.labels]]
    assert np.array(FER7)[joined.labels].tolist() == names
    np.testing.assert_array_equal(joined.images, np.concatenate([faces.images, other.images]))
    assert joined.votes is None
    np.testing.assert_array_equal(concatenate([faces, faces]).votes, np.tile(faces.votes, (2, 1)))


def test_images_that_one_set_trains_on_and_another_holds_out_are_counted(capsys):
    images = np.random.default_rng(0).integers(0, 256, (8, 16))
    first = make(images[:4], [0, 1, 2, 3], split=["train", "train", "train", "test"])
    second = make(images[[1, 1, 3, 5, 0]], [1, 1, 3, 5, 0], split=["test", "validation", "train", "train", "train"])
    joined = concatenate([first, second])
    expected = "fer_keras: 2 training images are also in another set's validation or test part: made up + made up\n"
    assert capsys.readouterr().err == expected  # one of the first, one of the second
    assert audit(joined).copies["train"]["test"] == 2
    concatenate([first, first.take(first.split == "train")])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda faces: faces.select(classes=FER6), r"same classes and image size.*neutral> and <.*surprise>"),
        (lambda faces: dataclasses.replace(faces, images=faces.images[:, :3]), r"4x4.*3x4.*image_size"),
    ],
)
def test_other_classes_or_sizes_are_not_joined(faces, change, message):
    with pytest.raises(ValueError, match=message):
        concatenate([faces, change(faces)])
    with pytest.raises(ValueError, match="Received: none"):
        concatenate([])


def test_four_fifths_of_all_rows_are_drawn_with_their_duplicates():
    faces = make_faces(20, seed=1)
    drawn = four_fifths(faces)
    assert (drawn.split == "validation").sum() == len(faces) // 5
    assert set(drawn.split) == {"train", "validation"}
    assert drawn.protocol == "four-fifths"
    names = ("images", "labels", "split", "rows")
    twice = dataclasses.replace(faces, **{name: np.repeat(getattr(faces, name), 2, axis=0) for name in names})
    sides = four_fifths(twice).split.reshape(-1, 2)
    assert (sides[:, 0] != sides[:, 1]).any(), "duplicates lie across, as in the students' protocol"
