"""From a video to a table and a video with names, whatever the file is like and whenever it is stopped."""

import functools
import gc
import io
import math
import os
import struct
import subprocess
import sys
import tracemalloc
import wave
from pathlib import Path

import cv2
import moving
import numpy as np
import pandas as pd
import pytest

import fer_keras
from fer_keras import paths
from fer_keras.__main__ import main, print_tracks
from fer_keras.recognition import drawing, recognizer, video, video_files, video_table, webcam
from fer_keras.recognition.detectors import Detection, overlap

CLASSES = ("sad", "happy")
NETWORKS = sorted(path.stem for path in (paths.PACKAGE / "weights").glob("*.onnx"))
WAY = moving.path((20, 40, 60, 74), (170, 70, 96, 118), 40)


class Brightness:
    """A network that takes what is bright for happy."""

    name, classes, size, temperature, card = "brightness", CLASSES, (48, 48), 1.0, {}

    def predict(self, images):
        happy = 0.1 + 0.8 * np.asarray(images, np.float32).mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - happy, happy], axis=1)


class Known:
    """A detector that knows where the faces are, and counts its looks; one of them may raise."""

    def __init__(self, places, every, *, fails_at=None, error=KeyboardInterrupt):
        self.places, self.every, self.fails_at, self.error, self.looks = places, every, fails_at, error, 0

    def detect(self, rgb):
        frame = self.looks * self.every
        self.looks += 1
        if self.fails_at is not None and frame >= self.fails_at:
            raise self.error("stop")
        return [Detection(tuple(np.round(box).astype(int).tolist()), 0.9) for box in self.places[frame]]


def options(places, every=5, **others):
    """Return the options of `recognize_video` with a detector that knows the places."""
    detector = Known(places, every, **others)
    return {"network": Brightness(), "detector": detector, "every": every, "min_confidence": 0.5}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video of one face that moves and grows, and the places of the face."""
    places = [(box,) for box in WAY]
    file = tmp_path_factory.mktemp("clips") / "one face.mp4"
    return moving.write(file, moving.frames([moving.astronaut()], places)), places


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A small video of nothing: 60 frames in an AVI, whose frames can be cut off at the end."""
    still = cv2.resize(moving.background(), (96, 64))
    file = tmp_path_factory.mktemp("clips") / "plain.avi"
    return moving.write(file, [np.roll(still, number, axis=1) for number in range(60)], four="MJPG")


def read(file):
    """Return the frames of a video in RGB, its rate, and how many it says it has."""
    capture = cv2.VideoCapture(str(file))
    found = []
    while (frame := capture.read())[0]:
        found.append(frame[1][..., ::-1])
    return found, capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)


