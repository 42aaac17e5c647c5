"""The audit, mean faces and FER+ targets."""

import json

import numpy as np
import pytest
from data_files import REAL_DATA, needs_real_data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_keras.data import FaceDataset, audit, load_fer4, load_fer7, mean_faces, soft_targets
from fer_keras.data.ferplus import names_emotion, not_a_face, plurality
from fer_keras.labels import FER7, FERPLUS8, FERPLUS_VOTES, SPLITS

CLASSES = ("happy", "sad")
# picture, label, split; pictures 0 and 1 are constant
ROWS = [
    (2, 0, "train"),
    (2, 0, "train"),
    (2, 1, "train"),
    (2, 0, "test"),
    (3, 1, "train"),
    (3, 1, "validation"),
    (3, 1, "test"),
    (4, 0, "validation"),
    (4, 0, "test"),
    (0, 0, "train"),
    (1, 1, "test"),
    (5, 0, "validation"),
]


def ballot(**votes):
    return [votes.get(name, 0) for name in FERPLUS_VOTES]


def make(*, votes=None):
    pictures, labels, split = zip(*ROWS, strict=True)
    images = np.stack([np.full((2, 3, 1), 7 * picture, np.uint8) for picture in pictures])
    images[:, 0, 0, 0] += np.array(pictures, np.uint8) // 2
    return FaceDataset(images, np.array(labels), np.array(split), CLASSES, "made up", votes=votes)


def test_counts_copies_conflicts_and_constants_are_found():
    found = audit(make())
    assert found.counts == {
        "train": {"happy": 3, "sad": 2},
        "validation": {"happy": 2, "sad": 1},
        "test": {"happy": 2, "sad": 2},
    }
    assert found.distinct == {"train": 3, "validation": 3, "test": 4, "all": 6}
    assert found.copies == {
        "train": {"train": 2, "validation": 1, "test": 4},
        "validation": {"train": 1, "validation": 0, "test": 2},
        "test": {"train": 2, "validation": 2, "test": 0},
    }
    assert found.conflicting_groups == 1
    assert found.conflicting == {"train": 3, "validation": 0, "test": 1}
    assert found.constant == {"train": 1, "validation": 0, "test": 1}
    assert found.non_faces is None
    assert found.agreement is None
    assert found.agreement_table() is None


def test_votes_give_non_faces_and_agreement():
    votes = np.array([ballot(happiness=6, sadness=4)] * len(ROWS), np.float32)
    votes[3] = ballot(NF=6, happiness=4)  # test, happy: no face, and less than half name an emotion
    votes[8] = ballot(NF=5, fear=5)  # test, happy: half is no majority for NF, and enough for an emotion
    votes[9] = ballot(sadness=5, happiness=5)  # train, happy: a tie goes to the first of FER+'s order, happiness
    votes[11] = ballot(unknown=10)  # validation, happy: no emotion at all, so that one happy face counts
    found = audit(make(votes=votes))
    assert found.non_faces == {"train": 0, "validation": 0, "test": 1}
    assert found.agreement == {
        "train": {"happy": 1.0, "sad": 0.0, "all": 0.6},
        "validation": {"happy": 1.0, "sad": 0.0, "all": 0.5},
        "test": {"happy": 0.0, "sad": 0.0, "all": 0.0},
    }
    assert found.agreement_table().loc["all", "train"] == 0.6
    assert "not a face" in str(found)
    assert "NA" not in str(found)
    assert "0.600" in str(found)


def test_an_audit_goes_through_json_and_tables():
    found = audit(make(votes=np.ones((len(ROWS), 10), np.float32)))
    again = json.loads(json.dumps(found.as_dict()))
    assert again == found.as_dict()
    assert again["classes"] == ["happy", "sad"]
    table = found.table()
    assert list(table.columns) == [*SPLITS, "all"]
    assert table.loc["images"].tolist() == [5, 3, 4, 12]
    assert table.loc["distinct images", "all"] == 6
    assert table.loc["also in train"].isna().tolist() == [True, False, False, True]
    assert table.loc["also in train", "test"] == 2
    assert "1 groups of copies disagree" in str(found)


