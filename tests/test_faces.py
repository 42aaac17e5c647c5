"""`FaceDataset`: selecting, splitting, digests."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_keras.data import DataError, FaceDataset, audit, concatenate
from fer_keras.data.dataset import four_fifths
from fer_keras.labels import CKPLUS7, FER4, FER6, FER7, FERPLUS8, SPLITS

NOISE = np.random.default_rng(1).integers(0, 256, (1000, 16))


def make(images, labels, *, split=None, classes=FER7, side=4, **more):
    split = np.array(split if split is not None else ["train"] * len(labels), "<U10")
    images = np.asarray(images, np.uint8).reshape(len(labels), side, side, 1)
    return FaceDataset(images, np.asarray(labels), split, classes, "made up", **more)


@pytest.fixture
def faces():
    about = {"votes": np.arange(700, dtype=np.float32).reshape(70, 10), "rows": np.arange(70) + 100}
    return make(NOISE[:70], np.arange(70) % 7, split=np.array(SPLITS)[np.arange(70) // 7 % 3], **about)


def test_a_split_gives_its_images_and_labels_and_counts_say_how_many(faces):
    x, y = faces["validation"]
    np.testing.assert_array_equal(x, faces.images[faces.split == "validation"])
    np.testing.assert_array_equal(y, faces.labels[faces.split == "validation"])
    assert repr(faces).startswith("<FaceDataset made up: 28 train, 21 validation, 21 test; 4x4; angry, ")
    table = faces.counts()
    assert (list(table.index), list(table.columns)) == (list(SPLITS), [*FER7, "total"])
    assert table["total"].tolist() == [28, 21, 21]
    assert faces.select(classes=("fear",), splits=("test",)).counts().to_numpy().tolist() == [[0, 0], [0, 0], [3, 3]]


def test_lists_are_arrays_no_row_is_a_set_and_a_class_may_be_called_total(faces):
    listed = {name: getattr(faces, name).tolist() for name in ("labels", "split", "rows", "votes")}
    assert dataclasses.replace(faces, **listed, classes=list(FER7)).fingerprint == faces.fingerprint
    assert (len(faces.take([])), faces.take([]).images.shape) == (0, (0, 4, 4, 1))
    partial = make(NOISE[:5], [0, 1, 1, 1, 1], classes=("total", "partial"))
    assert partial.counts().loc["train"].to_dict() == {"total": 1, "partial": 4, "total of all classes": 5}
    assert audit(partial).counts["train"] == {"total": 1, "partial": 4}


def test_selecting_classes_renumbers_labels_and_keeps_rows_together(faces):
    four = faces.select(classes=FER4, splits=("train", "test"))
    kept = np.isin(faces.labels, [FER7.index(name) for name in FER4]) & (faces.split != "validation")
    np.testing.assert_array_equal(np.array(FER4)[four.labels], np.array(FER7)[faces.labels[kept]])
    for name in ("images", "split", "rows", "votes"):
        np.testing.assert_array_equal(getattr(four, name), getattr(faces, name)[kept])
    assert np.shares_memory(faces.select(splits=SPLITS).images, faces.images)  # what is not changed is not copied


def test_digests_and_the_fingerprint_follow_everything_that_matters(faces):
    first, other, same = make([np.zeros(16), np.arange(16), np.zeros(16)], [0, 1, 2]).digests.tolist()
    assert first == same != other
    images, relabelled, moved = faces.images.copy(), faces.labels.copy(), faces.split.copy()
    images[3, 0, 0] ^= 1
    relabelled[5], moved[5] = 0, "test"
    changes = ({"images": images}, {"labels": relabelled}, {"split": moved}, {"classes": FER7[::-1]})
    changed = [faces.take(np.arange(69)), *(dataclasses.replace(faces, **change) for change in changes)]
    assert len({faces.fingerprint, *(other.fingerprint for other in changed)}) == 6
    assert dataclasses.replace(faces, source="elsewhere").fingerprint == faces.fingerprint


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 6), st.integers(0, 20)), min_size=1, max_size=90),
    st.integers(0, 2**32 - 1),
)
def test_groups_and_copies_stay_on_one_side_of_a_new_split_whatever_their_labels(pictures, seed):
    picture, label, person = np.array(pictures).T
    faces = make(picture[:, None].repeat(16, axis=1), label)
    alone = together = faces.resplit(seed).split
    try:
        together = faces.resplit(seed, groups=person).split
    except DataError:  # pictures link persons, and of those that are not linked there are too few
        person = picture
    else:
        np.testing.assert_array_equal(together, faces.resplit(seed, groups=person).split)
        assert set(together) == set(SPLITS)
    for split, groups in ((alone, picture), (together, picture), (together, person)):
        assert len({*zip(groups, split, strict=True)}) == len({*groups}), "each group on one side"


def test_a_new_split_is_stratified_and_follows_its_seed_also_of_train_alone():
    faces = make(NOISE, np.repeat([0, 1], [900, 100]), classes=("happy", "sad"), protocol="official")
    drawn = faces.resplit(1)
    assert drawn.counts().to_numpy().tolist() == [[720, 80, 800], [90, 10, 100], [90, 10, 100]]
    assert drawn.protocol == "own"
    assert [(drawn.split == faces.resplit(seed).split).all() for seed in (1, 2)] == [True, False]
    assert faces.resplit(1, fractions=(0.5, 0.5, 0)).counts()["total"].tolist() == [500, 500, 0]
    within = drawn.resplit(0, fractions=(0.75, 0.25, 0), within=("train",))
    assert within.counts().to_numpy().tolist() == [[540, 60, 600], [270, 30, 300], [90, 10, 100]]
    assert (within.split == "test").tolist() == (drawn.split == "test").tolist()


def test_groups_are_shared_out_by_class():
    """As many people as in CK+, as many of each emotion, some with many pictures and some with one."""
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(7), [45, 59, 25, 69, 28, 83, 18])
    weight = generator.gamma(4, size=118)
    people = [generator.choice(118, (label == one).sum(), replace=False, p=weight / weight.sum()) for one in range(7)]
    faces, person = make(generator.integers(0, 256, (len(label), 16)), label), np.concatenate(people)
    counts = [faces.resplit(seed, groups=person).counts() for seed in range(12)]
    missed = [(table / table.sum()).sub([0.8, 0.1, 0.1], axis=0).abs().to_numpy().max() for table in counts]
    assert (max(missed) < 0.05, np.mean(missed) < 0.03) == (True, True)
    assert faces.resplit(0, groups=person, fractions=(0.5, 0.5, 0)).counts()["total"]["test"] == 0


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_few_groups_of_one_size_fill_every_side_that_has_a_share_and_fewer_are_refused(count):
    faces, person = make(NOISE[:360], np.arange(360) % 7), np.arange(360) % count
    drawn = faces.resplit(0, groups=person)
    assert [len({*person[drawn.split == split]}) for split in SPLITS] == [count - 2, 1, 1]
    halves = faces.resplit(0, groups=person % 2, fractions=(0.9, 0.1, 0))
    assert halves.counts()["total"].tolist() == [*np.bincount(person % 2)[[0, 1]], 0]
    assert set(faces.resplit(0, groups=person, fractions=(1, 0, 0)).split) == {"train"}
    with pytest.raises(DataError, match=r"Expected 3 groups at least.*Received: 2, as groups that share exact copies"):
        faces.resplit(0, groups=person % 2)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"images": np.zeros((70, 4, 4, 1))}, "`images` must be uint8"),
        ({"labels": np.full(70, 7)}, r"`labels` must lie in 0\.\.6"),
        ({"labels": np.zeros(70)}, "`labels` must be integers"),
        ({"split": np.full(70, "dev")}, "Unknown split 'dev'"),
        ({"votes": np.zeros((3, 10))}, "`votes` must be .* a row a label"),
        (
            {"votes": np.zeros((70, 3))},
            r"`votes` must be numbers of shape \(n, 10\).*Received: float64 of shape \(70, 3\)",
        ),
        ({"labels": np.eye(70, dtype=int)}, r"`labels` must be integers of shape \(n,\).*\(70, 70\)"),
        ({"labels": 3}, "`labels` must be integers"),
        *(({"classes": each}, "different names") for each in ({*FER7}, "abcdefg", (*FER6, "sad"), range(7))),
        (lambda faces: faces.select(classes=("joy",)), r"Unknown class 'joy'. Expected one of: angry"),
        (lambda faces: faces.select(classes=("happy", "happy")), "one or more different names"),
        (lambda faces: faces.select(classes="happy"), "one or more different names"),
        (lambda faces: faces.to_classes(("sad", "Sadness"), drop=True), "one or more different names"),
        (lambda faces: faces.take(np.ones(3, bool)), "a value for each of the 70 rows"),
        (lambda faces: faces.against_rest("bored"), "Unknown class 'bored'"),
        (lambda faces: faces.against_rest("sad").against_rest("rest"), "different names"),
        (lambda faces: faces.keep_of_train(0), r"\(0, 1\]"),
        (lambda faces: faces.keep_of_train(0.5, seed=None), "`seed` must be an integer of at least 0. Received: None"),
        (lambda faces: faces.resplit(None), "`seed` must be an integer of at least 0. Received: None"),
        (lambda faces: faces.resplit("x"), "`seed` must be an integer of at least 0. Received: 'x'"),
        (lambda faces: faces.resplit(0, groups=[1, 2, 3]), "a value for each of the 70 rows. Received: 3"),
        (lambda faces: faces.resplit(0, fractions=(0.8, 0.3, -0.1)), "three shares that sum to 1"),
        (lambda faces: faces.resplit(0, fractions=(0.5, 0.2, 0.2)), "three shares that sum to 1"),
        (lambda faces: faces.resplit(0, fractions=(np.nan, np.nan, np.nan)), "three shares that sum to 1"),
        (lambda faces: faces.to_classes(("cats", "dogs"), drop=True), "counterpart of its class among cats, dogs"),
        (lambda faces: concatenate([]), "Received: none"),
        (lambda faces: concatenate([faces, 1]), "a list of FaceDatasets"),
        (lambda faces: concatenate(faces), "a list of FaceDatasets"),
        (lambda faces: concatenate([faces, faces.select(classes=FER6)]), "classes and image size.*l> and <.*surprise>"),
        (lambda faces: concatenate([faces, make(np.zeros((2, 25)), [0, 0], side=5)]), "4x4.*5x5.*image_size"),
    ],
)
def test_arrays_that_do_not_fit_and_what_a_data_set_lacks_or_cannot_do_are_refused(faces, ask, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(faces, **ask) if isinstance(ask, dict) else ask(faces)


@pytest.mark.parametrize(
    ("classes", "lost"),
    [
        *((classes, "") for classes in (FERPLUS8, CKPLUS7, FER7[::-1], FER7)),
        (FER4, "angry (10 images), disgust (10 images), fear (10 images)"),
        (("happy", "sad"), "angry (10 images), disgust (10 images), fear (10 images), surprise (10 images)"),
    ],
)
def test_other_classes_take_every_face_that_has_its_counterpart_and_name_the_others(faces, classes, lost):
    six = faces.select(classes=FER6)
    if lost:
        with pytest.raises(ValueError, match=rf"Received: {re.escape(lost)}\. Pass drop=True"):
            six.to_classes(classes)
    mapped, names = six.to_classes(classes, drop=bool(lost)), np.array(FER6)[six.labels]
    kept = np.isin(names, classes)
    assert mapped.classes == classes
    np.testing.assert_array_equal(np.array(classes)[mapped.labels], names[kept])
    for name in ("images", "split", "rows", "votes"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(six, name)[kept])
    against = mapped.against_rest("sad")
    assert against.classes == ("rest", "sad")
    np.testing.assert_array_equal(against.labels, names[kept] == "sad")


def test_a_share_of_the_training_images_is_nested_and_stratified_and_four_fifths_are_drawn_with_duplicates(faces):
    half, quarter = faces.keep_of_train(0.5), faces.keep_of_train(0.25)
    for fewer, each in ((half, 2), (quarter, 1), (faces.keep_of_train(1e-9), 1)):
        assert fewer.counts().loc["train"].tolist() == [each] * 7 + [7 * each]
        assert fewer.rows[fewer.split != "train"].tolist() == faces.rows[faces.split != "train"].tolist()
    assert set(quarter.rows) < set(half.rows)
    drawn = four_fifths(faces)
    assert (drawn.counts()["total"].tolist(), drawn.protocol) == ([56, 14, 0], "four-fifths")
    sides = four_fifths(faces.take(np.arange(70).repeat(2))).split.reshape(-1, 2)
    assert (sides[:, 0] != sides[:, 1]).any(), "duplicates lie across, as in the students' protocol"


def test_data_sets_of_the_same_classes_are_joined_and_training_images_that_one_holds_out_counted(faces, capsys):
    other = make(NOISE[70:91], np.arange(21) % 7, split=np.repeat(SPLITS, 7), classes=FER7[::-1])
    joined = concatenate(each for each in (faces, other))
    assert (capsys.readouterr().err, joined.difference) == ("", "")
    assert concatenate([faces, dataclasses.replace(other, difference="half")]).difference == "half"
    capsys.readouterr()
    assert (joined.classes, joined.protocol, joined.source) == (FER7, "joined", "made up + made up")
    assert (joined.split.tolist(), joined.rows.tolist()) == ([*faces.split, *other.split], list(range(91)))
    names = [*np.array(FER7)[faces.labels], *np.array(FER7[::-1])[other.labels]]
    assert np.array(FER7)[joined.labels].tolist() == names
    np.testing.assert_array_equal(joined.images, np.concatenate([faces.images, other.images]))
    assert joined.votes is None
    np.testing.assert_array_equal(concatenate([faces, faces]).votes, np.tile(faces.votes, (2, 1)))
    capsys.readouterr()
    first = make(NOISE[:4], [0, 1, 2, 3], split=["train", "train", "train", "test"])
    second = make(NOISE[[1, 1, 3, 5, 0]], [1, 1, 3, 5, 0], split=["test", "validation", "train", "train", "train"])
    concatenate([first, second])  # one of the first, one of the second
    assert "2 training images are also in another set's validation or test part: made" in capsys.readouterr().err
