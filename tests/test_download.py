"""Where the data is looked for, and what is said when it is nowhere. No test reaches a network."""

import sys
import time

import numpy as np
import pytest
from data_files import csv_lines, fer_table, set_up, write_csv

from fer_keras.data import DataError, FaceDataset, cache, load_fer4, load_fer7
from fer_keras.data.download import HANDLE, download
from fer_keras.labels import FER7


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
    owner, name, _, version = HANDLE.split("/")
    folder = tmp_path / "kagglehub" / "datasets" / owner / name
    file = write_csv(folder / "versions" / version, lines)
    (folder / f"{version}.complete").touch()
    return file


def keep_whole(*, votes, value):
    """Put a made-up whole FER-2013 (of tiny faces) into the cache."""
    images = np.full((35_887, 1, 1, 1), value, np.uint8)
    split = np.full(35_887, "train", "<U10")
    votes = np.ones((35_887, 10), np.float32) if votes else None
    faces = FaceDataset(images, np.arange(35_887) % 7, split, FER7, "FER-2013", "official", votes=votes)
    cache.store(f"whole-{value}", faces)


def test_a_download_that_kagglehub_holds_is_used_without_a_network(tmp_path):
    file = lay_out(tmp_path, csv_lines(fer_table(21)))
    assert download() == file.parent
    faces = load_fer7()
    np.testing.assert_array_equal(faces.images[..., 0], fer_table(21)["images"])
    assert len(load_fer4()) == 12


def test_a_download_without_the_file_or_with_a_bad_one_is_refused(tmp_path):
    file = lay_out(tmp_path, ["emotion,pixels,Usage", "1,2 3,Training"])
    with pytest.raises(DataError, match=r"fer2013\.csv, line 2: Expected 2304 pixels"):
        load_fer7()
    file.rename(file.with_name("other.csv"))
    with pytest.raises(DataError, match=r"Expected fer2013\.csv in the download of .* Received: other\.csv"):
        load_fer7()


@pytest.mark.parametrize("load", [load_fer7, load_fer4])
def test_without_data_one_error_says_the_ways_within_seconds(load):
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        load()
    assert time.perf_counter() - start < 10
    message = str(caught.value)
    for words in ("FER_KERAS_DATA", "kagglehub.login()", "Pass its path", "fer2013.csv", "--data PATH", HANDLE):
        assert words in message


def test_without_kagglehub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"FER-2013 is not here(?s:.*)kagglehub is not installed: pip install"):
        load_fer7()


def test_the_places_are_asked_in_order(tmp_path, monkeypatch):
    lay_out(tmp_path, csv_lines(fer_table(7)))
    assert len(load_fer7()) == 7
    keep_whole(votes=False, value=1)
    assert len(load_fer7()) == 35_887
    variable = write_csv(tmp_path / "variable", csv_lines(fer_table(14)))
    monkeypatch.setenv("FER_KERAS_DATA", str(variable.parent))
    assert len(load_fer7()) == 14
    assert len(load_fer7(write_csv(tmp_path / "path", csv_lines(fer_table(21))))) == 21


def test_only_a_whole_copy_in_the_cache_is_taken_and_rather_one_with_votes(tmp_path):
    load_fer7(write_csv(tmp_path / "part", csv_lines(fer_table(7))))
    with pytest.raises(DataError, match="FER-2013 is not here"):
        load_fer7()
    keep_whole(votes=True, value=1)
    keep_whole(votes=False, value=2)
    assert load_fer7().images.max() == 1
    with pytest.raises(DataError, match=r"The cached FER-2013: Expected the course set"):
        load_fer4(protocol="course")


def test_a_variable_that_points_nowhere_is_said(tmp_path, monkeypatch):
    lay_out(tmp_path, csv_lines(fer_table(7)))
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"FER_KERAS_DATA=.*nowhere: Expected FER-2013 there"):
        load_fer7()
