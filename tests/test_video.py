"""From a video to a table and a video with boxes and emotions, whatever the file is like and whenever it is stopped."""

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
from fer_keras.__main__ import main, print_tracks
from fer_keras.recognition import annotate, recognizer, video
from fer_keras.recognition.detectors import Detection, overlap

pytestmark = pytest.mark.filterwarnings("ignore:.*MPEG-4 part 2:UserWarning")
CLASSES = ("sad", "happy")
BOX = ["left", "top", "width", "height"]
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
    """Options of `recognize_video` with a detector that knows the places."""
    return {"network": Brightness(), "detector": Known(places, every, **others), "every": every}


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


@pytest.fixture
def cut(plain, tmp_path):
    """Its first half."""
    (tmp_path / "cut.avi").write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    return tmp_path / "cut.avi"


def read(file):
    """The frames of a video in RGB, and its rate."""
    capture, found = cv2.VideoCapture(str(file)), []
    while (frame := capture.read())[0]:
        found.append(frame[1][..., ::-1])
    return found, capture.get(cv2.CAP_PROP_FPS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_video_gives_a_row_for_each_face_and_frame(clip, tmp_path, capsys):
    file, places = clip
    chosen = options(places)
    table = fer_keras.recognize_video(file, csv=tmp_path / "new" / "faces.csv", **chosen)
    assert list(table) == [*video.COLUMNS, *CLASSES]
    assert list(table["frame"]) == list(range(len(places)))
    assert np.allclose(table["time"], table["frame"] / moving.RATE, atol=6e-4)
    assert (set(table["id"]), set(table["status"]), chosen["detector"].looks) == ({1}, {"ok"}, 8)
    assert list(table["detected"]) == [number % 5 == 0 for number in range(len(places))]
    assert min(overlap(box, truth) for box, (truth,) in zip(table[BOX].to_numpy(), places, strict=True)) > 0.85
    assert np.allclose(table[list(CLASSES)].sum(axis=1), 1, atol=1e-5)
    assert (table["emotion"] == table[list(CLASSES)].idxmax(axis=1)).all()
    assert table.attrs == {"frames": len(places), "ended": "whole"}
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "new" / "faces.csv"), check_dtype=False)
    assert names(tmp_path / "new") == ["faces.csv"]
    assert capsys.readouterr().err == "", "no progress bar without a terminal"


def test_a_frame_without_a_face_has_its_row_in_the_file(plain, tmp_path):
    table = fer_keras.recognize_video(
        plain, csv=tmp_path / "faces.csv", **options([((20, 10, 30, 30),)] + [()] * 60, 1)
    )
    written = pd.read_csv(tmp_path / "faces.csv")
    assert written["status"].to_list() == ["ok"] + ["no face"] * 59
    assert written[["id", "emotion", "happy"]][1:].isna().all(axis=None)
    assert len(table) == 1


@pytest.mark.parametrize(("suffix", "bars"), [(".mp4", True), (".mkv", False), (".avi", False), (".webm", False)])
def test_the_video_that_is_written_plays_and_shows_boxes_and_emotions(clip, tmp_path, suffix, bars):
    file, places = clip
    target = tmp_path / "new" / f"faces{suffix}"
    table = fer_keras.recognize_video(file, target, stop=0.4, bars=bars, **options(places))
    frames, rate = read(target)
    assert (len(frames), frames[0].shape, names(target.parent)) == (10, (*moving.SIZE, 3), [target.name])
    assert rate == pytest.approx(moving.RATE)
    before, last = read(file)[0][9], table.iloc[9]
    face = recognizer.Face(tuple(last[BOX]), last["emotion"], last["confidence"], dict(last[list(CLASSES)]), 0.9)
    expected = annotate.draw_faces(before, [face], names=["1"], bars=bars)
    changed = (expected != before).any(axis=2)
    missed, blank = (np.abs(picture[changed].astype(int) - expected[changed]).mean() for picture in (frames[9], before))
    assert missed < blank / 3, "what is drawn is there"
    assert np.abs(frames[9].astype(int) - before)[~changed].mean() < 6, "and nothing else, but for the format's losses"


