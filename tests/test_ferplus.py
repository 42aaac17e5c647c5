"""The votes of FER+: joined to the faces, and what its own rules make of them."""

import data_files as files
import numpy as np
import pytest

from fer_keras.data import DataError, ferplus_targets, join_ferplus, load_fer4, load_fer7, load_ferplus
from fer_keras.data.ferplus import ferplus_winners
from fer_keras.labels import FER6, FERPLUS8, FERPLUS_VOTES

VOTES = "fer2013new.csv"

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def table():
    table = files.fer_table(42)
    table["votes"][5] = 0
    table["votes"][5, -1] = 10  # an image that FER+'s authors removed
    return table


@pytest.fixture
def folder(tmp_path, table):
    """A folder with fer2013.csv and fer2013new.csv."""
    files.write_csv(tmp_path / "data", files.ferplus_lines(table), VOTES)
    return files.write_csv(tmp_path / "data", files.csv_lines(table)).parent


@pytest.mark.parametrize("lines", [files.csv_lines, files.icml_lines])
def test_votes_beside_the_faces_are_joined_and_announced(tmp_path, table, lines):
    file = files.write_csv(tmp_path / "data", lines(table))
    assert load_fer7(file).votes is None
    files.write_csv(tmp_path / "data", files.ferplus_lines(table), VOTES)
    for path in (file, tmp_path / "data", file):  # the last from the cache
        faces = load_fer7(path)
        files.expect(faces, table)
        np.testing.assert_array_equal(faces.votes, table["votes"])
        assert faces.votes.dtype == np.float32
        assert "FER+" in faces.source
    table["votes"][7] = [1, 0, 0, 0, 0, 0, 0, 0, 9, 0]  # another entry of the cache
    files.write_csv(tmp_path / "data", files.ferplus_lines(table), VOTES)
    np.testing.assert_array_equal(load_fer7(file).votes, table["votes"])


def test_votes_are_joined_by_row_to_any_selection_but_not_to_faces_of_other_rows(tmp_path, table):
    file = files.write_csv(tmp_path / "votes", files.ferplus_lines(table), VOTES)
    faces = load_fer7(files.write_csv(tmp_path / "data", files.csv_lines(table)))
    order = np.random.default_rng(0).permutation(42)[:30]
    for path in (file, file.parent):
        np.testing.assert_array_equal(join_ferplus(faces.take(order), path).votes, table["votes"][order])
    # The rows of a part are numbered anew: those of all are others.
    part = load_fer7(files.write_csv(tmp_path / "part", [files.csv_lines(table)[0], *files.csv_lines(table)[4:8]]))
    files.refused(r"Expected 4 rows, .* Received: 42", join_ferplus, part, file)
    faces = load_fer7(files.write_csv(tmp_path / "own", files.challenge_lines(table), "train.csv"))
    files.refused(r"Expected faces that know their rows .* Join the votes to fer2013\.csv", join_ferplus, faces, file)
    files.refused("no such file", join_ferplus, faces, tmp_path)


def put(column, value):
    place = ["Usage", "Image name", *FERPLUS_VOTES].index(column)

    def spoil(line):
        fields = line.split(",")
        return ",".join([*fields[:place], value, *fields[place + 1 :]])

    return spoil


