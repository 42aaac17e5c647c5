"""On Ray: recognition and searches give what one process gives, and go on where they were killed."""

import dataclasses
import json
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
from benchmark_runs import run_benchmark

import fer_keras
import fer_keras.training.trainer  # imports Keras, which prints, before output is captured
from fer_keras import paths
from fer_keras.__main__ import main
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recipes import Space
from fer_keras.recognition import ray_folders
from fer_keras.recognition.ray_folders import Worker, pictures_of
from fer_keras.results import comparable_fields, read_runs, read_table
from fer_keras.training.search import search

ray, pa, parquet = (pytest.importorskip(name) for name in ("ray", "pyarrow", "pyarrow.parquet"))
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray.*")  # Ray deprecates what it reads itself
needs_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
OPTIONS = {"network": "mini-xception", "detector": "haar"}


def encoded(image, kind=".jpg"):
    return cv2.imencode(kind, image)[1].tobytes()


ASTRONAUT = skimage.data.astronaut()[:210, :330, ::-1]
FACES = [encoded(ASTRONAUT[10 + number % 5 :, 130 + number % 7 :]) for number in range(35)]


@pytest.fixture(scope="module")
def ray_of_two():
    with ray_cluster(cores=2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_folders, "FEWEST_PICTURES", 4)
        yield


@pytest.fixture(scope="module")
def faces():
    return make_faces(12, classes=FER4, seed=1)