FFMPEG = """#!{python}
import sys, numpy, cv2
if "-encoders" in sys.argv:
    sys.exit(print(" V....D libx264  H.264"))
if "full" in sys.argv[-1]:
    sys.exit("No space left on device")
width, height = map(int, sys.argv[sys.argv.index("-s") + 1].split("x"))
writer = cv2.VideoWriter(sys.argv[-1], cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
while frame := sys.stdin.buffer.read(3 * width * height):
    writer.write(numpy.frombuffer(frame, "uint8").reshape(height, width, 3))
writer.release()
"""


def test_h264_is_written_by_ffmpeg_or_a_warning_says_that_it_is_not(plain, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    found = video.find_ffmpeg.__wrapped__()
    assert found == (str(program), "libx264")
    monkeypatch.setattr(video, "find_ffmpeg", lambda: found)
    fer_keras.recognize_video(plain, tmp_path / "out.mp4", **options([()] * 60))
    assert len(read(tmp_path / "out.mp4")[0]) == 60
    with pytest.raises(ValueError, match=r"Expected ffmpeg to write a video. Received: No space left"):
        fer_keras.recognize_video(plain, tmp_path / "full.mp4", **options([()] * 60))
    assert not (tmp_path / "full.mp4").exists()
    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    monkeypatch.setattr(cv2, "CAP_ANY", cv2.CAP_FFMPEG)
    real = cv2.VideoWriter_fourcc
    monkeypatch.setattr(cv2, "VideoWriter_fourcc", lambda *four: real(*("none" if "".join(four) == "avc1" else four)))
    with pytest.warns(UserWarning, match="MPEG-4 part 2, which browsers do not play.*pip install imageio-ffmpeg"):
        fer_keras.recognize_video(plain, tmp_path / "out.mkv", **options([()] * 60))


def test_stopped_in_the_middle_what_was_done_is_kept(clip, tmp_path):
    file, places = clip
    with pytest.warns(UserWarning, match=r"Stopped at 0\.8 s, after 20 frames\. What was done until then is kept"):
        table = fer_keras.recognize_video(
            file, tmp_path / "faces.mp4", csv=tmp_path / "faces.csv", **options(places, fails_at=20)
        )
    assert table.attrs == {"frames": 20, "ended": "stopped"}
    assert list(table["frame"]) == list(range(20)) == list(pd.read_csv(tmp_path / "faces.csv")["frame"])
    assert len(read(tmp_path / "faces.mp4")[0]) == 20
    assert names(tmp_path) == ["faces.csv", "faces.mp4"]
    with pytest.warns(UserWarning, match="after 0 frames"):
        table = fer_keras.recognize_video(file, **options(places, fails_at=0))
    assert (list(table), len(table), table["time"].dtype) == ([*video.COLUMNS, *CLASSES], 0, float)


@pytest.mark.parametrize("how", ["an error", "SIGKILL", "SIGTERM"])
def test_after_an_error_or_a_kill_the_files_are_called_partial_and_the_earlier_table_stays(clip, tmp_path, how):
    (tmp_path / "faces.csv").write_text("earlier")
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); import test_video as t\n"
        "def error(_):\n"
        "    if sys.argv[3] == 'an error': return RuntimeError('stop')\n"
        "    os.kill(os.getpid(), getattr(signal, sys.argv[3]))\n"
        "places = [(box,) for box in t.WAY]; chosen = t.options(places, fails_at=20, error=error)\n"
        "t.fer_keras.recognize_video(sys.argv[2], 'faces.avi', csv='faces.csv', **chosen)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, Path(__file__).parent, clip[0], how],
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    assert done.returncode == {"an error": 1, "SIGKILL": -9, "SIGTERM": -15}[how]
    assert names(tmp_path) == ["faces.csv", "faces.partial.avi", "faces.partial.csv"]
    assert list(pd.read_csv(tmp_path / "faces.partial.csv")["frame"]) == list(range(20))
    assert (tmp_path / "faces.csv").read_text() == "earlier"
    assert how != "an error" or len(read(tmp_path / "faces.partial.avi")[0]) == 20


