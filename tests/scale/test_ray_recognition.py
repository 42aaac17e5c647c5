"""Recognition on Ray: the rows of one process, resumed where it was killed, whatever lies among the pictures."""

# ruff: noqa: E402 - without Ray, nothing below is imported

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

ray = pytest.importorskip("ray")

import pyarrow as pa
from pyarrow import parquet

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recognition import ray_folders
from fer_keras.recognition.ray_folders import Worker, begin, find_pictures, parts_left, pictures_of
from fer_keras.recognition.recognizer import Recognizer

# Ray deprecates what it reads itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray.*")
OPTIONS = {"network": "mini-xception", "detector": "haar"}
WITH = ["--weights", "mini-xception", "--detector", "haar"]


@pytest.fixture(scope="module")
def ray_of_two():
    with ray_cluster(cores=2):
        yield


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(ray_folders, "FEWEST_PICTURES", 4)


def jpeg(number=0):
    """The astronaut's face, cut out a little differently each time."""
    astronaut, stream = Image.fromarray(np.asarray(skimage.data.astronaut())), io.BytesIO()
    astronaut.crop((130 + number % 7, 10 + number % 5, 330, 210)).save(stream, "JPEG")
    return stream.getvalue()


def fill(folder, number=20):
    for each in range(number):
        (folder / "more").mkdir(parents=True, exist_ok=True)
        (folder / "more" / f"{each}.jpg").write_bytes(jpeg(each))


def read(folder):
    return pd.read_parquet(folder).sort_values(["picture", "face"], ignore_index=True)