BAD_VOTES = {
    "eleven": (put("happiness", "11"), r"Expected votes in 0\.\.10. Received: '11'"),
    "fraction": (put("anger", "1.0"), r"Expected votes in 0\.\.10. Received: '1\.0'"),
    "usage": (put("Usage", "Test"), "Expected a Usage of Training, .* Received: 'Test'"),
    "none": (lambda line: "Training,x.png" + 10 * ",0", "Expected 1 to 10 votes in a row. Received: 0"),
    "too-many": (lambda line: "Training,x.png" + 10 * ",2", "Expected 1 to 10 votes in a row. Received: 20"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_VOTES.values(), ids=BAD_VOTES)
def test_a_bad_row_of_votes_is_named_and_can_be_skipped(tmp_path, table, folder, spoil, message):
    lines = files.ferplus_lines(table)
    lines[30] = spoil(lines[30])
    files.write_csv(folder, lines, VOTES)
    faces = files.skipped(rf"{VOTES}, line 31: .*{message}", load_fer7, folder)
    table["votes"][29] = 0
    np.testing.assert_array_equal(faces.votes, table["votes"])
    assert len(faces.skipped) == 1
    assert "1 skipped" in repr(faces)
    assert files.nothing_cached(tmp_path)


def test_a_face_that_is_skipped_does_not_move_the_votes_of_others(folder, table):
    lines = files.csv_lines(table)
    lines[11] = lines[11].replace(" ", " x", 1)
    files.write_csv(folder, lines)
    faces = load_fer7(folder, on_error="skip")
    np.testing.assert_array_equal(faces.votes, np.delete(table["votes"], 10, axis=0))
    assert len(faces.skipped) == 1


BAD_FILES = {
    "a-row-less": (lambda lines: lines[:-1], r"Expected 42 rows, as many as the fer2013\.csv .* has\. Received: 41"),
    "a-row-more": (lambda lines: [*lines, lines[-1]], "Received: 43"),
    "other-order": (
        lambda lines: [*lines[:5], lines[10], *lines[6:10], lines[5], *lines[11:]],
        r"line 6: Expected the Usage .* gives train. Received: validation \(2 such rows\)",
    ),
    "columns": (lambda lines: [lines[0].replace("NF", "nf"), *lines[1:]], "line 1: .* Add or rename NF"),
    "twice": (lambda lines: [lines[0].replace("NF", "fear"), *lines[1:]], "each once"),
    "only-header": (lambda lines: lines[:1], "Received: 0"),
    "empty": (lambda lines: [], "an empty file or line"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_votes_of_other_faces_are_refused_either_way(tmp_path, table, folder, spoil, message, on_error):
    files.write_csv(folder, spoil(files.ferplus_lines(table)), VOTES)
    files.refused(rf"{VOTES}.*{message}", load_fer7, folder, on_error=on_error)
    assert files.nothing_cached(tmp_path)


def test_the_course_set_knows_its_rows(tmp_path, table):
    place = files.write_parquet(tmp_path / "fer", files.parquet_frame(table))
    files.write_csv(place, ["split,class,row", "train,happy,3", "test,sad,11"], "adsp_rows.csv")
    votes = {"votes": np.resize(table["votes"], (35_887, 10)), "Usage": np.repeat("Training", 35_887)}
    file = files.write_csv(tmp_path / "votes", files.ferplus_lines(votes), VOTES)
    joined = join_ferplus(load_fer4(place, protocol="course"), file)
    np.testing.assert_array_equal(joined.votes, table["votes"][[3, 11]])


#                 neutral happiness surprise sadness anger disgust fear contempt unknown NF
CASES = {
    "clear": ([0, 8, 0, 0, 0, 0, 0, 0, 2, 0], {"happy": 1}, {"happy": 1}),
    "single-votes-are-outliers": ([1, 3, 1, 1, 1, 1, 1, 1, 0, 0], {"happy": 1}, {"happy": 1}),
    "nothing-but-outliers": ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], {}, {}),
    "half-is-no-majority": ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], {}, {"neutral": 0.5, "sad": 0.5}),
    "half-of-what-is-left": ([5, 0, 0, 4, 1, 0, 0, 0, 0, 0], {"neutral": 1}, {"neutral": 5 / 9, "sad": 4 / 9}),
    "three-quarters-end-it": ([6, 0, 0, 2, 0, 0, 0, 0, 0, 0], {"neutral": 1}, {"neutral": 1}),
    "three-emotions": ([4, 0, 0, 3, 3, 0, 0, 0, 0, 0], {}, {"neutral": 0.4, "sad": 0.3, "angry": 0.3}),
    "four-equal-emotions": ([0, 2, 2, 2, 2, 0, 0, 0, 0, 0], {}, {}),
    "five-emotions": ([2, 2, 2, 2, 2, 0, 0, 0, 0, 0], {}, {}),
    "unknown-wins": ([3, 0, 0, 0, 0, 0, 0, 0, 7, 0], {}, {}),
    "no-face": ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], {}, {}),
    "unknown-second-ends-it": ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], {"neutral": 1}, {"neutral": 1}),
    "unknown-second-and-too-little": ([4, 0, 0, 2, 0, 0, 0, 0, 4, 0], {}, {}),
    "contempt": ([0, 0, 0, 0, 0, 0, 0, 7, 3, 0], {"contempt": 1}, {"contempt": 1}),
}