def test_nothing_is_written_over_the_source_or_the_other_file_or_where_it_cannot_be(clip, tmp_path):
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
    for target, csv, words in (
        (tmp_path / "out.txt", None, r"ends in one of \.mp4, .*Received: .*out\.txt"),
        (copy / "out.mp4", None, "a place where a file can be written. Received: Not a directory"),
        (None, tmp_path, "the path of a file. Received: a folder"),
    ):
        with pytest.raises(ValueError, match=words):
            fer_keras.recognize_video(file, target, csv=csv, network="looked for later", detector=None)
    assert copy.read_bytes() == partial.read_bytes() == content


def wav(path):
    """Write a file of sound alone."""
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))


def no_frames(path):
    """Write an AVI without frames."""
    content = moving.write(path, [np.zeros((64, 96, 3), np.uint8)], four="MJPG").read_bytes()
    path.write_bytes(content[: content.index(b"00dc")])


BAD = {
    "missing.mp4": lambda path, clip: None,
    "folder.mp4": lambda path, clip: path.mkdir(),
    "empty.mp4": lambda path, clip: path.touch(),
    "words.mp4": lambda path, clip: path.write_text("no video at all\n" * 100),
    "sound.wav": lambda path, clip: wav(path),
    "headless.mp4": lambda path, clip: path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2]),
    "no frames.avi": lambda path, clip: no_frames(path),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_ends_in_a_clear_error_and_leaves_nothing(clip, tmp_path, name):
    BAD[name](tmp_path / name, clip[0])
    there = names(tmp_path)
    with pytest.raises(ValueError, match=rf"Expected .* Received: |{name}"):
        fer_keras.recognize_video(tmp_path / name, tmp_path / "out.mp4", csv=tmp_path / "out.csv", **options([()]))
    assert names(tmp_path) == there


def test_an_address_and_absurdly_large_frames_are_refused(plain, monkeypatch):
    with pytest.raises(ValueError, match="the path of a video file"):
        fer_keras.recognize_video("http://127.0.0.1:9/clip.mp4", **options([()]))
    monkeypatch.setattr(video, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match=r"at most 6,143 pixels a frame\. Received: 96x64"):
        fer_keras.recognize_video(plain, **options([()]))


def test_a_video_that_is_cut_off_keeps_what_was_read_and_says_so(cut, tmp_path):
    with pytest.warns(
        UserWarning, match=r"cut\.avi: Expected a whole video\. Received: no more pictures after 1\.\d s"
    ):
        table = fer_keras.recognize_video(cut, tmp_path / "out.avi", **options([((20, 10, 30, 30),)] * 60))
    assert table.attrs["ended"] == "broken"
    assert 20 < table.attrs["frames"] == len(read(tmp_path / "out.avi")[0]) < 40


def test_a_file_is_cut_off_if_it_ends_before_its_container_says(clip, plain, tmp_path):
    made = {"a.webm": "VP80", "a.mkv": "mp4v"}
    whole = [clip[0], plain, *(moving.write(tmp_path / name, read(plain)[0], four=made[name]) for name in made)]
    assert not any(map(video.is_cut_off, whole))
    for file in whole:
        (tmp_path / f"cut{file.suffix}").write_bytes(file.read_bytes()[:-100])
        assert video.is_cut_off(tmp_path / f"cut{file.suffix}"), file.suffix
    live = bytes.fromhex("1a45dfa3 82 4286 18538067 01ffffffffffffff 1f43b675 ff")  # a segment of unknown length
    large = struct.pack(">I4sQ", 1, b"mdat", 2**40)
    for content, is_cut in (
        (live, False),
        (large, True),
        (b"\x47" * 188 * 9, False),
        (b"\0\0\0\0mdat" + b"1" * 9, False),
    ):
        (tmp_path / "made").write_bytes(content)
        assert video.is_cut_off(tmp_path / "made") == is_cut