def assert_same(found, expected):
    """Check that two tables have the same rows, of the same types, in whatever order."""
    texts = dict.fromkeys(("picture", "status", "emotion", "error"), "str")
    expected = expected.sort_values(["picture", "face"], ignore_index=True).astype(texts)
    pd.testing.assert_frame_equal(found.astype(texts), expected, rtol=1e-5)


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def test_the_rows_are_those_of_one_process_and_new_pictures_join_them(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "pictures", tmp_path / "pictures" / "faces"
    fill(folder)
    Image.new("RGB", (90, 60), "grey").save(folder / "blank.png")
    (folder / "cut.jpg").write_bytes(jpeg()[:2000])
    (folder / "empty.gif").write_bytes(b"")
    (folder / "notes.txt").write_text("happy")
    with open(os.path.join(os.fsencode(folder), b"caf\xe9 'u.jpg"), "wb") as file:  # no text, as file systems allow
        file.write(jpeg())
    found = fer_keras.recognize_on_ray(folder, out, **OPTIONS)
    assert capfd.readouterr() == ("", ""), "Ray says nothing"
    assert ray.is_initialized(), "whoever started a Ray ends it"
    expected = fer_keras.recognize_folder(folder, **OPTIONS)
    assert_same(read(out), expected)
    assert list(pd.read_parquet(out).columns) == list(expected.columns)
    assert expected.status.value_counts().to_dict() == {"ok": 21, "error": 2, "no face": 1}
    assert found == (out, 0, 24, 21, 2)
    before = stamps(out)
    assert len(before) == 6, "parts of four"
    assert not list(out.glob(".*")), "nothing is left over"

    done = fer_keras.recognize_on_ray(folder, out, address="no.such.host:1", **OPTIONS)
    assert done == (out, 24, 0, 0, 0), "with nothing to do, no cluster is asked for"
    (folder / "new.jpg").write_bytes(jpeg(5))
    assert fer_keras.recognize_on_ray(folder, out, **OPTIONS) == (out, 24, 1, 1, 0)
    assert before.items() <= stamps(out).items(), "what was there is not written again"
    assert_same(read(out), fer_keras.recognize_folder(folder, **OPTIONS))


def test_rows_of_parquet_files_are_pictures(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "tables", tmp_path / "faces"
    names, contents = [f"{number}.jpg" for number in range(9)], [jpeg(number) for number in range(9)]
    cells = [{"bytes": content, "path": name} for name, content in zip(names, contents, strict=True)]
    tables = {
        "train/hugging_face": {"image": cells[:4], "label": [0, 1, 2, 3]},
        "of_ray": {"bytes": pa.array(contents[4:6], pa.large_binary()), "path": names[4:6]},
        "img2dataset": {"key": names[6:8], "jpg": contents[6:8], "caption": ["a", "b"]},
        "nameless": {"anything": [contents[8], None, b"no picture"]},
    }
    for name, columns in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=3)
    (folder / "_metadata.parquet").write_bytes(b"")
    (folder / "beside.jpg").write_bytes(jpeg(1))
    command = ["recognize", str(folder), "--ray", "--out-data", str(out), "--workers", "1", *WITH]
    assert main(command) == 0
    printed = capfd.readouterr()
    assert printed.out == f"{out}: 10 faces in 12 pictures\n"
    assert printed.err == "2 pictures cannot be read: the column `error` says why\n"
    table, before = read(out).set_index("picture"), stamps(out)
    assert sorted(table.index) == sorted([*names[:8], *(f"nameless.parquet#{row}" for row in range(3)), "beside.jpg"])
    assert table.error.dropna().str.startswith("Expected ").sum() == 2
    recognizer = Recognizer(**OPTIONS)
    for name, content in zip([*names[:8], "nameless.parquet#0"], contents, strict=True):
        (face,) = recognizer.recognize(content)
        assert table.confidence[name] == pytest.approx(face.confidence, rel=1e-5)
        assert tuple(table.loc[name, ["left", "top", "width", "height"]]) == face.box
    assert main(command) == 0
    assert capfd.readouterr().out == f"{out}: 0 faces in 0 pictures, 12 more were done before\n"
    assert stamps(out) == before


SCRIPT = """
import sys, fer_keras
from fer_keras.recognition import ray_folders
ray_folders.FEWEST_PICTURES = 4
fer_keras.recognize_on_ray(*sys.argv[1:], workers=1, network="mini-xception", detector="haar")
"""


def descendants(pid):
    """The ids of a process and of all that it started, theirs first."""
    children = [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    return [*(each for child in children for each in descendants(child)), int(pid)]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
def test_killed_and_started_again_it_does_no_picture_twice(ray_of_two, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "faces"
    fill(folder, 80)
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(out)], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 240
        while len(stamps(out)) < 3 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
    before = stamps(out)
    assert 3 <= len(before) < 19
    assert pd.read_parquet(out).picture.nunique() == 4 * len(before), "files are whole"
    found = fer_keras.recognize_on_ray(folder, out, **OPTIONS)
    assert before.items() <= stamps(out).items(), "what was there is not done again"
    assert (found.before, found.pictures) == (4 * len(before), 80 - 4 * len(before))
    assert not list(out.glob(".*"))
    assert_same(read(out), fer_keras.recognize_folder(folder, **OPTIONS))


def test_a_worker_that_stops_or_dies_is_an_error_of_one_sentence(ray_of_two, tmp_path, monkeypatch, capfd):
    (tmp_path / "a.jpg").write_bytes(jpeg())

    class Mortal(Worker):
        def __init__(self, out, recognizer):
            super().__init__(out, recognizer)
            self.recognizer.see = lambda source: os.kill(os.getpid(), signal.SIGKILL)

    class Failing(Worker):
        def write(self, part):
            raise OSError("No space left on device")

    with pytest.raises(ValueError, match=r"must be 1 to 2, .* Received: 3"):
        fer_keras.recognize_on_ray(tmp_path, tmp_path / "faces", workers=3, **OPTIONS)
    monkeypatch.setattr(ray_folders, "Worker", Failing)
    with pytest.raises(ValueError, match=r"A worker stopped: OSError: No space left on device .* goes on from there"):
        fer_keras.recognize_on_ray(tmp_path, tmp_path / "faces", **OPTIONS)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(ray_folders, "Worker", Mortal)
    with pytest.raises(ValueError, match=r"a\.jpg to a\.jpg: .*at which the process that reads it ends\. .* goes on"):
        fer_keras.recognize_on_ray(tmp_path, tmp_path / "faces", **OPTIONS)
    assert not stamps(tmp_path / "faces")


def test_a_worker_has_one_thread_and_needs_no_keras(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    begin(tmp_path / "faces", [], 4)
    (part,) = parts_left(*find_pictures(tmp_path), tmp_path / "faces", 4)
    (tmp_path / "arguments").write_bytes(pickle.dumps((pickle.dumps(Recognizer(**OPTIONS)), json.dumps(part))))
    script = """
import pickle, sys
from fer_keras.recognition.ray_folders import Worker
recognizer, part = pickle.load(open("arguments", "rb"))
worker = Worker("faces", recognizer)
print(worker({"part": part}))
import cv2
print(cv2.getNumThreads(), worker.recognizer.network.session.get_session_options().intra_op_num_threads)
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, **options)
    assert done.stdout == "{'pictures': 1, 'faces': 1, 'errors': 0}\n1 1\n[]\n"


def test_rows_are_read_from_the_middle_of_groups_and_past_damage(tmp_path):
    path, part = tmp_path / "a.parquet", {"folder": str(tmp_path), "file": "a.parquet"}
    table = pa.table({"bytes": [f"{number}".encode() for number in range(100)], "id": list(range(1000, 1100))})
    parquet.write_table(table, path, row_group_size=40, compression="none", use_dictionary=False)
    for start, stop in ((0, 100), (39, 41), (37, 95), (80, 100), (5, 6)):
        found = list(pictures_of(part | {"start": start, "pictures": stop - start}))
        assert found == [(f"{1000 + number}", f"{number}".encode()) for number in range(start, stop)]
    content = bytearray(path.read_bytes())
    offset = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    found = list(pictures_of(part | {"start": 24, "pictures": 36}))
    assert len(found) == 36
    assert [source for _, source in found[:8]] == [f"{number}".encode() for number in range(24, 32)]
    assert [name for name, _ in found[-20:]] == [f"a.parquet#{number}" for number in range(40, 60)]
    assert all("Expected a whole Parquet file" in str(source) for _, source in found[-20:])


@pytest.mark.parametrize("columns", [{"label": [1]}, {"one": [b""], "two": [b""]}, {"image": [{"height": 1}]}])
def test_tables_without_pictures_are_refused(tmp_path, columns):
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"Expected a column with the bytes .*Received the columns: "):
        find_pictures(tmp_path)


def test_faces_of_other_settings_are_not_mixed_and_parts_keep_their_size(tmp_path):
    begin(tmp_path / "faces", [0.5, "a"], 4)
    with pytest.raises(DataError, match=r"Expected the settings .*0\.5.*Received: .*0\.9.*Choose another"):
        begin(tmp_path / "faces", [0.9, "a"], 4)
    assert begin(tmp_path / "faces", [0.5, "a"], 16) == 4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    for place in ("mine", "mine/thesis.tex"):
        with pytest.raises(DataError, match="Expected a new or empty folder"):
            begin(tmp_path / place, [], 4)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ray"], "--ray needs --out-data DIR"),
        (["--ray", "--out-data", "x", "--csv", "y"], "no --out, --csv or --json"),
        (["--out-data", "x"], "--out-data and --workers are for --ray"),
        (["b", "--ray", "--out-data", "x"], "one folder or .parquet file. Received: 2"),
        (["--ray", "--out-data", "x", *WITH], "Expected a folder of pictures"),
        (["--ray", "--out-data", "x", "--weights", "nonsense.onnx"], "nonsense.onnx: Expected an .onnx file"),
        (["--ray", "localhost:1", "--out-data", "x", *WITH], "Expected a Ray cluster at"),
    ],
)
def test_commands_that_make_no_sense(tmp_path, monkeypatch, capsys, more, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    if "localhost:1" in more:
        (tmp_path / "a.jpg").write_bytes(jpeg())
    assert main(["recognize", ".", *more]) == 2
    assert words in capsys.readouterr().err


def test_what_is_no_folder_and_a_missing_ray_are_errors_that_help(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    for name, what in (("a.zip", "a file"), ("no", "nothing there")):
        with pytest.raises(DataError, match=f"Expected a folder of pictures, or a .parquet file .*Received: {what}"):
            find_pictures(tmp_path / name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "fer_keras\[ray\]"'):
        fer_keras.recognize_on_ray(tmp_path, tmp_path / "faces", **OPTIONS)
