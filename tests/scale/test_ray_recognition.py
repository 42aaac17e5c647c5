"""Recognition on Ray: the rows of one process, resumed where it was killed, whatever lies among the pictures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from process_tree import below

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recognition import ray_folders
from fer_keras.recognition.ray_folders import Worker, begin, find_pictures, pictures_of

ray, pa, parquet = (pytest.importorskip(name) for name in ("ray", "pyarrow", "pyarrow.parquet"))
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray.*")  # Ray deprecates what it reads itself
OPTIONS = {"network": "mini-xception", "detector": "haar"}


@pytest.fixture(scope="module")
def ray_of_two():
    with ray_cluster(cores=2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_folders, "FEWEST_PICTURES", 4)
        yield


def jpeg(image):
    return cv2.imencode(".jpg", image)[1].tobytes()


ASTRONAUT = skimage.data.astronaut()[:210, :330, ::-1]
FACES = [jpeg(ASTRONAUT[10 + number % 5 :, 130 + number % 7 :]) for number in range(40)]


def fill(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def assert_same(found, expected):
    """Check that a folder has the rows of a table, of the same types, in whatever order."""
    texts = dict.fromkeys(("picture", "status", "emotion", "error"), "str")
    tables = (table.sort_values(["picture", "face"], ignore_index=True) for table in (pd.read_parquet(found), expected))
    pd.testing.assert_frame_equal(*(table.astype(texts) for table in tables), rtol=1e-5)


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def test_the_rows_are_those_of_one_process_and_new_pictures_join_them(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "pictures", tmp_path / "pictures" / "faces"
    two, blank = np.hstack([ASTRONAUT[10:, 130:]] * 2), np.full((60, 90, 3), 128, np.uint8)
    odd = {"cut.jpg": FACES[0][:2000], "empty.gif": b"", "notes.txt": b"happy", "blank.jpg": jpeg(blank)}
    latin = os.fsdecode(b"caf\xe9 'u.jpg")  # no text, as file systems allow
    fill(folder, odd | {f"more/{number}.jpg": face for number, face in enumerate(FACES[:9])})
    fill(folder, {"two faces.jpg": jpeg(two), latin: FACES[0]})
    assert fer_keras.recognize_on_ray(folder, out, **OPTIONS) == (out, 0, 14, 12, 2)
    assert capfd.readouterr() == ("", ""), "Ray says nothing"
    assert ray.is_initialized(), "whoever started a Ray ends it"
    expected = fer_keras.recognize_folder(folder, **OPTIONS)
    assert_same(out, expected)
    assert expected.status.value_counts().to_dict() == {"ok": 12, "error": 2, "no face": 1}
    assert list(expected.face[expected.picture == "two faces.jpg"]) == [1, 2]
    before = stamps(out)
    assert (len(before), list(out.glob(".*"))) == (4, []), "parts of four, and nothing is left over"
    nothing = fer_keras.recognize_on_ray(folder, out, address="no.such.host:1", **OPTIONS)
    assert nothing == (out, 14, 0, 0, 0), "with nothing to do, no cluster is asked for"
    fill(folder, {"new.jpg": FACES[5]})
    assert fer_keras.recognize_on_ray(folder, out, **OPTIONS) == (out, 14, 1, 1, 0)
    assert before.items() <= stamps(out).items(), "what was there is not written again"
    assert_same(out, fer_keras.recognize_folder(folder, **OPTIONS))


def test_rows_of_parquet_files_are_pictures(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "tables", tmp_path / "faces"
    names, contents = [f"{number}.jpg" for number in range(9)], FACES[:9]
    cells = [{"bytes": content, "path": name} for name, content in zip(names, contents, strict=True)]
    tables = {
        "train/hugging_face": {"image": cells[:4], "label": [0, 1, 2, 3]},
        "of_ray": {"bytes": pa.array(contents[4:6], pa.large_binary()), "path": names[4:6]},
        "img2dataset": {"key": names[6:8], "jpg": contents[6:8], "caption": ["a", "b"]},
        "nameless": {"anything": [contents[8], None, b"no picture"]},
    }
    fill(folder, {"_metadata.parquet": b"", "train/beside.jpg": FACES[1]})
    for name, columns in tables.items():
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=3)
    command = f"recognize {folder} --ray --out-data {out} --workers 1 --weights mini-xception --detector haar".split()
    assert main(command) == 0
    words = f"{out}: 10 faces in 12 pictures\n", "2 pictures cannot be read: the column `error` says why\n"
    assert capfd.readouterr() == words
    table, before = pd.read_parquet(out).set_index("picture"), stamps(out)
    nameless = [f"nameless.parquet#{row}" for row in range(3)]
    assert sorted(table.index) == [*names[:8], *nameless, "train/beside.jpg"]
    assert table.error.dropna().str.startswith("Expected ").sum() == 2
    for name, content in zip([*names[:8], nameless[0]], contents, strict=True):
        (face,) = fer_keras.recognize(content, **OPTIONS)
        values = table.loc[name, ["left", "top", "width", "height", "confidence"]]
        assert tuple(values) == pytest.approx((*face.box, face.confidence), rel=1e-5)
    assert main(command) == 0
    assert capfd.readouterr().out == f"{out}: 0 faces in 0 pictures, 12 more were done before\n"
    assert stamps(out) == before


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
def test_killed_and_started_again_it_does_no_picture_twice(ray_of_two, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "faces"
    fill(folder, {f"more/{number}.jpg": face for number, face in enumerate(FACES)})
    script = f"""