def test_a_video_gives_a_row_for_each_face_and_frame(clip, tmp_path, capsys):
    file, places = clip
    table = fer_keras.recognize_video(file, csv=tmp_path / "new" / "faces.csv", **options(places))
    assert list(table) == [*video_table.COLUMNS, *CLASSES]
    assert list(table["frame"]) == list(range(len(places)))
    assert np.allclose(table["time"], table["frame"] / moving.RATE, atol=6e-4)
    assert set(table["id"]) == {1}
    assert list(table["detected"]) == [number % 5 == 0 for number in range(len(places))]
    boxes = table[["left", "top", "width", "height"]].to_numpy()
    assert min(overlap(box, truth) for box, (truth,) in zip(boxes, places, strict=True)) > 0.85
    assert np.allclose(table[list(CLASSES)].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(table["confidence"], table[list(CLASSES)].max(axis=1))
    assert (table["emotion"] == table[list(CLASSES)].idxmax(axis=1)).all()
    assert table.attrs == {"frames": len(places), "ended": "whole"}
    pd.testing.assert_frame_equal(table, video_table.read_rows(tmp_path / "new" / "faces.csv", CLASSES))
    assert capsys.readouterr().err == "", "no progress bar without a terminal"


def test_smoothing_is_the_formula_and_off_by_choice(clip):
    file, places = clip
    raw, smooth = (
        fer_keras.recognize_video(file, smoothing_seconds=seconds, **options(places))[list(CLASSES)].to_numpy()
        for seconds in (0, 0.4)
    )
    kept, expected = math.exp(-1 / moving.RATE / 0.4), raw[0]
    for number, values in enumerate(raw):
        expected = values if number == 0 else kept * expected + (1 - kept) * values
        assert smooth[number] == pytest.approx(expected, abs=1e-5)
    assert np.ptp(raw[:, 0]) > np.ptp(smooth[:, 0]) > 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_the_video_that_is_written_plays_and_shows_boxes_and_names(clip, tmp_path, suffix):
    file, places = clip
    target = tmp_path / "new" / f"named{suffix}"
    table = fer_keras.recognize_video(file, target, stop=0.4, **options(places))
    frames, rate, count = read(target)
    assert (len(frames), count) == (10, 10)
    assert rate == pytest.approx(moving.RATE)
    assert frames[0].shape == (*moving.SIZE, 3)
    assert list(target.parent.iterdir()) == [target]
    before, last = read(file)[0][9], table.iloc[9]
    box, named = tuple(last[["left", "top", "width", "height"]]), dict(last[list(CLASSES)])
    face = recognizer.Face(box, last["emotion"], last["confidence"], named, 0.9)
    expected = drawing.draw_faces(before, [face], names=["1"])
    changed = (expected != before).any(axis=2)
    assert changed.sum() > 500
    missed, blank = (np.abs(picture[changed].astype(int) - expected[changed]).mean() for picture in (frames[9], before))
    assert missed < blank / 3, "what is drawn is there"
    left_alone = np.abs(frames[9].astype(int) - before)[~changed].mean()
    assert left_alone < 6, "and nothing else, but for what the format loses"


def test_the_detector_looks_at_every_fifth_frame_only(clip):
    file, places = clip
    for every, looks in ((1, 40), (5, 8)):
        chosen = options(places, every)
        fer_keras.recognize_video(file, **chosen)
        assert chosen["detector"].looks == looks


def test_following_finds_nearly_as_many_faces_as_detecting_on_every_frame(clip):
    file, places = clip
    recall = {}
    for every in (1, 5):
        table = fer_keras.recognize_video(file, network=Brightness(), every=every)
        boxes = table.groupby("frame")[["left", "top", "width", "height"]].apply(lambda rows: rows.to_numpy().tolist())
        hits = [
            any(overlap(box, truth) > 0.4 for box in boxes.get(number, [])) for number, (truth,) in enumerate(places)
        ]
        recall[every] = np.mean(hits)
    assert recall[1] > 0.9
    assert recall[5] >= recall[1] - 0.05


def test_stopped_in_the_middle_what_was_done_is_kept(clip, tmp_path):
    file, places = clip
    target, csv = tmp_path / "named.mp4", tmp_path / "faces.csv"
    with pytest.warns(UserWarning, match=r"Stopped at 0\.8 s, after 20 frames\. What was done until then is kept"):
        table = fer_keras.recognize_video(file, target, csv=csv, **options(places, fails_at=20))
    assert table.attrs == {"frames": 20, "ended": "stopped"}
    assert list(table["frame"]) == list(range(20)) == list(pd.read_csv(csv)["frame"])
    assert len(read(target)[0]) == read(target)[2] == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "named.mp4"]


def test_stopped_before_the_first_frame_there_is_an_empty_table(clip):
    file, places = clip
    with pytest.warns(UserWarning, match="after 0 frames"):
        table = fer_keras.recognize_video(file, **options(places, fails_at=0))
    assert list(table) == [*video_table.COLUMNS, *CLASSES]
    assert len(table) == 0
    assert table["time"].dtype == float