def test_a_split_that_is_empty_is_no_trouble():
    found = audit(make(votes=np.ones((len(ROWS), 10), np.float32)).select(splits=("train",)))
    assert found.distinct["test"] == 0
    assert found.agreement["test"] == {"happy": None, "sad": None, "all": None}
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)


def test_mean_faces_are_the_average_of_each_class():
    faces = make()
    means = mean_faces(faces)
    assert means.shape == (2, 2, 3)
    kept = (faces.split == "train") & (faces.labels == 1)
    np.testing.assert_allclose(means[1], faces.images[kept, ..., 0].astype(float).mean(axis=0))
    with pytest.raises(ValueError, match="none of 'sad'"):
        mean_faces(faces.take(faces.labels == 0))


VOTES = arrays(np.int64, st.tuples(st.integers(1, 6), st.just(10)), elements=st.integers(0, 10))


@given(VOTES, st.lists(st.sampled_from(FERPLUS8), min_size=1, unique=True))
def test_soft_targets_are_distributions_or_nothing(votes, classes):
    targets = soft_targets(votes, classes)
    assert targets.shape == (len(votes), len(classes))
    assert targets.dtype == np.float32
    sums = targets.sum(axis=1)
    np.testing.assert_allclose(sums[targets.any(axis=1)], 1, atol=1e-6)
    assert (targets >= 0).all()
    ferplus = {"neutral": 0, "happy": 1, "surprise": 2, "sad": 3, "angry": 4, "disgust": 5, "fear": 6, "contempt": 7}
    for row, target in zip(votes, targets, strict=True):
        kept = [row[ferplus[name]] for name in classes]
        expected = [count / sum(kept) if sum(kept) else 0 for count in kept]
        np.testing.assert_allclose(target, expected, atol=1e-6)


def test_wrong_votes_and_classes_are_refused():
    with pytest.raises(ValueError, match="Unknown class 'joy'"):
        soft_targets(np.zeros((1, 10)), ("joy",))
    with pytest.raises(ValueError, match=r"`votes` must have the shape \(n, 10\). Received: \(1, 8\)"):
        soft_targets(np.zeros((1, 8)), FER7)


def test_plurality_and_non_faces_follow_their_rules():
    votes = np.array(
        [ballot(anger=4, fear=4, NF=2), ballot(unknown=10), ballot(NF=6, contempt=4), ballot(NF=5, sadness=5)]
    )
    assert plurality(votes).tolist() == ["angry", "", "contempt", "sad"]
    assert not_a_face(votes).tolist() == [False, False, True, False]
    assert names_emotion(votes).tolist() == [True, False, False, True]


@needs_real_data
def test_the_real_data_has_its_known_faults():
    found = audit(load_fer7(REAL_DATA))
    assert found.distinct["all"] == 34_032
    assert found.copies["test"]["train"] == 288
    assert found.copies["validation"]["train"] == 280
    assert found.copies["test"]["validation"] == 44
    assert found.conflicting_groups == 60
    assert sum(found.constant.values()) == 12
    if found.non_faces is None:
        pytest.skip("no FER+ votes in FER_KERAS_DATA")
    assert found.non_faces == {"train": 150, "validation": 10, "test": 16}
    known = {"happy": 0.93, "neutral": 0.88, "surprise": 0.76, "angry": 0.5, "sad": 0.39, "disgust": 0.31, "fear": 0.14}
    assert round(found.agreement["test"]["all"], 3) == 0.627
    assert {name: round(found.agreement["test"][name], 2) for name in known} == known


@needs_real_data
def test_the_real_course_set_overlaps_the_official_split_as_known():
    official, course = load_fer7(REAL_DATA), load_fer4(REAL_DATA, protocol="course")
    split = dict(zip(official.rows.tolist(), official.split.tolist(), strict=True))
    table = {name: [split[row] for row in course.rows[course.split == name].tolist()] for name in SPLITS}
    assert [table["train"].count(name) for name in ("validation", "test")] == [2118, 1984]
    assert [table["validation"].count(name) for name in ("validation", "test")] == [452, 531]
    assert table["test"] == ["train"] * 128
