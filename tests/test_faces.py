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


def make(images, labels, *, split=None, classes=FER7, side=4, **more):
    split = np.array(split if split is not None else ["train"] * len(labels), "<U10")
    images = np.asarray(images, np.uint8).reshape(len(labels), side, side, 1)
    return FaceDataset(images, np.asarray(labels), split, classes, "made up", **more)


def random(count, *, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 16))


@pytest.fixture
def faces():
    about = {"votes": np.arange(700, dtype=np.float32).reshape(70, 10), "rows": np.arange(70) + 100}
    return make(random(70), np.arange(70) % 7, split=np.array(SPLITS)[np.arange(70) // 7 % 3], **about)


@pytest.fixture(scope="module")
def synthetic():
    return make_faces(20, seed=2)


def test_a_split_gives_its_images_and_labels_and_counts_say_how_many(faces):
    x, y = faces["validation"]
    assert x.shape == (21, 4, 4, 1)
    np.testing.assert_array_equal(x, faces.images[faces.split == "validation"])
    np.testing.assert_array_equal(y, faces.labels[faces.split == "validation"])
    assert repr(faces).startswith("<FaceDataset made up: 28 train, 21 validation, 21 test; 4x4; angry, ")
    table = faces.counts()
    assert (list(table.index), list(table.columns)) == (list(SPLITS), [*FER7, "total"])
    assert table["total"].tolist() == [28, 21, 21]
    assert faces.select(classes=("fear",), splits=("test",)).counts().to_numpy().tolist() == [[0, 0], [0, 0], [3, 3]]


def test_selecting_classes_renumbers_labels_and_keeps_rows_together(faces):
    four = faces.select(classes=FER4, splits=("train", "test"))
    assert four.classes == FER4
    for index, row in enumerate(four.rows - 100):
        assert FER4[four.labels[index]] == FER7[faces.labels[row]]
        assert four.split[index] == faces.split[row] != "validation"
        np.testing.assert_array_equal(four.images[index], faces.images[row])
        np.testing.assert_array_equal(four.votes[index], faces.votes[row])
    assert np.shares_memory(faces.select(splits=SPLITS).images, faces.images)  # what is not changed is not copied


def test_digests_and_the_fingerprint_follow_everything_that_matters(faces):
    same = make([np.zeros(16), np.arange(16), np.zeros(16)], [0, 1, 2]).digests
    assert same[0] == same[2] != same[1]
    assert same.dtype == np.uint64
    images, relabelled, moved = faces.images.copy(), faces.labels.copy(), faces.split.copy()
    images[3, 0, 0] ^= 1
    relabelled[5], moved[5] = 0, "test"
    changes = ({"images": images}, {"labels": relabelled}, {"split": moved}, {"classes": FER7[::-1]})
    changed = [faces.take(np.arange(69)), *(dataclasses.replace(faces, **change) for change in changes)]
    assert len({faces.fingerprint, *(other.fingerprint for other in changed)}) == 6
    assert dataclasses.replace(faces, source="elsewhere").fingerprint == faces.fingerprint


def shared(groups, split):
    """The groups that are in more than one split."""
    return [group for group in set(groups.tolist()) if len(set(split[groups == group].tolist())) > 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 6), st.integers(0, 20)), min_size=1, max_size=90),
    st.integers(0, 2**32 - 1),
)
def test_groups_and_copies_stay_on_one_side_of_a_new_split_whatever_their_labels(pictures, seed):
    picture, label, person = np.array(pictures).T
    faces = make(picture[:, None].repeat(16, axis=1), label)
    assert not shared(picture, faces.resplit(seed).split)
    drawn = faces.resplit(seed, groups=person)
    assert not shared(person, drawn.split)
    assert not shared(picture, drawn.split)
    np.testing.assert_array_equal(drawn.split, faces.resplit(seed, groups=person).split)


def test_a_new_split_is_stratified_and_follows_its_seed():
    faces = make(random(1000), np.repeat([0, 1], [900, 100]), classes=("happy", "sad"), protocol="official")
    drawn = faces.resplit(1)
    assert drawn.counts().to_numpy().tolist() == [[720, 80, 800], [90, 10, 100], [90, 10, 100]]
    assert drawn.protocol == "own"
    np.testing.assert_array_equal(drawn.split, faces.resplit(1).split)
    assert (drawn.split != faces.resplit(2).split).any()
    assert faces.resplit(1, fractions=(0.5, 0.5, 0)).counts()["total"].tolist() == [500, 500, 0]


