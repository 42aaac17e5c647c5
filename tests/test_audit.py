"""The audit, mean faces and FER+ targets."""

import json

import numpy as np
import pytest

from fer_keras.data import FaceDataset, audit, load_fer4, load_fer7, mean_faces, soft_targets
from fer_keras.labels import FERPLUS_VOTES, SPLITS

# By split, the picture and label of each row; pictures 0 and 1 are constant.
ROWS = {
    "train": [(2, 0), (2, 0), (2, 1), (3, 1), (0, 0)],
    "validation": [(3, 1), (4, 0), (5, 0)],
    "test": [(2, 0), (4, 0), (3, 1), (1, 1)],
}


def make(*, votes=None):
    pictures, labels = np.array([row for rows in ROWS.values() for row in rows]).T
    images = np.tile(np.uint8(7 * pictures)[:, None, None, None], (1, 2, 3, 1))
    images[:, 0, 0, 0] += np.uint8(pictures // 2)
    split = np.repeat(list(ROWS), [len(rows) for rows in ROWS.values()])
    return FaceDataset(images, labels, split, ("happy", "sad"), "made up", votes=votes)


def test_counts_copies_conflicts_and_constants_are_found():
    found = audit(make())
    assert found.distinct == {"train": 3, "validation": 3, "test": 4, "all": 6}
    assert found.copies == {
        "train": {"train": 2, "validation": 1, "test": 4},
        "validation": {"train": 1, "validation": 0, "test": 2},
        "test": {"train": 2, "validation": 2, "test": 0},
    }
    assert found.conflicting_groups == 1
    assert found.conflicting == {"train": 3, "validation": 0, "test": 1}
    assert found.constant == {"train": 1, "validation": 0, "test": 1}
    assert found.non_faces is found.agreement is None


def ballot(**votes):
    return [votes.get(name, 0) for name in FERPLUS_VOTES]


def test_votes_give_non_faces_and_agreement_also_in_json_and_tables_and_where_splits_are_empty():
    votes = np.array([ballot(happiness=6, sadness=4)] * 12, np.float32)
    votes[8] = ballot(NF=6, happiness=4)  # test, happy: no face, and less than half name an emotion
    votes[9] = ballot(NF=5, fear=5)  # test, happy: half is no majority for NF, and enough for an emotion
    votes[4] = ballot(sadness=5, happiness=5)  # train, happy: a tie goes to the first of FER+'s order, happiness
    votes[7] = ballot(unknown=10)  # validation, happy: no emotion at all, so that one happy face counts
    faces = make(votes=votes)
    found = audit(faces)
    assert found.non_faces == {"train": 0, "validation": 0, "test": 1}
    assert found.agreement == {
        "train": {"happy": 1.0, "sad": 0.0, "all": 0.6},
        "validation": {"happy": 1.0, "sad": 0.0, "all": 0.5},
        "test": {"happy": 0.0, "sad": 0.0, "all": 0.0},
    }
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    table = found.table()
    assert table.loc["images"].to_dict() == {"train": 5, "validation": 3, "test": 4, "all": 12}
    assert table.loc["also in train"].isna().tolist() == [True, False, False, True]
    assert table.loc["also in train", "test"] == 2
    for words in ("not a face", "0.600", "1 groups of copies disagree"):
        assert words in str(found)
    train = audit(faces.select(splits=("train",)))
    assert (train.distinct["test"], set(train.agreement["test"].values())) == (0, {None})
    assert json.dumps(train.as_dict(), allow_nan=False)
    assert "NA" not in str(found)


def test_mean_faces_are_the_average_of_each_class():
    faces = make()
    kept = (faces.split == "train") & (faces.labels == 1)
    np.testing.assert_allclose(mean_faces(faces)[1], faces.images[kept, ..., 0].astype(float).mean(axis=0))
    with pytest.raises(ValueError, match="none of 'sad'"):
        mean_faces(faces.take(faces.labels == 0))


def test_soft_targets_are_distributions_or_nothing():
    votes = np.array([ballot(sadness=3, contempt=1, NF=6), ballot(happiness=9, unknown=1)])
    np.testing.assert_allclose(soft_targets(votes, ("contempt", "sad")), [[0.25, 0.75], [0, 0]])


def test_the_real_data_has_its_known_faults_and_overlaps(fer2013):
    official, course = load_fer7(fer2013), load_fer4(fer2013, protocol="course")
    split = dict(zip(official.rows.tolist(), official.split.tolist(), strict=True))
    table = {name: [split[row] for row in course.rows[course.split == name].tolist()] for name in SPLITS}
    assert [table["train"].count(name) for name in ("validation", "test")] == [2118, 1984]
    assert [table["validation"].count(name) for name in ("validation", "test")] == [452, 531]
    assert table["test"] == ["train"] * 128
    found = audit(official)
    assert (found.distinct["all"], found.conflicting_groups, sum(found.constant.values())) == (34_032, 60, 12)
    assert [found.copies[split]["train"] for split in ("validation", "test")] == [280, 288]
    assert found.copies["test"]["validation"] == 44
    assert found.non_faces == {"train": 150, "validation": 10, "test": 16}
    known = {"happy": 0.93, "neutral": 0.88, "surprise": 0.76, "angry": 0.5, "sad": 0.39, "disgust": 0.31, "fear": 0.14}
    assert round(found.agreement["test"]["all"], 3) == 0.627
    assert {name: round(found.agreement["test"][name], 2) for name in known} == known
