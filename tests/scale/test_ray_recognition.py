"""Recognition on Ray: the rows of one process, taken up where it was killed, whatever lies among the pictures."""

# ruff: noqa: E402 - without Ray, nothing below is imported

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
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
from fer_keras.recognition import many, picture_parts
from fer_keras.recognition.face_files import begin, done, survivors, write_faces
from fer_keras.recognition.folders import NO_FACE
from fer_keras.recognition.picture_parts import Files, Rows, find_pictures, to_do
from fer_keras.recognition.picture_tables import read_rows
from fer_keras.recognition.recognizer import Recognizer

# Ray deprecates what it reads itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray.*")

NETWORK = "mini-xception"
WITH = ["--weights", NETWORK]
FACES = ("happy/a10.jpg", "happy/a2.jpg", "ümläut, 'quoted'.webp", *(f"more/{number}.jpg" for number in range(30)))


@pytest.fixture(scope="module")
def ray_of_two():
    with ray_cluster(cores=2):
        yield


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(picture_parts, "FEWEST_PICTURES", 4)


def encoded(picture, kind="JPEG"):
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def portrait(number=0):
    """The astronaut's face, cut out a little differently each time."""
    astronaut = Image.fromarray(np.asarray(skimage.data.astronaut()))
    return astronaut.crop((130 + number % 7, 10 + number % 5, 330, 210))