@pytest.mark.parametrize(("mode", "place"), [("majority", 1), ("probability", 2)])
def test_the_rules_of_ferplus(mode, place):
    votes, expected = np.array([case[0] for case in CASES.values()]), [case[place] for case in CASES.values()]
    targets = [[each.get(name, 0) for name in FERPLUS8] for each in expected]
    np.testing.assert_allclose(ferplus_targets(votes, mode=mode), targets, rtol=1e-6)
    assert ferplus_winners(votes, mode=mode).tolist() == [next(iter(each), "") for each in expected]


def test_a_selection_of_classes_leaves_out_rows_that_another_wins():
    votes = np.array([[4, 3, 3, 0, 0, 0, 0, 0, 0, 0], [3, 4, 3, 0, 0, 0, 0, 0, 0, 0]])
    targets = ferplus_targets(votes, ("surprise", "happy"), mode="probability")
    np.testing.assert_allclose(targets, [[0, 0], [3 / 7, 4 / 7]], rtol=1e-6)


def test_what_ferplus_does_not_have_is_refused(tmp_path, table):
    with pytest.raises(ValueError, match=r"Unknown mode 'plurality'\. Expected one of: majority, probability"):
        ferplus_targets(np.ones((1, 10)), mode="plurality")
    with pytest.raises(ValueError, match="`votes` must have the shape"):
        ferplus_targets(np.ones((1, 8)))
    for refused in (lambda: ferplus_targets(np.ones((1, 10)), ("bored",)), lambda: load_ferplus(classes=("bored",))):
        with pytest.raises(ValueError, match="Unknown class 'bored'"):
            refused()
    with pytest.raises(DataError, match=r"with the votes of FER\+\. .* Put fer2013new\.csv"):
        load_ferplus(files.write_csv(tmp_path / "a", files.csv_lines(table)))
    with pytest.raises(DataError, match="Expected the official split"):
        load_ferplus(files.write_csv(tmp_path / "b", files.challenge_lines(table), "train.csv"))


@pytest.mark.parametrize("mode", ["majority", "probability"])
def test_load_ferplus_keeps_rows_with_a_winner_under_its_label(folder, table, mode):
    faces, six = load_ferplus(folder, mode=mode), load_ferplus(folder, mode=mode, classes=FER6)
    winners = ferplus_winners(table["votes"], mode=mode)
    assert (faces.protocol, faces.classes, six.classes) == ("official", FERPLUS8, FER6)
    assert 0 < len(faces) < 42
    for each in (faces, six):
        assert sorted(each.rows) == np.flatnonzero(np.isin(winners, each.classes)).tolist()
        assert np.array(each.classes)[each.labels].tolist() == winners[each.rows].tolist()
    np.testing.assert_array_equal(faces.images[..., 0], table["images"][faces.rows])
    np.testing.assert_array_equal(faces.votes, table["votes"][faces.rows])
    assert mode in faces.source


def test_the_real_votes_leave_the_published_numbers_of_rows(fer2013):
    for mode, expected in (("majority", [25060, 3199, 3153]), ("probability", [27956, 3505, 3505])):
        assert load_ferplus(fer2013, mode=mode).counts()["total"].tolist() == expected
