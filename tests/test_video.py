"""From a video to a table and a video with boxes and emotions, whatever the file is like and whenever it is stopped."""

import gc
import io
import itertools
import os
import struct
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import moving
import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

import fer_keras
from fer_keras.__main__ import main, print_tracks
from fer_keras.labels import FER7
from fer_keras.recognition import annotate, video
from fer_keras.recognition.detectors import Detection, overlap
from fer_keras.recognition.recognizer import UNCERTAIN

pytestmark = pytest.mark.filterwarnings("ignore:.*MPEG-4 part 2:UserWarning")
BOX = ["left", "top", "width", "height"]
FACE = ((20, 10, 30, 30),)
WAY = [(box,) for box in np.linspace((20, 40, 60, 74), (170, 70, 96, 118), 40)]


def recognize(source, target=None, *, find=lambda frame: (), every=5, **options):
    """Recognise with a detector that finds in a frame the boxes that a function of its number gives."""
    looks = itertools.count(0, every)

    def detect(rgb):
        return [Detection(tuple(np.round(box).astype(int).tolist()), 0.9) for box in find(next(looks))]

    options |= {"network": "mini-xception", "detector": SimpleNamespace(detect=detect), "every": every}
    return fer_keras.recognize_video(source, target, **options)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return moving.write(tmp_path_factory.mktemp("clips") / "one face.mp4", moving.frames([moving.astronaut()], WAY))


def write_plain(file, number=60, **options):
    """Write a small video of nothing; an AVI's frames can be cut off at the end."""
    still = cv2.resize(moving.background(), (96, 64))
    return moving.write(file, (np.roll(still, shift, axis=1) for shift in range(number)), **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_plain(tmp_path_factory.mktemp("clips") / "plain.avi", four="MJPG")


def read(file):
    """The frames of a video in RGB, and its rate."""
    capture, found = cv2.VideoCapture(str(file)), []
    while (frame := capture.read())[0]:
        found.append(frame[1][..., ::-1])
    return found, capture.get(cv2.CAP_PROP_FPS)


def test_a_row_for_each_face_and_frame_and_in_the_file_for_a_frame_without_a_face(clip, plain, tmp_path):
    file = tmp_path / "new" / "faces.csv"
    table = recognize(clip, csv=file, find=WAY.__getitem__)
    assert (list(table), table.attrs) == ([*video.COLUMNS, *FER7], {"frames": 40, "ended": "whole"})
    assert (list(table["frame"]), set(table["id"]), set(table["status"])) == (list(range(40)), {1}, {"ok"})
    assert np.allclose(table["time"], table["frame"] / moving.RATE, atol=6e-4)
    assert list(table["detected"]) == [number % 5 == 0 for number in range(40)]
    assert min(overlap(box, truth) for box, (truth,) in zip(table[BOX].to_numpy(), WAY, strict=True)) > 0.85
    assert (table["emotion"] == table[list(FER7)].idxmax(axis=1)).all()
    pd.testing.assert_frame_equal(table, pd.read_csv(file), check_dtype=False)
    assert len(recognize(plain, csv=file, find=[FACE, *[()] * 59].__getitem__, every=1)) == 1
    written = pd.read_csv(file)
    assert written["status"].to_list() == ["ok"] + ["no face"] * 59
    assert written[["id", "emotion", "happy"]][1:].isna().all(axis=None)


@pytest.mark.parametrize(("suffix", "bars"), [(".mp4", True), (".mkv", False), (".avi", False), (".webm", False)])
def test_the_video_that_is_written_plays_and_shows_boxes_and_emotions(clip, tmp_path, monkeypatch, suffix, bars):
    target = tmp_path / "new" / f"faces{suffix}"
    monkeypatch.setattr(video, "draw_faces", draw := Mock(wraps=annotate.draw_faces))
    recognize(clip, target, stop=0.4, bars=bars, find=WAY.__getitem__)
    (*_, last), rate = frames, _ = read(target)
    assert (len(frames), last.shape, rate) == (10, (*moving.SIZE, 3), pytest.approx(moving.RATE))
    before, faces = draw.call_args.args
    expected = annotate.draw_faces(before, faces, names=["1"], bars=bars)
    changed = (expected != before).any(axis=2)
    missed, blank = (np.abs(picture[changed].astype(int) - expected[changed]).mean() for picture in (last, before))
    assert missed < blank / 3, "what is drawn is there"
    assert np.abs(last.astype(int) - before)[~changed].mean() < 6, "and nothing else, but for the format's losses"


def test_h264_is_written_by_ffmpeg_or_a_warning_says_that_it_is_not(plain, tmp_path, monkeypatch):
    program, raw = tmp_path / "ffmpeg", tmp_path / "raw"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *-encoders*) echo " V....D libx264  H.264";; *full*) echo no space left >&2; exit 1;;'
        f' *) cat >{raw}; shift $(($# - 1)); cp {plain} "$1";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = video.find_ffmpeg.__wrapped__()
    assert found == (str(program), "libx264")
    monkeypatch.setattr(video, "find_ffmpeg", lambda: found)
    recognize(plain, tmp_path / "out.mp4")
    assert raw.read_bytes() == b"".join(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR).tobytes() for frame in read(plain)[0])
    with pytest.raises(ValueError, match=r"Expected ffmpeg to write a video. Received: no space left"):
        recognize(plain, tmp_path / "full.mp4")
    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    real = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", lambda path, api, *rest: real(path, api or cv2.CAP_IMAGES, *rest))
    with pytest.warns(UserWarning, match="MPEG-4 part 2, which browsers do not play.*pip install imageio-ffmpeg"):
        recognize(plain, tmp_path / "out.mkv")


