"""A picture is explained from the command line, its heatmaps painted where the faces are."""

import numpy as np
import pytest
from PIL import Image

from fer_keras.__main__ import main
from fer_keras.recognition.heat import painted


@pytest.fixture
def photo(tmp_path):
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.astronaut()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_picture_is_explained_from_the_command_line(photo, monkeypatch, capsys):
    pytest.importorskip("cv2")
    monkeypatch.chdir(photo.parent)
    assert main(["explain", str(photo), "--weights", "mini-xception"]) == 0
    face, written = capsys.readouterr().out.splitlines()
    assert face.startswith("happy 0.9")
    assert "share of the heatmap: mouth 0." in face
    assert written == "photo-explained.png"
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (photo, written))
    changed = (before != after).any(axis=-1)
    assert changed[140:165, 200:260].mean() > 0.5  # the smile
    assert not changed[300:].any()


def test_a_picture_without_a_face_is_written_as_it_is(tmp_path, capsys):
    pytest.importorskip("cv2")
    Image.fromarray(np.full((90, 90, 3), 120, np.uint8)).save(tmp_path / "empty.png")
    target = tmp_path / "out.png"
    assert main(["explain", str(tmp_path / "empty.png"), "--weights", "mini-xception", "--out", str(target)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(target)]
    assert (np.asarray(Image.open(target)) == 120).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the path of a picture, or --record"),
        (["x.png", "--record"], "the path of a picture, or --record"),
        (["PHOTO", "--out", "PHOTO", "--weights", "mini-xception"], "which would be lost"),
        (["PHOTO", "--method", "lime", "--weights", "mini-xception"], "no method 'lime'"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_line(arguments, message, photo, monkeypatch, capsys):
    monkeypatch.chdir(photo.parent)
    assert main(["explain", *[str(photo) if word == "PHOTO" else word for word in arguments]]) == 2
    assert message in capsys.readouterr().err


def test_heat_is_painted_where_the_square_lies_and_nowhere_else():
    grey, hot = np.full((20, 30, 3), 80, np.uint8), np.ones((6, 6), np.float32)
    inside = painted(grey, hot, (4, 5, 10, 10))
    np.testing.assert_array_equal(np.argwhere((inside != 80).any(axis=-1)).min(axis=0), [5, 4])
    np.testing.assert_array_equal(np.argwhere((inside != 80).any(axis=-1)).max(axis=0), [14, 13])
    beyond = painted(grey, hot, (-6, 14, 12, 12))
    assert (beyond != 80).any(axis=-1).sum() == 6 * 6
    assert (grey == 80).all()
    left_half = np.zeros((6, 6), np.float32)
    left_half[:, :3] = 1
    assert not (painted(grey, left_half, (-6, 0, 12, 12))[:, 2:] != 80).any()  # the hot half lies beyond the edge
