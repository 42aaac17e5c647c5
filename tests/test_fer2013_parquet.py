"""The reader of the Parquet files."""

import sys

import numpy as np
import pytest
from data_files import (
    claimed,
    expect,
    fer_table,
    noise,
    nothing_cached,
    parquet_frame,
    png,
    set_up,
    write_parquet,
)

from fer_keras.data import DataError, load_fer7


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    set_up(monkeypatch, tmp_path)


@pytest.fixture
def table():
    return fer_table(42)


def test_parquet_is_read_with_its_votes(tmp_path, table):
    faces = load_fer7(write_parquet(tmp_path / "data", parquet_frame(table)))
    order = np.argsort(faces.rows)
    expect(faces.take(order), table)
    np.testing.assert_array_equal(faces.votes[order], table["votes"])
    assert faces.votes.dtype == np.float32
    assert "FER+" in faces.source


def test_parquet_without_votes_has_none(tmp_path, table):
    frame = parquet_frame(table)
    faces = load_fer7(write_parquet(tmp_path, frame[["row", "Usage", "emotion", "png"]]))
    assert faces.votes is None
    assert "FER+" not in faces.source


BAD_CELLS = {
    "label": ("emotion", 7, r"emotion in 0\.\.6. Received: 7"),
    "usage": ("Usage", "Dev", "Usage of Training, .* Received: 'Dev'"),
    "size": ("png", png(np.zeros((48, 47), np.uint8)), "Expected 48x48 pixels. Received: 48x47"),
    "cut": ("png", png(noise(1)[0])[:900], "Expected a whole picture"),
    "no-picture": ("png", b"nothing", "Expected a whole picture"),
    "missing": ("png", None, "Expected the bytes of a PNG"),
    "absurd": ("png", claimed(60_000, 1_000), "Expected a picture of at most 50,000,000 pixels. Received: 60000x1000"),
}


@pytest.mark.parametrize(("column", "value", "message"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_bad_row_of_parquet_is_named_and_can_be_skipped(tmp_path, table, column, value, message):
    frame = parquet_frame(table)
    frame[column] = [*frame[column][:3], value, *frame[column][4:]]
    write_parquet(tmp_path / "data", frame)
    with pytest.raises(DataError, match=rf"fer2013-training\.parquet, row 3: .*{message}"):
        load_fer7(tmp_path / "data")
    assert nothing_cached(tmp_path)
    faces = load_fer7(tmp_path / "data", on_error="skip")
    assert sorted(faces.rows) == [row for row in range(42) if row != 3]
    np.testing.assert_array_equal(faces.votes, table["votes"][faces.rows])
    np.testing.assert_array_equal(faces.images[..., 0], table["images"][faces.rows])
    np.testing.assert_array_equal(faces.labels, table["emotion"][faces.rows])
    assert len(faces.skipped) == 1
    assert nothing_cached(tmp_path)


def test_parquet_with_a_column_missing_or_cut_short_is_refused(tmp_path, table):
    frame = parquet_frame(table)
    with pytest.raises(DataError, match=r"training\.parquet: Expected the columns .* without png"):
        load_fer7(write_parquet(tmp_path / "a", frame.drop(columns="png")))
    file = write_parquet(tmp_path / "b", frame) / "fer2013-publictest.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"publictest\.parquet: Expected a whole Parquet file"):
        load_fer7(tmp_path / "b")
    assert nothing_cached(tmp_path)


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, table, monkeypatch):
    write_parquet(tmp_path, parquet_frame(table))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'fer_keras\[data\]'"):
        load_fer7(tmp_path)