def test_after_an_error_the_video_is_called_partial_and_plays(clip, tmp_path):
    file, places = clip
    with pytest.raises(RuntimeError, match="stop"):
        fer_keras.recognize_video(
            file, tmp_path / "named.mp4", csv=tmp_path / "faces.csv", **options(places, fails_at=20, error=RuntimeError)
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "named.partial.mp4"]
    assert len(read(tmp_path / "named.partial.mp4")[0]) == 20
    assert len(pd.read_csv(tmp_path / "faces.csv")) == 20


def test_a_killed_process_leaves_its_rows_and_no_video_that_looks_whole(clip, tmp_path):
    file, _ = clip
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import test_video as t\n"
        "places = [(box,) for box in t.WAY]; chosen = t.options(places, fails_at=20, error=os._exit)\n"
        "chosen['detector'].error = lambda _: os._exit(9)\n"
        "t.fer_keras.recognize_video(sys.argv[2], 'named.mp4', csv='faces.csv', **chosen)"
    )
    done = subprocess.run([sys.executable, "-c", code, Path(__file__).parent, file], cwd=tmp_path, check=False)
    assert done.returncode == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "named.partial.mp4"]
    assert list(pd.read_csv(tmp_path / "faces.csv")["frame"]) == list(range(20))


def test_nothing_is_written_over_the_source_or_the_other_file(clip, tmp_path):
    file, places = clip
    content = file.read_bytes()
    copy, link, partial = tmp_path / "copy.mp4", tmp_path / "link.mp4", tmp_path / "out.partial.mp4"
    for path in (copy, partial):
        path.write_bytes(content)
    link.symlink_to(copy)
    for source, target, csv in (
        (copy, copy, None),
        (copy, link, None),
        (str(copy), None, tmp_path / "." / "copy.mp4"),
        (partial, tmp_path / "out.mp4", None),
        (copy, tmp_path / "x.mkv", tmp_path / "x.mkv"),
    ):
        with pytest.raises(ValueError, match="must be different files"):
            fer_keras.recognize_video(source, target, csv=csv, **options(places))
    assert copy.read_bytes() == partial.read_bytes() == content
    with pytest.raises(ValueError, match=r"ends in one of \.mp4, .*Received: .*out\.txt"):
        fer_keras.recognize_video(copy, tmp_path / "out.txt", **options(places))


