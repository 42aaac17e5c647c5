"""What all tests share: FER-2013 where there is one, and folders of their own for whatever is written."""

import os
from pathlib import Path

import data_files
import pytest

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4

DATA = os.environ.get("FER_KERAS_DATA")  # an absolute path, as the checkout's conftest.py sets it


@pytest.fixture(scope="session")
def fer2013_path():
    """The folder or file of FER-2013; tests that ask for it are skipped where there is none."""
    if not DATA:
        pytest.skip("FER_KERAS_DATA is not set")
    return Path(DATA)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Give a test a cache of its own, and no data from the environment."""
    data_files.set_up(monkeypatch, tmp_path)


@pytest.fixture
def fer2013(fer2013_path, monkeypatch, tmp_path_factory):
    """The same, with one cache for all tests that read it whole."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path_factory.getbasetemp() / "fer2013_cache"))
    return fer2013_path


@pytest.fixture(scope="session")
def faces():
    """Synthetic faces of four classes."""
    return make_faces(20, classes=FER4, seed=1)


@pytest.fixture
def table():
    """The rows of a small made-up fer2013.csv."""
    return data_files.fer_table(42)


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Point results, figures, build and cache to folders below `tmp_path`; return it."""
    for name in ("RESULTS", "FIGURES", "BUILD", "CACHE"):
        monkeypatch.setenv(f"FER_KERAS_{name}", str(tmp_path / name.lower()))
    return tmp_path


@pytest.fixture
def recorded_project(tmp_path, monkeypatch):
    """A project with made-up records; returns its folder."""
    import made_up

    from fer_keras import paths

    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    monkeypatch.delenv("FER_KERAS_RESULTS", raising=False)
    made_up.results(tmp_path / "reports" / "results")
    return tmp_path