def fill(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def started(script):
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(process, condition):
    end = time.monotonic() + 500
    while not condition():
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < end
        time.sleep(0.02)


def below(pid):
    """The ids of all that a process has started, and of those that they have, the deepest first."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [each for child in children for each in (*below(child), child)]


def kill(process):
    for pid in (*below(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)


@needs_linux
def test_killed_and_called_again_the_rows_are_those_of_one_process_and_new_pictures_join(ray_of_two, tmp_path, capfd):
    folder, out = tmp_path / "pictures", tmp_path / "pictures" / "faces"
    two, blank = np.hstack([ASTRONAUT[10:, 130:]] * 2), np.full((60, 90, 3), 128, np.uint8)
    latin = os.fsdecode(b"caf\xe9 'u.jpg")  # no text, as file systems allow
    odd = {"cut.jpg": FACES[0][:2000], "empty.gif": b"", "notes.txt": b"happy", latin: FACES[0]}
    fill(folder, odd | {"blank.jpg": encoded(blank), "two faces.jpg": encoded(two)})
    fill(folder, {f"more/{number}.jpg": face for number, face in enumerate(FACES)})
    script = f"""
import fer_keras.recognition.ray_folders as ray_folders
ray_folders.FEWEST_PICTURES = 4
ray_folders.recognize_on_ray({str(folder)!r}, {str(out)!r}, workers=1, **{OPTIONS})
"""
    with started(script) as process:
        wait_for(process, lambda: len(stamps(out)) >= 2)
        kill(process)
    before = stamps(out)
    done = pd.read_parquet(out).picture.nunique()
    assert done == 4 * len(before), "files are whole, and have four pictures each"
    assert fer_keras.recognize_on_ray(folder, out, **OPTIONS)[:3] == (out, done, 40 - done)
    nothing = fer_keras.recognize_on_ray(folder, out, address="no.such.host:1", **OPTIONS)
    assert nothing == (out, 40, 0, 0, 0), "with nothing to do, no cluster is asked for"
    fill(folder, {"new.jpg": FACES[5]})
    assert fer_keras.recognize_on_ray(folder, out, **OPTIONS) == (out, 40, 1, 1, 0)
    assert capfd.readouterr() == ("", ""), "Ray says nothing"
    assert ray.is_initialized(), "whoever started a Ray ends it"
    assert before.items() <= stamps(out).items(), "what was there is not done again"
    assert not list(out.glob(".*")), "nothing is left over"
    expected = fer_keras.recognize_folder(folder, **OPTIONS)
    assert expected.status.value_counts().to_dict() == {"ok": 39, "error": 2, "no face": 1}
    types = dict.fromkeys(("picture", "status", "emotion", "error"), "str")
    tables = (each.sort_values(["picture", "face"], ignore_index=True) for each in (pd.read_parquet(out), expected))
    pd.testing.assert_frame_equal(*(each.astype(types) for each in tables), rtol=1e-5)


def test_rows_of_parquet_files_are_pictures(ray_of_two, tmp_path, monkeypatch, capfd):
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
    monkeypatch.setattr(ray_folders, "FEWEST_PICTURES", 2)
    assert main(command) == 0
    assert ": 0 faces in 0 pictures, 12 more were done before\n" in capfd.readouterr().out
    assert stamps(out) == before, "parts keep their size"
    assert main([*command, "--min-confidence", "0.9"]) == 2
    assert "Expected the settings with which its faces were found" in capfd.readouterr().err


def test_rows_are_read_from_the_middle_of_groups_and_past_corruption(tmp_path):
    path, contents = tmp_path / "a.parquet", [f"{number}".encode() for number in range(100)]
    table = pa.table({"bytes": contents, "id": list(range(1000, 1100))})
    parquet.write_table(table, path, row_group_size=40, compression="none", use_dictionary=False)

    def read(start, stop):
        part = {"folder": str(tmp_path), "file": "a.parquet", "start": start, "pictures": stop - start}
        return list(pictures_of(part))

    for start, stop in ((0, 100), (39, 41), (37, 95), (80, 100), (5, 6)):
        assert read(start, stop) == [(f"{1000 + number}", contents[number]) for number in range(start, stop)]
    content = bytearray(path.read_bytes())
    offset = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    found = read(24, 60)
    assert [source for _, source in found[:8]] == contents[24:32]
    assert [name for name, _ in found[16:]] == [f"a.parquet#{number}" for number in range(40, 60)]
    assert all("Expected a whole Parquet file" in str(source) for _, source in found[16:])


def test_a_worker_has_one_thread_and_no_keras_and_what_stops_it_is_one_sentence(
    ray_of_two, tmp_path, monkeypatch, capfd
):
    fill(tmp_path / "pictures", {"a.jpg": FACES[0]})

    class Telling(Worker):
        def write(self, part):
            super().write(part)
            threads = self.recognizer.network.session.get_session_options().intra_op_num_threads
            found = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
            raise OSError(f"{cv2.getNumThreads()} and {threads} threads, {found}")

    class Mortal(Worker):
        def write(self, part):
            self.recognizer.see = lambda source: os.kill(os.getpid(), signal.SIGKILL)
            return super().write(part)

    for worker, workers, words in (
        (Worker, 0, r"must be 1 to 2, .* Received: 0"),
        (Telling, None, r"A worker stopped: OSError: 1 and 1 threads, set\(\) .* goes on from there"),
        (Mortal, None, r"a\.jpg to a\.jpg: .*at which the process that reads it ends\. .* goes on"),
    ):
        monkeypatch.setattr(ray_folders, "Worker", worker)
        with pytest.raises(ValueError, match=words):
            fer_keras.recognize_on_ray(tmp_path / "pictures", tmp_path / worker.__name__, workers=workers, **OPTIONS)
        assert worker is Mortal or capfd.readouterr() == ("", "")


def test_commands_that_make_no_sense(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    fill(tmp_path, {"pictures/a.jpg": FACES[0], "mine/thesis.tex": b""})
    for number, columns in enumerate(({"label": [1]}, {"one": [b""], "two": [b""]}, {"image": [{"height": 1}]})):
        parquet.write_table(pa.table(columns), f"{number}.parquet")
    for arguments, words in (
        ("pictures --ray", "--ray needs --out-data DIR"),
        ("pictures --ray --out-data x --csv y", "no --out, --csv or --json"),
        ("pictures --out-data x", "--out-data and --workers are for --ray"),
        ("pictures b --ray --out-data x", "one folder or .parquet file. Received: 2"),
        ("mine --ray --out-data x", "Expected a folder of pictures, or a .parquet file of them. Received: none"),
        ("mine/thesis.tex --ray --out-data x", "Received: a file"),
        ("no --ray --out-data x", "Received: nothing there"),
        *((f"{number}.parquet --ray --out-data x", "Expected a column with the bytes") for number in range(3)),
        ("pictures --ray --out-data mine", "mine: Expected a new or empty folder"),
        ("pictures --ray --out-data mine/thesis.tex", "thesis.tex: Expected a new or empty folder"),
        ("pictures --ray --out-data x --weights nonsense.onnx", "nonsense.onnx: Expected an .onnx file"),
        ("pictures --ray localhost:1 --out-data x", "Expected a Ray cluster at"),
    ):
        assert main(["recognize", *arguments.split()]) == 2
        assert words in capsys.readouterr().err


def test_a_search_ends_as_without_ray_and_a_cell_that_fails_stops_no_other(
    faces, ray_of_two, own_folders, monkeypatch, capfd
):
    monkeypatch.setenv("FER_KERAS_DATA", str(own_folders / "nowhere"))  # where mini-xception's seven classes are sought
    grid = {"start_recipe": [None, "mini-xception", "capstone-model-1"], "epochs": [1]}
    space, runs = Space("odd", "capstone-model-1", grid, "a test"), []
    assert len(search(space, faces=faces, ray=True, minutes=1e-6)) == 0
    words = r"(?s)Received: 1 that failed; 2 cells.*epochs=1,start_recipe=mini-xception[^\n]*: DataError: "
    for build, how in (("build", {"ray": True}), ("here", {"verbose": 0})):
        monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / build))
        with pytest.raises(ValueError, match=words):
            search(space, faces=faces, **how)
        table = read_table("search-odd", folder=own_folders / build / "results")
        assert sorted(table["start_recipe"].fillna("none")) == ["capstone-model-1", "none"]
        runs.append(sorted(read_runs(next(own_folders.glob(f"{build}/searches/*/results"))), key=lambda run: run.run))
        printed = capfd.readouterr()
        assert len(printed.out.splitlines()) == (2 if "ray" in how else 0), "a line a cell that ended"
        assert not printed.err or "ray" not in how, "here, TensorFlow has its say as it first looks for devices"
    assert ray.is_initialized(), "whoever started a Ray ends it"
    for run, other in zip(*runs, strict=True):  # a worker may add in another order, and one answer may be a tie
        apart = {"metrics": {}, "best_epoch": 0, "epochs_run": 0}
        first, second = (comparable_fields(dataclasses.replace(each, **apart)) for each in (run, other))
        assert first == second
        found, expected = run.predictions("validation"), other.predictions("validation")
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=5e-3)


@needs_linux
def test_a_worker_that_is_killed_is_started_once_more_and_a_search_that_is_killed_goes_on_in_its_epoch(
    faces, own_folders
):
    space = Space("killed", "capstone-model-1", {"epochs": [1, 60], "stop_patience_epochs": [0]}, "a test")
    script = f"""
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.recipes import Space
from fer_keras.training.search import search
search({space}, faces=make_faces(12, classes={FER4}, seed=1), ray=True, verbose=0)
"""

    def epochs():
        """How many epochs of the long training are done, once the short one has ended."""
        histories = list(own_folders.glob("build/runs/*epochs=60,*/history.csv"))
        ended = any(own_folders.glob("build/searches/*/results/runs/*epochs=1,*.json"))
        return len(histories[0].read_text().splitlines()) - 1 if histories and ended else 0

    def workers(process):
        return [child for child in below(process.pid) if "train_cell" in Path(f"/proc/{child}/cmdline").read_text()]

    with started(script) as process:
        wait_for(process, lambda: epochs() and len(workers(process)) == 1)
        os.kill(*workers(process), signal.SIGKILL)
        before = epochs()
        wait_for(process, lambda: epochs() > before)
        kill(process)
    assert sorted(search(space, faces=faces, verbose=0)["epochs"]) == [1, 60]
    runs = read_runs(next(own_folders.glob("build/searches/*/results")))
    assert {run.epochs_run: run.resumed for run in runs} == {1: 0, 60: 2}


def test_two_actors_train_one_network_with_the_script_of_the_documentation(tmp_path):
    pytest.importorskip("jax")
    faces = make_faces(8, classes=FER4, seed=0)
    for number, (image, label) in enumerate(zip(faces.images[..., 0], faces.labels, strict=True)):
        fill(tmp_path / "faces", {f"{faces.classes[label]}/{number}.png": encoded(image, ".png")})
    script, arguments = paths.PACKAGE.parent / "docs" / "train_on_ray.py", "2 0 capstone-model-1 --epochs 1 --folder"
    places = {f"FER_KERAS_{name}": str(tmp_path / name.lower()) for name in ("BUILD", "RESULTS", "CACHE")}
    settings = {"RAY_ADDRESS": "local", "SPREAD": "PACK", "RAY_USAGE_STATS_ENABLED": "0", **places}
    command = [sys.executable, script, *arguments.split(), tmp_path / "faces"]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "build" / "results" / "runs").glob("*.json")
    assert "2 devices of 2 processes" in json.loads(record.read_text())["device"]


def test_the_benchmark_of_scale_runs_quickly(tmp_path):
    record, _ = run_benchmark("scale", tmp_path)
    figures, kinds = record.pop("figures"), ("recognition, two workers", "sweep, two workers")
    words = ("", ", start of the workers included")
    assert record.keys() == {f"{kind}{more} / one worker" for kind in kinds for more in words}
    picture = figures["a picture"]
    assert (picture["pictures"], picture["faces"]) == (12, pytest.approx(12, abs=2))
    assert picture["bytes in"] > 10_000 > picture["bytes out"] > 0
    assert all(picture["milliseconds"][stage] > 0 for stage in ("decode", "detection", "crop", "network"))
    assert all(figures["start-up"][part] > 0 for part in ("import", "network and detector", "ray", "workers"))
    if Path("/proc/self/smaps_rollup").exists():
        for kind, least in (("recognition", 50), ("sweep", 200)):
            memory = figures["memory a worker in MB"][kind]
            assert memory["rss"] > memory["pss"] > least