def wav(path):
    """Write a file of sound alone."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))


def headless(path, clip):
    """Write the first half of an MP4: its index, which stands at the end, is missing."""
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])


BAD = {
    "missing.mp4": lambda path, clip: None,
    "folder.mp4": lambda path, clip: path.mkdir(),
    "empty.mp4": lambda path, clip: path.touch(),
    "words.mp4": lambda path, clip: path.write_text("no video at all\n" * 100),
    "sound.wav": lambda path, clip: wav(path),
    "cut.mp4": headless,
    "no frames.avi": lambda path, clip: moving.write(path, [np.zeros((64, 96, 3), np.uint8)], four="MJPG"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_ends_in_a_clear_error_and_leaves_nothing(clip, tmp_path, name):
    path = tmp_path / name
    BAD[name](path, clip[0])
    if name == "no frames.avi":
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"00dc")])
    there = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"Expected .* Received: ") as error:
        fer_keras.recognize_video(path, tmp_path / "out.mp4", csv=tmp_path / "out.csv", **options([()]))
    assert name in str(error.value)
    assert sorted(tmp_path.iterdir()) == there


def test_an_address_is_no_file():
    with pytest.raises(ValueError, match="not a file"):
        fer_keras.recognize_video("http://127.0.0.1:9/clip.mp4", **options([()]))


def test_absurdly_large_frames_are_refused(plain, monkeypatch):
    monkeypatch.setattr(video_files, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match=r"at most 6,143 pixels\. Received: 96x64"):
        fer_keras.recognize_video(plain, **options([()]))


def test_a_video_that_breaks_off_keeps_what_was_read_and_says_so(plain, tmp_path):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"cut\.avi: Expected 60 frames\. Received: \d+, up to \d\.\d s"):
        table = fer_keras.recognize_video(cut, tmp_path / "named.avi", **options([((20, 10, 30, 30),)] * 60))
    assert table.attrs["ended"] == "broken"
    assert 20 < table.attrs["frames"] < 40
    assert len(read(tmp_path / "named.avi")[0]) == table.attrs["frames"]


def test_damage_in_the_middle_does_no_harm(plain, tmp_path):
    content = bytearray(plain.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    (tmp_path / "damaged.avi").write_bytes(content)
    table = fer_keras.recognize_video(tmp_path / "damaged.avi", **options([()] * 60))
    assert table.attrs["frames"] >= 58


def test_memory_stays_flat(tmp_path):
    held = []
    still = cv2.resize(moving.background(), (96, 64))
    long = moving.write(tmp_path / "long.avi", (np.roll(still, number, axis=1) for number in range(600)), four="MJPG")

    def show(rgb):
        if len(held) in (99, 599):
            gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    fer_keras.recognize_video(long, show=show, **options([((20, 10, 30, 30),)] * 600))
    tracemalloc.stop()
    assert len(held) == 600
    assert held[599] - held[99] < 5 * still.nbytes, "not even five of five hundred frames are held"


def test_start_and_stop_are_seconds_of_the_video(clip):
    file, places = clip
    table = fer_keras.recognize_video(file, start=0.4, stop=0.8, **options(places[10:]))
    assert (table["frame"].min(), table["frame"].max(), table.attrs["frames"]) == (10, 19, 10)
    for wrong in ({"start": -1}, {"start": 1, "stop": 1}, {"start": math.nan}):
        with pytest.raises(ValueError, match="`start` < `stop`"):
            fer_keras.recognize_video(file, **wrong, **options(places))
    with pytest.raises(ValueError, match="a `start` before its end"):
        fer_keras.recognize_video(file, start=60, **options(places))


def test_without_a_detector_each_frame_is_one_face(plain):
    table = fer_keras.recognize_video(plain, network=Brightness(), detector=None)
    assert len(table) == 60
    assert table["detected"].all()
    assert table[["left", "top", "width", "height"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 96, 64]]
    assert set(table["id"]) == {1}


def test_unsure_faces_are_called_uncertain(clip):
    file, places = clip
    table = fer_keras.recognize_video(file, **{**options(places), "min_confidence": 0.99})
    assert set(table["emotion"]) == {recognizer.UNCERTAIN}


def test_a_telephone_held_upright_gives_upright_frames(clip, tmp_path):
    content = bytearray(clip[0].read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: after version, times, track, layer and volume
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    table = fer_keras.recognize_video(
        tmp_path / "turned.mp4", tmp_path / "out.mp4", **options([((0, 0, 40, 40),)] * 40)
    )
    assert len(table) > 0
    frames = read(tmp_path / "out.mp4")[0]
    assert len(frames) == 40
    assert frames[0].shape == (320, 240, 3)
    turned = np.rot90(read(clip[0])[0][0], -1)[60:-60]
    assert np.abs(turned.astype(int) - frames[0][60:-60]).mean() < 12


def test_the_rate_is_the_sources(plain, tmp_path):
    source = moving.write(tmp_path / "film.mp4", read(plain)[0], rate=24000 / 1001)
    fer_keras.recognize_video(source, tmp_path / "out.mp4", **options([()] * 60))
    assert read(tmp_path / "out.mp4")[1] == pytest.approx(24000 / 1001, abs=1e-3)
    assert video_files.Writer("x.mp4", 119.8801).rate == 119.88


class Camera:
    """Stands in for a camera: gives pictures, at the times of a made-up clock."""

    def __init__(self, times, *, rate=0.0, sizes=None):
        self.times, self.rate, self.clock = list(times), rate, 0.0
        self.sizes = sizes or [(64, 96)] * len(self.times)
        self.released = False

    def isOpened(self):
        return bool(self.times)

    def get(self, name):
        return {cv2.CAP_PROP_FPS: self.rate, cv2.CAP_PROP_POS_MSEC: 0.0}.get(name, -1.0)

    def read(self):
        if not self.times:
            return False, None
        self.clock = self.times.pop(0)
        return True, np.full((*self.sizes.pop(0), 3), 90, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def plug_in(monkeypatch):
    """Return a function that puts a made-up camera in the place of number 3."""
    real = cv2.VideoCapture

    def plug(times, **settings):
        camera = Camera(times, **settings)
        monkeypatch.setattr(cv2, "VideoCapture", lambda where, *rest: camera if where == 3 else real(where, *rest))
        monkeypatch.setattr(video_files.time, "monotonic", lambda: camera.clock)
        return camera

    return plug


def test_a_camera_keeps_the_clocks_time_in_table_and_video(plug_in, tmp_path):
    times = [7.0, 7.1, 7.4, 7.5, 8.0]
    camera = plug_in(times)
    seen = iter([True, True, True, True, False])
    table = fer_keras.recognize_video(
        3, tmp_path / "out.mp4", show=lambda rgb: next(seen), **options([((5, 5, 30, 30),)] * 5, every=1)
    )
    assert list(table["time"]) == pytest.approx([0, 0.1, 0.4, 0.5, 1.0])
    assert table.attrs["ended"] == "whole"
    frames, rate, _ = read(tmp_path / "out.mp4")
    assert (len(frames), rate) == (26, video_files.USUAL_RATE), "one second, and the first frame"
    assert camera.released


def test_a_camera_that_falls_silent_or_is_not_there_is_told_of(plug_in):
    plug_in([0.0, 0.1])
    with pytest.warns(UserWarning, match=r"camera 3: No more pictures came after 0\.1 s"):
        table = fer_keras.recognize_video(3, **options([()] * 2, every=1))
    assert (table.attrs["ended"], table.attrs["frames"]) == ("broken", 2)
    plug_in([])
    with pytest.raises(ValueError, match="Expected a camera at number 3"):
        fer_keras.recognize_video(3, **options([()]))


def test_frames_of_another_size_are_made_to_fit(plug_in, tmp_path):
    plug_in([0.0, 0.04, 0.08], sizes=[(64, 96), (128, 192), (64, 96)])
    with pytest.warns(UserWarning, match="No more pictures"):
        fer_keras.recognize_video(3, tmp_path / "out.mp4", **options([()] * 3, every=1))
    assert {frame.shape for frame in read(tmp_path / "out.mp4")[0]} == {(64, 96, 3)}


def test_times_rise_where_a_container_has_none(plug_in, monkeypatch, plain):
    silent = Camera(range(4), rate=10.0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: silent)
    reader = video_files.Reader(plain)
    assert [seconds for _, seconds, _ in reader] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (reader.count, reader.is_cut_short) == (None, False)


def test_the_bar_shows_frames_a_second_and_the_time_left(plain, monkeypatch):
    shown = io.StringIO()
    bar = functools.partial(video.tqdm, file=shown, mininterval=0)
    monkeypatch.setattr(video, "tqdm", lambda **settings: bar(**{**settings, "disable": False}))
    fer_keras.recognize_video(plain, **options([()] * 60))
    assert "60/60" in shown.getvalue()
    assert " frames/s" in shown.getvalue()
    assert "<00:0" in shown.getvalue()


@pytest.mark.skipif(not NETWORKS, reason="no network is shipped that runs without Keras")
def test_a_shipped_network_names_the_astronauts_smile(clip):
    table = fer_keras.recognize_video(clip[0], network=NETWORKS[0], stop=0.2)
    assert len(table) == 5
    assert set(table["id"]) == {1}
    assert table["emotion"].iloc[-1] == "happy"


@pytest.fixture
def command(monkeypatch):
    """Run a command with a network and a detector of the tests'."""

    def run(*arguments, **settings):
        known = options([((5, 5, 30, 30),)] * 60, **settings)
        del known["every"], known["min_confidence"]

        def with_known(*_, **more):
            return known | {name: value for name, value in more.items() if value is not None}

        monkeypatch.setattr("fer_keras.__main__.recognizer_options", with_known)
        return main(list(map(str, arguments)))

    return run


