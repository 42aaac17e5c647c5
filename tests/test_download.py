"""Where the data is looked for, and what is said when it is nowhere. No test reaches a network."""

import sys
import time

import numpy as np
import pytest
from data_files import (
    csv_lines,
    fer_table,
    nothing_cached,
    set_up,
    write_csv,
)

from fer_keras.data import DataError, FaceDataset, audit, cache, load_fer4, load_fer7
from fer_keras.data.load import KAGGLE
from fer_keras.labels import FER7, PUBLISHED_COUNTS, SPLITS


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """Send whatever asks for Kaggle to a port of this machine where nobody listens."""
    set_up(monkeypatch, tmp_path)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))


def lay_out(tmp_path, lines):
    """Lay out a finished download as kagglehub does."""
    owner, name, _, version = KAGGLE.split("/")
    folder = tmp_path / "kagglehub" / "datasets" / owner / name
    file = write_csv(folder / "versions" / version, lines)
    (folder / f"{version}.complete").touch()
    return file


def publish(monkeypatch, *numbers, protocol="official"):
    """Let the published set have so many images of each class in the training, validation and test split."""
    monkeypatch.setitem(PUBLISHED_COUNTS, protocol, tuple((number,) * 7 for number in numbers))


def keep_whole(*, votes, value, difference=""):
    """Put a made-up whole FER-2013 (of tiny faces) into the cache."""
    counts = np.array(PUBLISHED_COUNTS["official"])
    labels = np.concatenate([np.repeat(np.arange(7), row) for row in counts])
    split = np.repeat(SPLITS, counts.sum(axis=1))
    images = np.full((len(labels), 1, 1, 1), value, np.uint8)
    votes = np.ones((len(labels), 10), np.float32) if votes else None
    cache.store(
        f"whole-{value}",
        FaceDataset(images, labels, split, FER7, "FER-2013", "official", votes=votes, difference=difference),
    )


def test_a_download_that_kagglehub_holds_is_used_without_a_network(tmp_path, monkeypatch):
    publish(monkeypatch, 1, 1, 1)
    lay_out(tmp_path, csv_lines(fer_table(21)))
    faces = load_fer7()
    np.testing.assert_array_equal(faces.images[..., 0], fer_table(21)["images"])
    assert len(load_fer4()) == 12


def test_a_download_without_the_file_or_with_a_bad_one_is_refused(tmp_path):
    file = lay_out(tmp_path, ["emotion,pixels,Usage", "1,2 3,Training"])
    with pytest.raises(DataError, match=r"fer2013\.csv, line 2: Expected 2304 pixels"):
        load_fer7()
    file.rename(file.with_name("notes.txt"))
    with pytest.raises(DataError, match=r"Expected one of the following\. Received: a folder with notes\.txt"):
        load_fer7()


def test_a_download_with_other_counts_is_refused_and_not_kept(tmp_path, monkeypatch):
    lay_out(tmp_path, csv_lines(fer_table(21)))
    message = r"1: Expected deadskull7/.* Received other images\. train: expected 3,995 angry, .*; received 1 angry, 1 "
    with pytest.raises(DataError, match=message):
        load_fer7()
    publish(monkeypatch, 1, 1, 2)
    with pytest.raises(DataError, match=r"images\. test: expected 2 angry, .* 2 neutral; received 1 angry, [^;]*$"):
        load_fer4()
    assert nothing_cached(tmp_path)


@pytest.mark.parametrize(("protocol", "total"), [("official", [28709, 3589, 3589]), ("folders", [28821, 7066, 0])])
def test_the_published_counts_are_those_of_the_same_faces(protocol, total):
    assert np.sum(PUBLISHED_COUNTS[protocol], axis=1).tolist() == total
    assert np.sum(PUBLISHED_COUNTS[protocol], axis=0).tolist() == np.sum(PUBLISHED_COUNTS["official"], axis=0).tolist()


def test_ones_own_part_is_read_but_not_called_complete(tmp_path, monkeypatch):
    faces = load_fer7(write_csv(tmp_path / "part", csv_lines(fer_table(21))))
    assert "This is not the complete FER-2013. train: expected 3,995 angry, " in str(audit(faces))
    publish(monkeypatch, 1, 1, 1)
    assert "not the complete" not in str(audit(faces))
    assert "not the complete" not in str(audit(faces.select(classes=("sad", "happy"))))
    assert "not the complete" not in str(audit(faces.resplit(seed=0)))


@pytest.mark.parametrize("load", [load_fer7, load_fer4])
def test_without_data_one_error_says_the_ways_within_seconds(load):
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        load()
    assert time.perf_counter() - start < 10
    message = str(caught.value)
    for words in ("FER_KERAS_DATA", "kagglehub.login()", "Pass its path", "fer2013.csv", "--data PATH", KAGGLE):
        assert words in message


def test_without_kagglehub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"FER-2013 is not here(?s:.*)kagglehub is not installed: pip install"):
        load_fer7()


def test_the_places_are_asked_in_order(tmp_path, monkeypatch):
    lay_out(tmp_path, csv_lines(fer_table(7)))
    with monkeypatch.context() as patch:
        publish(patch, 1, 0, 0)
        assert len(load_fer7()) == 7
    keep_whole(votes=False, value=1)
    assert len(load_fer7()) == 35_887
    variable = write_csv(tmp_path / "variable", csv_lines(fer_table(14)))
    monkeypatch.setenv("FER_KERAS_DATA", str(variable.parent))
    assert len(load_fer7()) == 14
    assert len(load_fer7(write_csv(tmp_path / "path", csv_lines(fer_table(21))))) == 21


def test_only_a_whole_copy_in_the_cache_is_taken_and_rather_one_with_votes(tmp_path):
    load_fer7(write_csv(tmp_path / "part", csv_lines(fer_table(7))))
    keep_whole(votes=True, value=3, difference="one image less")
    with pytest.raises(DataError, match="FER-2013 is not here"):
        load_fer7()
    keep_whole(votes=True, value=1)
    keep_whole(votes=False, value=2)
    assert load_fer7().images.max() == 1
    with pytest.raises(DataError, match=r"The cached FER-2013: Expected the course set"):
        load_fer4(protocol="course")
    with pytest.raises(DataError, match=r"The cached FER-2013: Expected the own split"):
        load_fer7(protocol="own")


def test_a_variable_that_points_nowhere_is_said(tmp_path, monkeypatch):
    lay_out(tmp_path, csv_lines(fer_table(7)))
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"FER_KERAS_DATA=.*nowhere: Expected FER-2013 there"):
        load_fer7()