def test_corruption_in_the_middle_does_no_harm(plain, tmp_path):
    content = bytearray(plain.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    (tmp_path / "corrupt.avi").write_bytes(content)
    table = fer_keras.recognize_video(tmp_path / "corrupt.avi", **options([()] * 60))
    assert table.attrs == {"frames": pytest.approx(60, abs=2), "ended": "whole"}


def test_memory_stays_flat(plain, tmp_path, monkeypatch):
    held, made = [], video.rows
    still = cv2.resize(moving.background(), (96, 64))
    long = moving.write(tmp_path / "long.avi", (np.roll(still, number, axis=1) for number in range(600)), four="MJPG")

    def count(*frame):
        if len(held) in (99, 599):
            gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        return made(*frame)

    monkeypatch.setattr(video, "rows", count)
    tracemalloc.start()
    fer_keras.recognize_video(long, **options([((20, 10, 30, 30),)] * 600))
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


def test_without_a_detector_each_frame_is_one_face_and_unsure_ones_are_uncertain(plain):
    table = fer_keras.recognize_video(plain, network=Brightness(), detector=None, min_confidence=0.99)
    assert (len(table), table["detected"].all(), set(table["id"])) == (60, True, {1})
    assert table[BOX].drop_duplicates().to_numpy().tolist() == [[0, 0, 96, 64]]
    assert set(table["emotion"]) == {recognizer.UNCERTAIN}


def test_a_telephone_held_upright_gives_upright_frames(clip, tmp_path):
    content = bytearray(clip[0].read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: after version, times, track, layer and volume
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    fer_keras.recognize_video(tmp_path / "turned.mp4", tmp_path / "out.mp4", **options([((0, 0, 40, 40),)] * 40))
    frames = read(tmp_path / "out.mp4")[0]
    assert (len(frames), frames[0].shape) == (40, (320, 240, 3))
    turned = np.rot90(read(clip[0])[0][0], -1)[60:-60]
    assert np.abs(turned.astype(int) - frames[0][60:-60]).mean() < 12


def test_the_rate_is_the_sources(plain, tmp_path):
    source = moving.write(tmp_path / "film.mp4", read(plain)[0], rate=24000 / 1001)
    fer_keras.recognize_video(source, tmp_path / "out.mp4", **options([()] * 60))
    frames, rate = read(tmp_path / "out.mp4")
    assert (len(frames), rate) == (60, pytest.approx(24000 / 1001, abs=1e-3))
    assert video.Writer("x.mp4", 119.8801).rate == 119.88


class Source:
    """Stands in for a camera or a file: frames that are brighter each time, at the times of a made-up clock."""

    def __init__(self, times, *, rate=0.0, sizes=None, count=-1, noted=True):
        self.times, self.rate, self.count, self.noted = list(times), rate, count, noted
        self.sizes, self.clock, self.shade, self.released = sizes or [(64, 96)] * len(self.times), 0.0, 0, False

    def isOpened(self):
        return bool(self.times)

    def get(self, name):
        known = {cv2.CAP_PROP_FPS: self.rate, cv2.CAP_PROP_FRAME_COUNT: self.count}
        return known.get(name, 1000 * self.clock if name == cv2.CAP_PROP_POS_MSEC and self.noted else 0.0)

    def read(self):
        if not self.times:
            return False, None
        self.clock, self.shade = self.times.pop(0), self.shade + 40
        return True, np.full((*self.sizes.pop(0), 3), self.shade, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def plug_in(monkeypatch, plain):
    """Put a made-up source in the place of camera 3 and of the plain video."""
    real = cv2.VideoCapture

    def plug(times, **settings):
        source, places = Source(times, **settings), (3, str(plain))
        monkeypatch.setattr(cv2, "VideoCapture", lambda at, *rest: source if at in places else real(at, *rest))
        monkeypatch.setattr(video.time, "monotonic", lambda: source.clock)
        return source

    return plug


@pytest.mark.parametrize("name", ["camera", "file"])
def test_a_video_of_any_rate_is_written_as_long_as_its_source_its_frames_at_their_times(plug_in, plain, tmp_path, name):
    source = plug_in([0.0, 0.12, 0.4, 0.44, 1.0], count=200)  # a file's count is a guess
    table = fer_keras.recognize_video(
        3 if name == "camera" else plain,
        tmp_path / "out.avi",
        stop=2.0 if name == "file" else 1.0,
        **options([()] * 9, 1),
    )
    assert (table.attrs["ended"], source.released) == ("whole", True)
    frames, rate = read(tmp_path / "out.avi")
    assert (len(frames), rate) == (12 if name == "camera" else 26, video.USUAL_RATE)
    shown = [round(frame.mean() / 40) for frame in frames]
    assert shown == ([1] * 3 + [2] * 7 + [3] + [4] * 14 + [5])[: len(shown)]


def test_a_camera_that_falls_silent_or_is_not_there(plug_in):
    plug_in([0.0, 0.1])
    with pytest.warns(UserWarning, match=r"camera 3: Expected a whole video\. Received: no more pictures after 0\.1 s"):
        table = fer_keras.recognize_video(3, **options([()] * 2, every=1))
    assert table.attrs == {"frames": 2, "ended": "broken"}
    plug_in([])
    with pytest.raises(ValueError, match="Expected a camera at number 3"):
        fer_keras.recognize_video(3, **options([()]))


def test_frames_of_another_size_fit_and_times_rise_where_a_container_has_none(plug_in, plain, tmp_path):
    plug_in(range(3), rate=10.0, sizes=[(64, 96), (128, 192), (64, 96)], noted=False)
    table = fer_keras.recognize_video(plain, tmp_path / "out.avi", **options([((5, 5, 30, 30),)] * 3, every=1))
    assert list(table["time"]) == pytest.approx([0, 0.1, 0.2])
    assert [frame.shape for frame in read(tmp_path / "out.avi")[0]] == [(64, 96, 3)] * 3


def test_a_bar_on_a_terminal_and_none_without_a_console(plain, monkeypatch):
    shown = io.StringIO()
    shown.isatty = lambda: True
    for stream in (shown, None):
        monkeypatch.setattr(sys, "stderr", stream)
        fer_keras.recognize_video(plain, **options([()] * 60))
    assert "60/60" in shown.getvalue()
    assert " frames/s" in shown.getvalue()


def test_a_shipped_network_recognises_the_astronauts_smile(clip):
    table = fer_keras.recognize_video(clip[0], network="mini-xception", detector="haar", stop=0.2)
    assert (len(table), set(table["id"]), table["emotion"].iloc[-1]) == (5, {1}, "happy")


@pytest.fixture
def command(monkeypatch):
    """Run a command with a network and a detector of the tests'."""

    def run(*arguments, **settings):
        known = options([((5, 5, 30, 30),)] * 60, **settings)
        del known["every"]

        def with_known(*_, **more):
            return known | {name: value for name, value in more.items() if value is not None}

        monkeypatch.setattr("fer_keras.__main__.recognizer_options", with_known)
        return main(list(map(str, arguments)))

    return run


def test_the_command_writes_and_says_what_it_found(plain, tmp_path, command, capsys):
    out, csv = tmp_path / "out.mp4", tmp_path / "faces.csv"
    assert command("video", plain, out, "--csv", csv, "--every", 4, "--smooth", 0, "--bars", every=4) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{plain}: 60 frames; faces followed: 1"
    assert lines[1].startswith("face 1: 0.0 to 2.4 s, in the mean ")
    assert (len(read(out)[0]), pd.read_csv(csv)["detected"].sum()) == (60, 15)


def test_the_command_lists_the_faces_that_are_seen_longest(capsys):
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
def test_the_command_says_in_a_line_that_it_was_stopped_or_that_the_file_is_cut_off(plain, cut, command, capsys):
    assert command("video", plain, fails_at=20) == 130
    assert "warning: " in capsys.readouterr().err
    assert command("video", cut) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {cut}: Expected a whole video. Received: no more pictures after ")
    assert command("video", "nowhere.mp4") == 2
    assert capsys.readouterr().err.startswith("error: Expected the path of a video file")


def test_videos_need_neither_keras_nor_a_display():
    code = (
        "import sys; import fer_keras.recognition.video; "
        "sys.exit(str({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "DISPLAY": ""})