import fer_keras.recognition.ray_folders as ray_folders
ray_folders.FEWEST_PICTURES = 4
ray_folders.recognize_on_ray({str(folder)!r}, {str(out)!r}, workers=1, **{OPTIONS})
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 240
        while len(stamps(out)) < 2 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
        for pid in (*below(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
    before = stamps(out)
    assert pd.read_parquet(out).picture.nunique() == 4 * len(before), "files are whole"
    found = fer_keras.recognize_on_ray(folder, out, workers=1, **OPTIONS)
    assert before.items() <= stamps(out).items(), "what was there is not done again"
    assert (found.before, found.pictures) == (4 * len(before), 40 - 4 * len(before))
    assert not list(out.glob(".*"))
    assert_same(out, fer_keras.recognize_folder(folder, **OPTIONS))


def test_a_worker_that_stops_or_dies_is_an_error_of_one_sentence(ray_of_two, tmp_path, monkeypatch, capfd):
    fill(tmp_path, {"a.jpg": FACES[0]})

    class Mortal(Worker):
        def write(self, part):
            self.recognizer.see = lambda source: os.kill(os.getpid(), signal.SIGKILL)
            return super().write(part)

    class Failing(Worker):
        def write(self, part):
            raise OSError("No space left on device")

    for worker, workers, words in (
        (Worker, 0, r"must be 1 to 2, .* Received: 0"),
        (Worker, 3, r"must be 1 to 2, .* Received: 3"),
        (Failing, None, r"A worker stopped: OSError: No space left on device .* goes on from there"),
        (Mortal, None, r"a\.jpg to a\.jpg: .*at which the process that reads it ends\. .* goes on"),
    ):
        monkeypatch.setattr(ray_folders, "Worker", worker)
        with pytest.raises(ValueError, match=words):
            fer_keras.recognize_on_ray(tmp_path, tmp_path / "faces", workers=workers, **OPTIONS)
        assert worker is Mortal or capfd.readouterr() == ("", "")
    assert not stamps(tmp_path / "faces")


def test_a_worker_has_one_thread_and_needs_no_keras(tmp_path):
    fill(tmp_path, {"a.jpg": FACES[0]})
    script = """
import json, pickle, sys, cv2
from fer_keras.recognition.ray_folders import Recognizer, Worker
worker = Worker(".", pickle.dumps(Recognizer("mini-xception", detector="haar")))
print(worker({"part": json.dumps({"folder": ".", "names": ["a.jpg"], "target": "a.parquet"})}))
print(cv2.getNumThreads(), worker.recognizer.network.session.get_session_options().intra_op_num_threads)
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.check_output([sys.executable, "-c", script], env=environment, cwd=tmp_path, text=True)
    assert done == "{'pictures': 1, 'faces': 1, 'errors': 0}\n1 1\n[]\n"


def test_rows_are_read_from_the_middle_of_groups_and_past_corruption(tmp_path):
    path, part = tmp_path / "a.parquet", {"folder": str(tmp_path), "file": "a.parquet"}
    contents = [f"{number}".encode() for number in range(100)]
    table = pa.table({"bytes": contents, "id": list(range(1000, 1100))})
    parquet.write_table(table, path, row_group_size=40, compression="none", use_dictionary=False)
    for start, stop in ((0, 100), (39, 41), (37, 95), (80, 100), (5, 6)):
        found = list(pictures_of(part | {"start": start, "pictures": stop - start}))
        assert found == [(f"{1000 + number}", contents[number]) for number in range(start, stop)]
    content = bytearray(path.read_bytes())
    offset = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    found = list(pictures_of(part | {"start": 24, "pictures": 36}))
    assert [source for _, source in found[:8]] == contents[24:32]
    assert [name for name, _ in found[16:]] == [f"a.parquet#{number}" for number in range(40, 60)]
    assert all("Expected a whole Parquet file" in str(source) for _, source in found[16:])


@pytest.mark.parametrize("columns", [{"label": [1]}, {"one": [b""], "two": [b""]}, {"image": [{"height": 1}]}])
def test_tables_without_pictures_are_errors(tmp_path, columns):
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"Expected a column with the bytes .*Received the columns: "):
        find_pictures(tmp_path)


def test_faces_of_other_settings_are_not_mixed_and_parts_keep_their_size(tmp_path):
    begin(tmp_path / "faces", [0.5, "a"], 4)
    with pytest.raises(DataError, match=r"Expected the settings .*0\.5.*Received: .*0\.9.*Choose another"):
        begin(tmp_path / "faces", [0.9, "a"], 4)
    assert begin(tmp_path / "faces", [0.5, "a"], 16) == 4


def test_commands_that_make_no_sense(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    fill(tmp_path, {"pictures/a.jpg": FACES[0], "mine/thesis.tex": b""})
    for arguments, words in (
        ("pictures --ray", "--ray needs --out-data DIR"),
        ("pictures --ray --out-data x --csv y", "no --out, --csv or --json"),
        ("pictures --out-data x", "--out-data and --workers are for --ray"),
        ("pictures b --ray --out-data x", "one folder or .parquet file. Received: 2"),
        ("mine --ray --out-data x", "Expected a folder of pictures, or a .parquet file of them. Received: none"),
        ("mine/thesis.tex --ray --out-data x", "Received: a file"),
        ("no --ray --out-data x", "Received: nothing there"),
        ("pictures --ray --out-data mine", "mine: Expected a new or empty folder"),
        ("pictures --ray --out-data mine/thesis.tex", "thesis.tex: Expected a new or empty folder"),
        ("pictures --ray --out-data x --weights nonsense.onnx", "nonsense.onnx: Expected an .onnx file"),
        ("pictures --ray localhost:1 --out-data x", "Expected a Ray cluster at"),
    ):
        assert main(["recognize", *arguments.split()]) == 2
        assert words in capsys.readouterr().err