def test_the_command_writes_and_tells(plain, tmp_path, command, capsys):
    out, csv = tmp_path / "out.mp4", tmp_path / "faces.csv"
    assert command("video", plain, out, "--csv", csv, "--every", 4, "--smooth", 0, every=4) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{plain}: 60 frames; faces followed: 1"
    assert lines[1].startswith("face 1: 0.0 to 2.4 s, in the mean ")
    assert len(read(out)[0]) == 60
    assert pd.read_csv(csv)["detected"].sum() == 15


def test_the_command_tells_of_the_faces_that_are_seen_longest(capsys):
    counts = {number: 1 + number % 25 for number in range(1, 25)}
    table = pd.DataFrame(
        [{"time": 0.0, "id": number, "detected": True, "sad": 1.0} for number in counts for _ in range(counts[number])]
    )
    table.attrs.update(frames=30, ended="whole")
    assert print_tracks(table, "clip") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"face {number}" for number in range(5, 25)]
    assert lines[-1].startswith("and 4 that are seen for a shorter time")


@pytest.mark.filterwarnings("always")
def test_the_command_says_in_a_line_that_it_was_stopped_or_that_the_file_broke_off(plain, tmp_path, command, capsys):
    assert command("video", plain, fails_at=20) == 130
    assert "warning: " in capsys.readouterr().err
    cut = tmp_path / "cut.avi"
    cut.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    assert command("video", cut) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {cut}: Expected 60 frames. Received: ")
    assert command("video", tmp_path / "nowhere.mp4") == 2
    assert capsys.readouterr().err.startswith("error: Expected the path of a video file")


