"""What ships is looked into once a file, on validation only; a picture is explained from the command line."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fer_keras.__main__ import main
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation.heat import REGIONS
from fer_keras.evaluation.robustness import DAMAGES
from fer_keras.labels import FER7
from fer_keras.models import weights
from fer_keras.recognition.heat import painted
from fer_keras.results import read_table
from fer_keras.training import inspection


@pytest.fixture
def quickly(own_folders, monkeypatch):
    """Let one network ship, few damages be done, and drawn faces be FER-2013; return the splits that were looked at."""
    folder, asked = own_folders / "weights", []
    folder.mkdir()
    for suffix in (".keras", ".json"):
        shutil.copy(weights.folder() / f"mini-xception{suffix}", folder)
    monkeypatch.setattr(weights, "folder", lambda: folder)
    monkeypatch.setattr(inspection, "robustness", lambda *given: asked.append(len(given[2])) or [{"accuracy": 0.5}])
    monkeypatch.setattr(inspection, "load_fer7", lambda path: drawn_faces(14, seed=1))
    monkeypatch.setattr(inspection, "MOST_OF_EACH", 1)
    return asked


def test_what_ships_is_measured_once_a_file(quickly, capsys):
    faces = drawn_faces(14, seed=1)["validation"]
    assert main(["explain", "--record"]) == 0
    assert "measured: mini-xception" in capsys.readouterr().out
    assert quickly == [len(faces[1])]
    found = read_table("explain")["mini-xception"]
    card = weights.load("mini-xception").card
    assert (found["sha256"], found["split"], found["classes"]) == (card["sha256"], "validation", list(FER7))
    assert 0 < found["num_images"] <= 7
    for fill in inspection.FILLS:
        maps = found["deletion"][fill]
        assert set(maps) == {"occlusion", "grad-cam", "grad-cam++", inspection.LAST_MAP, "chance", "single pixels"}
        starts = [one["curve"][0] for one in maps.values()]
        assert max(starts) - min(starts) < 1e-5
        assert set(maps["occlusion"]["sooner_than"]) == {"chance", "another face", "single pixels"}
        assert maps["occlusion"]["sooner_than"]["chance"]["mean"] > 0
    regions = next(iter(found["emotions"]["occlusion"].values()))["regions"]
    assert sum(regions[name]["mean"] for name in REGIONS) == pytest.approx(1, abs=1e-4)
    assert all(mean.shape == (48, 48) and mean.max() == 255 for mean in read_table("mean_heat").values())
    assert main(["explain", "--record"]) == 0
    assert "measured: all was" in capsys.readouterr().out
    assert len(quickly) == 1
    assert inspection.inspect(force=True) == ["mini-xception"]
    assert read_table("explain")["mini-xception"] == found


def test_what_is_recorded_is_of_the_files_that_ship():
    """Where a network was replaced, `python -m fer_keras explain --record` has to be run again."""
    for kind in ("explain", "robustness"):
        found = read_table(kind)
        assert "mini-xception" in found
        for name in set(found) & set(weights.shipped()):
            card = weights.read_card(weights.folder() / f"{name}.json")
            assert found[name]["sha256"] == card["sha256"], f"{kind}: {name} is another file now"
    for rows in (one["rows"] for one in read_table("robustness").values()):
        assert {row["kind"] for row in rows} == set(DAMAGES)


def test_the_recorded_damage_is_what_is_measured(fer2013_path):
    from fer_keras.data import load_fer7
    from fer_keras.evaluation.robustness import robustness

    network = weights.load("mini-xception")
    images, labels = load_fer7(fer2013_path)["validation"]
    found = robustness(network.predict, images, labels, kinds=("mouth covered",))
    expected = [row for row in read_table("robustness")["mini-xception"]["rows"] if row["kind"] == "mouth covered"]
    assert [row["accuracy"] for row in found] == pytest.approx([row["accuracy"] for row in expected], abs=2e-3)


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
    assert "share of the heat: mouth 0." in face
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