def test_a_validation_set_is_split_off_train_only():
    images = random(1200)
    images[1:3] = images[0]  # copies, in train
    faces = make(images, np.arange(1200) % 7, split=["train"] * 1000 + ["test"] * 200, protocol="official")
    drawn = faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))
    assert (drawn.split[1000:] == "test").all()
    assert set(drawn.split[:1000]) == {"train", "validation"}
    assert len(set(drawn.split[:3])) == 1
    share = drawn.counts().loc["validation"] / faces.counts().loc["train"]
    np.testing.assert_allclose(share, 0.1, atol=0.006)


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


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"images": np.zeros((70, 4, 4, 1))}, "`images` must be uint8"),
        ({"images": np.zeros((70, 4, 4), np.uint8)}, "`images` must be uint8"),
        ({"images": np.zeros((69, 4, 4, 1), np.uint8)}, "`images` must be uint8 of shape .70, height"),
        ({"labels": np.full(70, 7)}, r"`labels` must lie in 0\.\.6"),
        ({"labels": np.full(70, -1)}, r"`labels` must lie in 0\.\.6"),
        ({"labels": np.zeros(70)}, "`labels` must be integers"),
        ({"split": np.full(70, "dev")}, "Unknown split 'dev'"),
        ({"votes": np.zeros((3, 10))}, "`votes` must be .* a row a label"),
        (lambda faces: faces.select(classes=("joy",)), r"Unknown class 'joy'. Expected one of: angry"),
        (lambda faces: faces["dev"], "Unknown split 'dev'"),
        (lambda faces: faces.take(np.ones(3, bool)), "a value for each of the 70 rows"),
        (lambda faces: faces.against_rest("bored"), "Unknown class 'bored'"),
        (lambda faces: faces.keep_of_train(0), r"\(0, 1\]"),
        (lambda faces: faces.resplit(0, groups=[1, 2, 3]), "a value for each of the 70 rows. Received: 3"),
        (lambda faces: faces.resplit(0, within=("dev",)), "Unknown split 'dev'"),
        (lambda faces: faces.resplit(0, fractions=(0.8, 0.2)), "three shares that sum to 1"),
        (lambda faces: faces.resplit(0, fractions=(0.8, 0.3, -0.1)), "three shares that sum to 1"),
        (lambda faces: faces.resplit(0, fractions=(0.5, 0.2, 0.2)), "three shares that sum to 1"),
        (lambda faces: faces.to_classes(("cats", "dogs"), drop=True), "counterpart of its class among cats, dogs"),
        (lambda faces: concatenate([]), "Received: none"),
        (lambda faces: concatenate([faces, faces.select(classes=FER6)]), "classes and image size.*l> and <.*surprise>"),
        (lambda faces: concatenate([faces, make(np.zeros((2, 25)), [0, 0], side=5)]), "4x4.*5x5.*image_size"),
    ],
)
def test_arrays_that_do_not_fit_and_what_a_data_set_lacks_or_cannot_do_are_refused(faces, ask, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(faces, **ask) if isinstance(ask, dict) else ask(faces)


@pytest.mark.parametrize("classes", [FERPLUS8, CKPLUS7, FER7[::-1], FER7])
def test_a_label_set_with_all_its_classes_takes_every_face(faces, classes):
    six = faces.select(classes=FER6)
    mapped = six.to_classes(classes)
    assert mapped.classes == classes
    assert [classes[label] for label in mapped.labels] == [FER6[label] for label in six.labels]
    for name in ("images", "split", "rows", "votes"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(six, name))
    assert mapped.to_classes(FER6).fingerprint == six.fingerprint
    against = mapped.against_rest("fear")
    assert against.classes == ("rest", "fear")
    np.testing.assert_array_equal(against.labels, six.labels == FER6.index("fear"))


@pytest.mark.parametrize(
    ("classes", "lost"),
    [
        (FER6, "neutral (10 images)"),
        (FER4, "angry (10 images), disgust (10 images), fear (10 images)"),
        (FER7, "contempt (3 images)"),
    ],
)
def test_faces_without_a_counterpart_are_named_and_left_out_on_request(faces, classes, lost):
    if classes == FER7:
        faces = dataclasses.replace(faces, classes=FERPLUS8, labels=np.where(np.arange(70) < 3, 7, faces.labels))
    with pytest.raises(ValueError, match=rf"Received: {re.escape(lost)}\. Pass drop=True"):
        faces.to_classes(classes)
    kept, names = faces.to_classes(classes, drop=True), np.array(faces.classes)[faces.labels]
    assert kept.classes == classes
    np.testing.assert_array_equal(kept.rows, faces.rows[np.isin(names, classes)])
    np.testing.assert_array_equal(np.array(classes)[kept.labels], names[kept.rows - 100])


def test_a_share_of_the_training_images_is_nested_and_stratified(synthetic):
    half, quarter = synthetic.keep_of_train(0.5), synthetic.keep_of_train(0.25)
    counts = synthetic.counts().loc["train"]
    np.testing.assert_array_equal(half.counts().loc["train"][list(FER7)], (counts[list(FER7)] / 2).round())
    assert set(quarter.rows) < set(half.rows) < set(synthetic.rows)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(half[split][0], synthetic[split][0])
    assert synthetic.keep_of_train(1e-9).counts().loc["train", "total"] == len(FER7)


def test_data_sets_of_the_same_classes_are_joined_and_keep_their_splits(faces):
    other = make(random(21, seed=2), np.arange(21) % 7, split=np.repeat(SPLITS, 7), classes=FER7[::-1])
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
    images = random(8)
    first = make(images[:4], [0, 1, 2, 3], split=["train", "train", "train", "test"])
    second = make(images[[1, 1, 3, 5, 0]], [1, 1, 3, 5, 0], split=["test", "validation", "train", "train", "train"])
    joined = concatenate([first, second])
    expected = "fer_keras: 2 training images are also in another set's validation or test part: made up + made up\n"
    assert capsys.readouterr().err == expected  # one of the first, one of the second
    assert audit(joined).copies["train"]["test"] == 2
    concatenate([first, first.take(first.split == "train")])
    assert capsys.readouterr().err == ""


def test_four_fifths_of_all_rows_are_drawn_with_their_duplicates(synthetic):
    drawn = four_fifths(synthetic)
    assert (drawn.split == "validation").sum() == len(synthetic) // 5
    assert set(drawn.split) == {"train", "validation"}
    assert drawn.protocol == "four-fifths"
    names = ("images", "labels", "split", "rows")
    twice = dataclasses.replace(synthetic, **{name: np.repeat(getattr(synthetic, name), 2, axis=0) for name in names})
    sides = four_fifths(twice).split.reshape(-1, 2)
    assert (sides[:, 0] != sides[:, 1]).any(), "duplicates lie across, as in the students' protocol"