def test_stopped_in_the_middle_what_was_done_is_kept(clip, tmp_path):
    stop = Mock(side_effect=[*WAY[:20:5], KeyboardInterrupt, KeyboardInterrupt])
    with pytest.warns(UserWarning, match=r"Stopped after 0\.8 s\. What was done until then is kept: 20 frames"):
        table = recognize(clip, tmp_path / "faces.mp4", csv=tmp_path / "faces.csv", find=stop)
    assert table.attrs == {"frames": 20, "ended": "stopped"}
    assert list(table["frame"]) == list(range(20)) == list(pd.read_csv(tmp_path / "faces.csv")["frame"])
    assert (len(read(tmp_path / "faces.mp4")[0]), sorted(os.listdir(tmp_path))) == (20, ["faces.csv", "faces.mp4"])
    with pytest.warns(UserWarning, match="kept: 0 frames"):
        table = recognize(clip, find=stop)
    assert (list(table), len(table), table["time"].dtype) == ([*video.COLUMNS, *FER7], 0, float)


def test_after_an_error_or_a_kill_the_files_are_called_partial_and_the_earlier_table_stays(clip, tmp_path):
    code = """if True:
        import os, sys, test_video
        for how in "0", "9", "15":  # no signal and an error, SIGKILL, SIGTERM
            if not os.fork():
                os.chdir(how)
                find = lambda frame: test_video.WAY[frame] if frame < 20 else os.kill(os.getpid(), int(how))
                test_video.recognize(sys.argv[1], "faces.avi", csv="faces.csv", find=find)
            print(os.waitstatus_to_exitcode(os.wait()[1]))"""
    for how in ("0", "9", "15"):
        (tmp_path / how).mkdir()
        (tmp_path / how / "faces.csv").write_text("earlier")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", code, clip]
    done = subprocess.run(call, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert done.stdout.split() == [b"1", b"-9", b"-15"]
    for folder in tmp_path.iterdir():
        assert sorted(os.listdir(folder)) == ["faces.csv", "faces.partial.avi", "faces.partial.csv"]
        assert list(pd.read_csv(folder / "faces.partial.csv")["frame"]) == list(range(20))
        assert (folder / "faces.csv").read_text() == "earlier"
    assert len(read(tmp_path / "0" / "faces.partial.avi")[0]) == 20


def test_nothing_is_written_over_the_source_or_the_other_file_or_where_it_cannot_be(clip, tmp_path):
    content, link, different = clip.read_bytes(), tmp_path / "link.mp4", "must be different files"
    link.symlink_to(clip)
    for source, target, csv, words in (
        (clip, link, None, different),
        (str(clip), None, clip.parent / "." / clip.name, different),
        (tmp_path / "out.partial.mp4", tmp_path / "out.mp4", None, different),
        (clip, tmp_path / "x.mkv", tmp_path / "x.mkv", different),
        (clip, tmp_path / "out.txt", None, r"ends in one of \.mp4, .*Received: .*out\.txt"),
        (clip, clip / "out.mp4", None, "a place where a file can be written. Received: Not a directory"),
        (clip, None, tmp_path, "Received: a folder"),
    ):
        with pytest.raises(ValueError, match=words):
            fer_keras.recognize_video(source, target, csv=csv, network="looked for later", detector=None)
    assert clip.read_bytes() == content


def test_what_is_no_video_ends_in_a_clear_error_and_leaves_nothing(clip, plain, tmp_path, monkeypatch):
    mp4, avi = clip.read_bytes(), plain.read_bytes()
    made = {"empty.mp4": b"", "words.mp4": b"no video at all\n" * 100, "headless.mp4": mp4[: len(mp4) // 2]}
    for name, content in made.items() | {("no frames.avi", avi[: avi.index(b"00dc")])}:
        (tmp_path / name).write_bytes(content)
    wavfile.write(tmp_path / "sound.wav", 8000, np.zeros(8000, np.int16))
    (tmp_path / "folder.mp4").mkdir()
    there = sorted(os.listdir(tmp_path))
    for name in (*there, "missing.mp4"):
        with pytest.raises(ValueError, match=rf"(?=.*{name}).*Expected .* Received: "):
            recognize(tmp_path / name, tmp_path / "out.mp4", csv=tmp_path / "out.csv")
    assert sorted(os.listdir(tmp_path)) == there
    with pytest.raises(ValueError, match="the path of a video file"):
        recognize("http://127.0.0.1:9/clip.mp4")
    monkeypatch.setattr(video, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match=r"at most 6,143 pixels a frame\. Received: 96x64"):
        recognize(plain)


def test_a_video_that_is_cut_off_keeps_what_was_read_and_corruption_in_its_middle_does_no_harm(plain, tmp_path):
    content, cut, corrupt = plain.read_bytes(), tmp_path / "cut.avi", tmp_path / "corrupt.avi"
    middle = len(content) // 2
    cut.write_bytes(content[:middle])
    with pytest.warns(UserWarning, match=r"cut\.avi: Expected a whole video\. Received: no more pictures after 1\."):
        table = recognize(cut, tmp_path / "out.avi", find=lambda frame: FACE)
    assert 20 < table.attrs["frames"] == len(read(tmp_path / "out.avi")[0]) < 40
    assert table.attrs["ended"] == "broken"
    corrupt.write_bytes(content[:middle] + np.random.default_rng(0).bytes(400) + content[middle + 400 :])
    assert recognize(corrupt).attrs == {"frames": pytest.approx(60, abs=2), "ended": "whole"}


def test_a_file_is_cut_off_if_it_ends_before_its_container_says(clip, plain, tmp_path):
    whole = [clip, plain, write_plain(tmp_path / "a.webm", four="VP80"), write_plain(tmp_path / "a.mkv")]
    live = bytes.fromhex("1a45dfa3 82 4286 18538067 01ffffffffffffff 1f43b675 ff")  # a segment of unknown length
    files = [(file.read_bytes()[:end], end is not None) for file in whole for end in (None, -100)]
    files += [(struct.pack(">I4sQ", 1, b"mdat", 2**40), True), (b"\0\0\0\0mdat" + b"1" * 9, False)]
    for content, is_cut in [*files, (live, False), (b"\x47" * 188 * 9, False)]:
        (tmp_path / "made").write_bytes(content)
        assert video.is_cut_off(tmp_path / "made") == is_cut


def test_memory_stays_flat(tmp_path):
    held = {}

    def find(frame):
        gc.collect()
        held[frame] = tracemalloc.get_traced_memory()[0]
        return FACE

    tracemalloc.start()
    recognize(write_plain(tmp_path / "long.avi", 200, four="MJPG"), find=find, every=95)
    tracemalloc.stop()
    assert held[190] - held[95] < 5 * 96 * 64 * 3, "not even five of a hundred frames are held"


def test_start_and_stop_are_seconds_of_the_video(clip):
    table = recognize(clip, start=0.4, stop=0.8, find=WAY[10:].__getitem__)
    assert (table["frame"].min(), table["frame"].max(), table.attrs["frames"]) == (10, 19, 10)
    for wrong in ({"start": -1}, {"start": 1, "stop": 1}, {"start": np.nan}):
        with pytest.raises(ValueError, match="`start` < `stop`"):
            recognize(clip, **wrong)
    with pytest.raises(ValueError, match="a `start` before its end"):
        recognize(clip, start=60)


def test_without_a_detector_each_frame_is_one_face_and_unsure_ones_are_uncertain(plain):
    table = fer_keras.recognize_video(plain, network="mini-xception", detector=None, min_confidence=0.99)
    assert (len(table), table["detected"].all()) == (60, True)
    assert (set(table["id"]), set(table["emotion"])) == ({1}, {UNCERTAIN})
    assert table[BOX].drop_duplicates().to_numpy().tolist() == [[0, 0, 96, 64]]


def test_a_telephone_held_upright_gives_upright_frames(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: after version, times, track, layer and volume
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    recognize(tmp_path / "turned.mp4", tmp_path / "out.mp4")
    frames = read(tmp_path / "out.mp4")[0]
    assert (len(frames), frames[0].shape) == (40, (320, 240, 3))
    assert np.abs(np.rot90(read(clip)[0][0], -1).astype(int) - frames[0]).mean() < 12


def test_the_rate_is_the_sources(tmp_path):
    for rate in (24000 / 1001, 120000 / 1001):
        recognize(write_plain(tmp_path / "film.avi", four="MJPG", rate=rate), tmp_path / "out.mp4")
        frames, written = read(tmp_path / "out.mp4")
        assert (len(frames), written) == (60, pytest.approx(rate, abs=5e-3))


def plug_in(monkeypatch, at, times, noted=1, scales=(1, 1)):
    """Put a made-up source, whose frames are brighter each time, in the place of a camera or a file."""
    source, real = Mock(clock=0.0), cv2.VideoCapture

    def frames():
        for number, (source.clock, scale) in enumerate(zip(times, scales, strict=False), 1):
            yield True, np.full((64 * scale, 96 * scale, 3), 40 * number, np.uint8)
        yield False, None

    source.read = frames().__next__
    known = {cv2.CAP_PROP_FRAME_COUNT: lambda: 200, cv2.CAP_PROP_POS_MSEC: lambda: 1000 * noted * source.clock}
    source.get = lambda name: known.get(name, float)()  # a count of frames is a guess
    monkeypatch.setattr(cv2, "VideoCapture", lambda place, *more: source if place == at else real(place, *more))
    monkeypatch.setattr(video.time, "monotonic", lambda: source.clock)
    return source


def test_a_video_is_as_long_as_its_source_its_frames_at_their_times_and_of_one_size(plain, monkeypatch, tmp_path):
    long, even = [1] * 3 + [2] * 7 + [3] + [4] * 14 + [5], [1, 2, 3, 4, 5]  # even: the container notes no times
    film = str(plain)
    for at, stop, noted, expected in ((3, 1.0, 1, long[:12]), (film, 2.0, 1, long), (film, 2.0, 0, even)):
        source = plug_in(monkeypatch, at, [0.0, 0.12, 0.4, 0.44, 1.0], noted, scales=(1, 2, 1, 1, 1))
        assert recognize(at, tmp_path / "out.avi", stop=stop).attrs["ended"] == "whole"
        assert source.release.called
        frames, rate = read(tmp_path / "out.avi")
        assert ([round(frame.mean() / 40) for frame in frames], rate) == (expected, 25.0)


def test_a_camera_that_falls_silent_or_is_not_there(monkeypatch):
    plug_in(monkeypatch, 3, [0.0, 0.1])
    with pytest.warns(UserWarning, match=r"camera 3: Expected a whole video\. Received: no more pictures after 0\.1 s"):
        assert recognize(3).attrs == {"frames": 2, "ended": "broken"}
    plug_in(monkeypatch, 3, [])
    with pytest.raises(ValueError, match=r"camera 3: Expected .* Received: none"):
        recognize(3)


def test_a_bar_on_a_terminal_alone_and_none_without_a_console(plain, monkeypatch):
    terminal, file = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    for stream in (terminal, file, None):
        monkeypatch.setattr(sys, "stderr", stream)
        recognize(plain)
    assert ("60/60" in terminal.getvalue(), " frames/s" in terminal.getvalue(), file.getvalue()) == (True, True, "")


def test_the_command_writes_and_says_what_it_found(clip, tmp_path, capsys):
    out, csv = tmp_path / "out.mp4", tmp_path / "faces.csv"
    options = f"--csv {csv} --every 4 --smooth 0 --bars --weights mini-xception --detector haar"
    assert main(["video", str(clip), str(out), *options.split()]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{clip}: 40 frames; faces followed: 1"
    assert second.startswith("face 1: 0.0 to 1.6 s, in the mean happy ")
    assert (len(read(out)[0]), pd.read_csv(csv)["detected"].sum()) == (40, 10)
    table = pd.DataFrame({"time": 0.0, "id": np.repeat(range(1, 25), range(1, 25)), "detected": True, "sad": 1.0})
    table.attrs.update(frames=30, ended="whole")
    assert print_tracks(table, "clip") == 0
    _, *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"face {number}" for number in range(5, 25)], "the longest seen"
    assert last.startswith("and 4 that are seen for a shorter time")


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(("effect", "status"), [(KeyboardInterrupt, 130), ([True], 1)])
def test_the_command_says_in_a_line_why_it_ended(plain, monkeypatch, capsys, effect, status):
    monkeypatch.setattr(video, "is_cut_off", Mock(side_effect=effect))
    assert main(["video", str(plain), "--weights", "mini-xception", "--detector", "none"]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert (line.startswith(f"warning: {plain}: "), line.endswith("kept: 60 frames.")) == (True, True)