@pytest.fixture
def no_window(monkeypatch):
    """Fail if anything is shown in a window."""
    for name in ("imshow", "namedWindow", "waitKey"):
        monkeypatch.setattr(cv2, name, lambda *_, name=name: pytest.fail(f"cv2.{name} was called"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def test_without_a_display_no_window_is_opened(no_window, command, capsys):
    assert command("webcam") == 2
    error = capsys.readouterr().err
    assert "has no display" in error
    assert "`python -m fer_keras demo`" in error
    assert "`python -m fer_keras video`" in error


def test_a_notebook_gets_no_window_and_a_headless_opencv_says_what_to_install(no_window, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n  GUI:                           NONE\n  VTK\n")
    assert 'pip install "opencv-python<5"' in webcam.why_no_window()
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n  GUI:                           QT5\n  QT: YES\n")
    assert webcam.why_no_window() is None
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert "notebook" in webcam.why_no_window()


def test_the_window_shows_named_faces_until_q(plug_in, command, monkeypatch, capsys, tmp_path):
    plug_in([0.0, 0.1, 0.2, 0.3, 0.4])
    keys, shown, ended = iter([-1, 255, ord("q")]), [], []
    monkeypatch.setattr(webcam, "why_no_window", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda _: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: ended.append(True))
    assert command("webcam", "--camera", 3, "--every", 1, "--csv", tmp_path / "faces.csv", every=1) == 0
    assert len(shown) == 3
    assert len(np.unique(shown[0].reshape(-1, 3), axis=0)) > 1, "the box is drawn"
    assert ended == [True]
    assert len(pd.read_csv(tmp_path / "faces.csv")) == 3
    assert capsys.readouterr().out.startswith("camera 3: 3 frames; faces followed: 1")


def test_videos_need_neither_keras_nor_a_display():
    code = (
        "import sys; import fer_keras.recognition.video, fer_keras.recognition.webcam; "
        "sys.exit(str({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "DISPLAY": ""})