def fill(folder):
    """Put into a folder what people have: faces, several at once, none, what is broken, what is no picture."""
    for number, name in enumerate(FACES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        portrait(number).save(folder / name, quality=90)
    pair = Image.new("RGB", (400, 200))
    pair.paste(portrait(), (0, 0))
    pair.paste(portrait(3), (200, 0))
    pair.save(folder / "pair.png")
    Image.new("RGB", (90, 60), "grey").save(folder / "blank.png")
    (folder / "cut.png").write_bytes(encoded(portrait(), "PNG")[:2000])
    (folder / "empty.gif").write_bytes(b"")
    (folder / "notes.txt").write_text("happy")
    (folder / ".hidden.png").write_bytes(b"")
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.jpg"), "wb") as file:  # no text, as file systems allow
        file.write(encoded(portrait()))


def read(folder):
    return pd.read_parquet(folder).sort_values(["picture", "face"], ignore_index=True)


def assert_same(found, expected):
    """Check that two tables have the same rows, of the same types, in whatever order."""
    expected = expected.sort_values(["picture", "face"], ignore_index=True)
    texts = dict.fromkeys(("picture", "emotion", "error"), "str")
    pd.testing.assert_frame_equal(found.astype(texts), expected.astype(texts), rtol=1e-5)


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def test_the_rows_are_those_of_one_process_and_new_pictures_join_them(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "pictures", tmp_path / "pictures" / "faces"
    fill(folder)
    found = fer_keras.recognize_folder(folder, engine="ray", out=out, network=NETWORK)
    assert capfd.readouterr() == ("", ""), "Ray says nothing"
    assert ray.is_initialized(), "whoever started a Ray ends it"
    expected = fer_keras.recognize_folder(folder, network=NETWORK)
    assert_same(read(out), expected)
    assert list(pd.read_parquet(out).columns) == list(expected.columns)
    assert len(expected) == len(FACES) + 1 + 2 + 3
    assert Counter(expected.emotion.fillna("error"))["error"] == 2
    assert (found.before, found.pictures, found.faces, found.errors) == (0, len(FACES) + 5, len(FACES) + 3, 2)
    before = stamps(out)
    assert len(before) == 10, "parts of four"
    assert not list(out.glob(".*")), "nothing is left over"

    ray_less = fer_keras.recognize_folder(folder, engine="ray", out=out, network=NETWORK, address="no.such.host:1")
    assert (ray_less.before, ray_less.pictures) == (len(FACES) + 5, 0), "with nothing to do, no cluster is asked for"
    portrait(5).save(folder / "happy" / "a1.jpg")
    again = fer_keras.recognize_folder(folder, engine="ray", out=out, network=NETWORK)
    assert (again.before, again.pictures, again.faces) == (len(FACES) + 5, 1, 1)
    assert before.items() <= stamps(out).items(), "what was there is not written again"
    assert_same(read(out), fer_keras.recognize_folder(folder, network=NETWORK))


def write_tables(folder):
    """Write Parquet as common tools do; return a dict from the pictures' names to their bytes."""
    pictures = {f"{number}.jpg": encoded(portrait(number)) for number in range(9)}
    names, contents = list(pictures), list(pictures.values())
    cells = [{"bytes": content, "path": name} for name, content in pictures.items()]
    (folder / "train").mkdir(parents=True)
    hugging_face = pa.table({"image": cells[:4], "label": [0, 1, 2, 3]})
    parquet.write_table(hugging_face, folder / "train" / "0000.parquet", row_group_size=3)
    of_ray = pa.table({"bytes": pa.array(contents[4:6], pa.large_binary()), "path": names[4:6]})
    parquet.write_table(of_ray, folder / "of_ray.parquet")
    img2dataset = pa.table({"key": names[6:8], "jpg": contents[6:8], "caption": ["a", "b"]})
    parquet.write_table(img2dataset, folder / "img2dataset.parquet")
    nameless = pa.table({"anything": [contents[8], None, b"no picture"]})
    parquet.write_table(nameless, folder / "nameless.parquet")
    (folder / "_metadata.parquet").write_bytes(b"")
    nameless = {"nameless.parquet#0": contents[8], "nameless.parquet#1": None, "nameless.parquet#2": b"no picture"}
    return dict(zip(names[:8], contents[:8], strict=True)) | nameless


def test_rows_of_parquet_files_are_pictures(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "tables", tmp_path / "faces"
    pictures = write_tables(folder)
    portrait(1).save(folder / "beside.png")
    command = ["recognize", str(folder), "--ray", "--out-data", str(out), "--workers", "1", *WITH]
    assert main(command) == 0
    said = capfd.readouterr()
    assert said.out == f"{out}: 10 faces in 12 pictures\n"
    assert said.err == "2 pictures cannot be read: the column `error` says why\n"
    table = read(out).set_index("picture")
    assert sorted(table.index) == sorted([*pictures, "beside.png"])
    recognizer = Recognizer(NETWORK)
    for name, content in pictures.items():
        if name in ("nameless.parquet#1", "nameless.parquet#2"):
            assert table.error[name].startswith("Expected ")
            assert pd.isna(table.face[name])
        else:
            (face,) = recognizer.recognize(content)
            assert table.confidence[name] == pytest.approx(face.confidence, rel=1e-5)
            assert tuple(table.loc[name, ["left", "top", "width", "height"]]) == face.box
    before = stamps(out)
    assert main(command) == 0
    assert capfd.readouterr().out == f"{out}: 0 faces in 0 pictures, 12 more were done before\n"
    assert stamps(out) == before


SCRIPT = """
import fer_keras
from fer_keras.recognition import picture_parts
picture_parts.FEWEST_PICTURES = 4
fer_keras.recognize_folder({folder!r}, engine="ray", out={out!r}, network={network!r}, workers=1)
"""


def descendants(pid):
    """Return the ids of a process and of all that it started, theirs first."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(child)
    return [*found, int(pid)]


def processes_that_say(text):
    """Return the ids of the processes whose command line holds a text."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in place.read_bytes():
                found.add(int(place.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
def test_killed_and_started_again_it_does_no_picture_twice(ray_of_two, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "faces"
    folder.mkdir()
    for number in range(80):
        portrait(number).resize((300, 300)).save(folder / f"{number}.jpg")
    script = SCRIPT.format(folder=str(folder), out=str(out), network=NETWORK)
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 240
        while len(stamps(out)) < 3 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
        tree = descendants(process.pid)
        for pid in tree:
            os.kill(pid, signal.SIGKILL)
    assert len(tree) > 3, "a driver, Ray's own, a worker"
    before = stamps(out)
    assert 3 <= len(before) < 19
    was_done = pd.read_parquet(out)
    assert was_done.picture.nunique() == 4 * len(before), "files are whole"

    found = fer_keras.recognize_folder(folder, engine="ray", out=out, network=NETWORK)
    assert before.items() <= stamps(out).items(), "what was there is not done again"
    assert (found.before, found.pictures) == (4 * len(before), 80 - 4 * len(before))
    table = read(out)
    assert not list(out.glob(".*"))
    assert_same(table, fer_keras.recognize_folder(folder, network=NETWORK))
    assert table.picture.nunique() == 80


def test_a_picture_that_kills_who_reads_it_is_an_error_row(ray_of_two, tmp_path, monkeypatch):
    class Mortal(many.Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            see = self.recognizer.see

            def deadly(source):
                if "deadly" in str(source):
                    os.kill(os.getpid(), 9)
                return see(source)

            self.recognizer.see = deadly

    monkeypatch.setattr(many, "Worker", Mortal)
    for number in range(5):
        portrait(number).save(tmp_path / f"{number}.jpg")
    portrait().save(tmp_path / "2 deadly.jpg")
    out = tmp_path / "faces"
    found = fer_keras.recognize_folder(tmp_path, engine="ray", out=out, network=NETWORK, workers=1)
    assert (found.pictures, found.faces, found.errors) == (6, 5, 1)
    table = read(out).set_index("picture")
    assert "the process that reads it ends" in table.error["2 deadly.jpg"]
    assert table.drop("2 deadly.jpg").error.isna().all()


def test_what_stops_a_worker_is_said_in_a_sentence(ray_of_two, tmp_path, monkeypatch, capfd):
    portrait().save(tmp_path / "a.jpg")
    out = tmp_path / "faces"

    class Overtaken(many.Worker):
        def __init__(self, folder, run, options):
            super().__init__(folder, "another run", options)

    monkeypatch.setattr(many, "Worker", Overtaken)
    with pytest.raises(ValueError, match=r"A worker stopped: DataError: .*another one has begun.* goes on from there"):
        fer_keras.recognize_folder(tmp_path, engine="ray", out=out, network=NETWORK)
    with pytest.raises(ValueError, match=r"a worker for each of the cluster's 2 cores\. Received: 3"):
        fer_keras.recognize_folder(tmp_path, engine="ray", out=out, network=NETWORK, workers=3)
    assert capfd.readouterr() == ("", "")
    assert not stamps(out)


def test_a_worker_that_cannot_begin_says_so(tmp_path):
    worker = many.Worker(tmp_path, "run", {"network": "of another version.onnx"})
    assert worker({"part": b""})["stopped"].startswith("ValueError: of another version.onnx: Expected an .onnx file")


def test_a_worker_has_one_thread_and_needs_no_keras(tmp_path):
    portrait().save(tmp_path / "a.jpg")
    script = """
import pickle, sys
from pathlib import Path
from fer_keras.recognition.face_files import begin
from fer_keras.recognition.many import Worker
from fer_keras.recognition.picture_parts import Files
run, _ = begin(Path("faces"), {}, 4)
worker = Worker("faces", run, {"network": "fer-small"})
print(worker({"part": pickle.dumps(Files(".", (b"a.jpg",)))}))
import cv2
print(cv2.getNumThreads(), worker.recognizer.network.session.get_session_options().intra_op_num_threads)
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'pictures': 1, 'faces': 1, 'errors': 0, 'stopped': ''}\n1 1\n[]\n"


def test_a_picture_is_deadly_after_the_second_death_at_it(tmp_path):
    pictures = [(f"{number}.jpg", b"bytes") for number in range(6)]
    journal = tmp_path / "journal"
    for stop in (3, 4, 3):
        alive = survivors(pictures, journal)
        for _ in range(stop + 1):
            assert next(alive)[1] == b"bytes"
        alive.close()
    found = dict(survivors(pictures, journal))
    assert [name for name, source in found.items() if isinstance(source, DataError)] == ["3.jpg"]


def test_rows_are_read_from_the_middle_of_groups_and_past_damage(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"bytes": [f"{number}".encode() for number in range(100)], "id": list(range(1000, 1100))})
    parquet.write_table(table, path, row_group_size=40, compression="none", use_dictionary=False)
    for start, stop in ((0, 100), (39, 41), (37, 95), (80, 100), (5, 6)):
        found = list(read_rows(path, start, stop, called="a"))
        assert found == [(f"{1000 + number}", f"{number}".encode()) for number in range(start, stop)]
    content = bytearray(path.read_bytes())
    offset = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    found = list(read_rows(path, 30, 60, called="a"))
    assert [source for _, source in found[:10]] == [f"{number}".encode() for number in range(30, 40)]
    assert [name for name, _ in found[10:]] == [f"a#{number}" for number in range(40, 60)]
    assert all("Expected a whole Parquet file" in str(source) for _, source in found[10:])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": [1]}, r"Expected a column with the bytes .*Received the columns: .*label: int64"),
        ({"one": [b""], "two": [b""]}, "Expected a column with the bytes"),
        ({"image": [{"height": 1}]}, "Expected a column with the bytes"),
    ],
)
def test_tables_without_pictures_are_refused(tmp_path, columns, words):
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=words):
        find_pictures(tmp_path)


def test_parts_of_tables_are_cut_in_the_same_places_and_names_are_not_done_twice(tmp_path):
    write_tables(tmp_path)
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    pictures = find_pictures(tmp_path)
    everything = list(to_do(pictures, 3, targets=set(), names=set()))
    assert sum(part.num_pictures for part in everything) == 7 + 11
    assert len({part.target for part in everything}) == len(everything)
    first = next(part for part in everything if isinstance(part, Rows))
    left = list(to_do(pictures, 3, targets={first.target}, names={"0.jpg", "5.jpg"}))
    assert [part.names for part in left if isinstance(part, Files)] == [
        (b"1.jpg", b"2.jpg", b"3.jpg"),
        (b"4.jpg", b"6.jpg"),
    ]
    assert [part for part in left if isinstance(part, Rows)] == [
        part for part in everything if isinstance(part, Rows) and part != first
    ]


def test_who_was_overtaken_by_another_run_writes_nothing(tmp_path):
    portrait().save(tmp_path / "a.jpg")
    out = tmp_path / "faces"
    earlier, _ = begin(out, {}, 4)
    begin(out, {}, 4)
    with pytest.raises(DataError, match="another one has begun"):
        write_faces(Files(str(tmp_path), (b"a.jpg",)), Recognizer(NETWORK), out, earlier)
    assert done(out) == {"targets": set(), "names": set()}


def test_faces_of_other_settings_are_not_mixed(tmp_path):
    begin(tmp_path / "faces", {"min_confidence": 0.5, "path": "a"}, 4)
    with pytest.raises(
        DataError, match=r"Expected the settings .*'min_confidence': 0.5.*Received: .*0.9.*Choose another"
    ):
        begin(tmp_path / "faces", {"min_confidence": 0.9, "path": "a"}, 4)
    assert begin(tmp_path / "faces", {"min_confidence": 0.5, "path": "a"}, 16)[1] == 4, "parts keep their size"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="Expected a new or empty folder"):
        begin(tmp_path / "mine", {}, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "spark", "out": "x"}, "`engine` must be None or 'ray'"),
        ({"engine": "ray"}, "one without the other"),
        ({"out": "x"}, "one without the other"),
        ({"workers": 2}, "are for the engine 'ray'"),
        ({"engine": "ray", "out": "x", "workers": 0}, "`workers` must be a whole number above 0"),
        ({"engine": "ray", "out": "x", "network": object()}, "must be names or paths"),
        ({"engine": "ray", "out": "x", "network": "nonsense.onnx"}, "nonsense.onnx: Expected an .onnx file"),
        ({"engine": "ray", "out": "x", "network": NETWORK, "address": "localhost:1"}, "Expected a Ray cluster at"),
        ({"engine": "ray", "out": "a.jpg", "network": NETWORK}, "Expected a folder for the faces. Received: a file"),
    ],
)
def test_options_that_make_no_sense(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    portrait().save("a.jpg")
    with pytest.raises(ValueError, match=words):
        fer_keras.recognize_folder(".", **options)


def test_without_ray_the_error_says_what_to_install(tmp_path, monkeypatch):
    portrait().save(tmp_path / "a.jpg")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "fer_keras\[ray\]"'):
        fer_keras.recognize_folder(tmp_path, engine="ray", out=tmp_path / "faces", network=NETWORK)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ray"], "--ray needs --out-data DIR"),
        (["--ray", "--out-data", "x", "--csv", "y"], "no --out, --csv or --json"),
        (["--out-data", "x"], "--out-data and --workers are for --ray"),
        (["b", "--ray", "--out-data", "x"], "one folder or .parquet file. Received: 2"),
        (["--ray", "--out-data", "x", *WITH], "Expected pictures"),
    ],
)
def test_commands_that_make_no_sense(tmp_path, monkeypatch, capsys, more, words):
    monkeypatch.chdir(tmp_path)
    assert main(["recognize", ".", *more]) == 2
    assert words in capsys.readouterr().err


def test_a_zip_must_be_unpacked_and_nothing_is_nothing(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    for name, what in (("a.zip", "a file"), ("no", "nothing there")):
        with pytest.raises(
            DataError, match=f"Expected a folder of pictures, or a .parquet file of them. Received: {what}"
        ):
            find_pictures(tmp_path / name)


def test_no_face_is_a_row(tmp_path):
    Image.new("RGB", (90, 60)).save(tmp_path / "blank.png")
    run, _ = begin(tmp_path / "faces", {}, 4)
    part = Files(str(tmp_path), (b"blank.png",))
    counted = write_faces(part, Recognizer(NETWORK), tmp_path / "faces", run)
    assert counted == {"pictures": 1, "faces": 0, "errors": 0}
    assert pd.read_parquet(tmp_path / "faces").emotion.tolist() == [NO_FACE]
    when = stamps(tmp_path / "faces")
    assert write_faces(part, None, tmp_path / "faces", run) == counted, "tried again, a part that is there is not done"
    assert stamps(tmp_path / "faces") == when
