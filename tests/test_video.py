"""From a video to a table and a video with boxes and emotions, whenever it is stopped; its faces keep their numbers."""

import io
import itertools
import math
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import moving
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fer_keras
from fer_keras.__main__ import main
from fer_keras.labels import FER7
from fer_keras.recognition import annotate, video
from fer_keras.recognition.detectors import Detection, overlap
from fer_keras.recognition.recognizer import UNCERTAIN
from fer_keras.recognition.tracking import COAST_SECONDS, Tracker

pytestmark = pytest.mark.filterwarnings("ignore:.*MPEG-4 part 2:UserWarning")
BOX = ["left", "top", "width", "height"]
FACE = ((20, 10, 30, 30),)
PLAIN = [np.roll(cv2.resize(moving.BACKGROUND, (96, 64)), shift, axis=1) for shift in range(60)]
RIGHT, LEFT, HERE = (10, 50, 70, 86), (240, 50, 70, 86), (100, 60, 80, 98)
BLACK, RATE = np.zeros((60, 80, 3), np.uint8), moving.RATE
HAPPY = np.repeat(moving.emotion_face("happy", seed=3, size=200)[20:180, 30:170], 3, axis=2)
WAY = [(box,) for box in np.linspace((20, 40, 60, 74), (170, 70, 96, 118), 40)]


def recognize(source, target=None, *, find=lambda frame: (), every=5, **options):
    """Recognise with a detector that finds in a frame the boxes that a function of its number gives."""
    looks = itertools.count(0, every)

    def detect(rgb):
        return [Detection(tuple(np.round(box).astype(int).tolist()), 0.9) for box in find(next(looks))]

    options |= {"network": "mini-xception", "detector": SimpleNamespace(detect=detect), "every": every}
    return fer_keras.recognize_video(source, target, **options)


def read(file):
    capture = cv2.VideoCapture(str(file))
    return [frame[..., ::-1] for _, frame in iter(capture.read, (False, None))], capture.get(cv2.CAP_PROP_FPS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return moving.write(tmp_path_factory.mktemp("clips") / "one face.mp4", moving.frames([moving.ASTRONAUT], WAY))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return moving.write(tmp_path_factory.mktemp("clips") / "plain.avi", PLAIN, four="MJPG")


def test_a_row_for_each_face_and_frame_and_in_the_file_for_a_frame_without_a_face(clip, plain, tmp_path):
    file = tmp_path / "new" / "faces.csv"
    table = recognize(clip, csv=file, find=WAY.__getitem__)
    assert (list(table), table.attrs) == ([*video.COLUMNS, *FER7], {"frames": 40, "seconds": 1.56, "ended": "whole"})
    assert (list(table["frame"]), set(table["id"]), set(table["status"])) == (list(range(40)), {1}, {"ok"})
    assert np.allclose(table["time"], table["frame"] / RATE, atol=6e-4)
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
    frames, rate = read(target)
    assert (len(frames), frames[0].shape, rate) == (10, (*moving.SIZE, 3), pytest.approx(RATE))
    before, faces = draw.call_args.args
    drawn = annotate.draw_faces(before, faces, names=["1"], bars=bars)
    loss, blank = (np.abs(each.astype(int) - drawn) for each in (frames[-1], before))
    assert (loss.mean() < 6, loss[blank > 0].mean() < blank[blank > 0].mean() / 3) == (True, True)


def test_h264_is_written_by_ffmpeg_or_a_warning_says_that_it_is_not(plain, tmp_path, monkeypatch):
    program, raw = tmp_path / "ffmpeg", tmp_path / "raw"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *-encoders*) echo " V....D libx264  H.264";; *full*) echo no space left >&2; exit 1;;'
        f' *) cat >{raw}; shift $(($# - 1)); cp {plain} "$1";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(video, "find_ffmpeg", video.find_ffmpeg.__wrapped__)
    recognize(plain, tmp_path / "out.mp4")
    assert raw.read_bytes() == b"".join(frame[..., ::-1].tobytes() for frame in read(plain)[0])
    with pytest.raises(ValueError, match=r"Expected ffmpeg to write a video. Received: no space left"):
        recognize(plain, tmp_path / "full.mp4")
    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    real = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", lambda path, api, *rest: real(path, api or cv2.CAP_IMAGES, *rest))
    with pytest.warns(UserWarning, match="MPEG-4 part 2, which browsers do not play.*pip install imageio-ffmpeg"):
        recognize(plain, tmp_path / "out.mkv")


def plug_in(monkeypatch, at, times, *, noted=1, rate=0.0):
    """Put a made-up source, each frame brighter and one larger, in the place of a camera or a file."""
    source, real = Mock(clock=0.0), cv2.VideoCapture

    def frames():
        for number, (source.clock, scale) in enumerate(zip(times, (1, 2, 1, 1, 1), strict=False), 1):
            yield True, np.full((64 * scale, 96 * scale, 3), 40 * number, np.uint8)
        yield False, None

    source.read = frames().__next__
    known = {cv2.CAP_PROP_FPS: lambda: rate, cv2.CAP_PROP_FRAME_COUNT: lambda: 200}  # a count of frames is a guess
    known[cv2.CAP_PROP_POS_MSEC] = lambda: 1000 * noted * source.clock
    source.get = lambda name: known.get(name, float)()
    monkeypatch.setattr(cv2, "VideoCapture", lambda place, *more: source if place == at else real(place, *more))
    monkeypatch.setattr(video.time, "monotonic", lambda: source.clock)
    return source


def test_a_video_is_as_long_as_its_source_its_frames_at_their_times_and_of_one_size(plain, monkeypatch, tmp_path):
    long, film = [1] * 3 + [2] * 7 + [3] + [4] * 14 + [5], str(tmp_path / "film.webm")
    (tmp_path / "film.webm").write_bytes(b"OggS\0")
    for at, stop, noted, rate, expected in (
        (3, 1.0, 1, 0, long[:12]),
        (film, 2.0, 1, 0, long),
        *((film, 2.0, 0, rate, [1, 2, 3, 4, 5]) for rate in (24000 / 1001, 120000 / 1001)),  # no times are noted
    ):
        source = plug_in(monkeypatch, at, [0.0, 0.12, 0.4, 0.44, 1.0], noted=noted, rate=rate)
        assert recognize(at, tmp_path / "out.mp4", stop=stop).attrs["ended"] == "whole"
        assert source.release.called
        frames, written = read(tmp_path / "out.mp4")
        assert [round(frame.mean() / 40) for frame in frames] == expected
        assert written == pytest.approx(rate or 25, abs=5e-3)


def test_every_frame_of_a_gif_is_shown_and_as_long_as_there(tmp_path):
    pictures, (gif, out) = [Image.fromarray(picture) for picture in PLAIN[:3]], (tmp_path / "a.gif", tmp_path / "a.mp4")
    for durations, expected in (
        ([500, 500, 4000], [1, 1, 8]),
        ([9000, 8000, 1000], [9, 8, 1]),
        ([20, 30, 40], [2, 3, 4]),
        (100, [1, 1, 1]),
    ):
        pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=durations)
        table = recognize(gif, out)
        frames, rate = read(out)
        distances = [[np.abs(frame.astype(int) - one).mean() for one in PLAIN[:3]] for frame in frames]
        assert np.bincount(np.argmin(distances, axis=1)).tolist() == expected
        assert (table.attrs["frames"], table.attrs["ended"]) == (3, "whole")
        assert rate == sum(expected) / (np.mean(durations) * 3 / 1000)


def test_what_was_done_until_the_end_is_kept(clip, plain, tmp_path, monkeypatch):
    content, middle = plain.read_bytes(), plain.stat().st_size // 2
    (cut := tmp_path / "cut.avi").write_bytes(content[:middle])
    (corrupt := tmp_path / "corrupt.avi").write_bytes(content[:middle] + bytes(range(250)) + content[middle + 250 :])
    csv, cut_off = tmp_path / "faces.csv", "Expected a whole video. Received: no more pictures after"
    plug_in(monkeypatch, 3, [0.0, 0.1])
    stop = Mock(side_effect=[*WAY[:20:5], *[KeyboardInterrupt] * 2])
    csv.write_text("earlier")
    kept = "What was done until then is kept in NAME.partial.SUFFIX: "
    for source, target, find, ended, count, words in (
        (clip, tmp_path / "a.mp4", stop, "stopped", 20, f"Stopped after 0.8 s. {kept}20 fr"),
        (cut, tmp_path / "b.avi", lambda frame: FACE, "broken", pytest.approx(30, abs=9), f"cut.avi: {cut_off} 1."),
        (3, None, lambda frame: FACE, "broken", 2, f"camera 3: {cut_off} 0.1 s"),
    ):
        with pytest.warns(UserWarning, match=words):
            table = recognize(source, target, csv=csv, find=find)
        assert (table.attrs["frames"], table.attrs["ended"], table["time"].dtype) == (count, ended, float)
        written = video.partial(csv) if ended == "stopped" else csv
        assert set(pd.read_csv(written)["frame"]) == set(range(table.attrs["frames"])) >= set(table["frame"])
        assert ended == "broken" or csv.read_text() == "earlier"
        target = target and video.partial(target) if ended == "stopped" else target
        assert target is None or len(read(target)[0]) == table.attrs["frames"]
    with pytest.raises(KeyboardInterrupt):  # before the first frame
        recognize(clip, tmp_path / "c.mp4", csv=csv, find=stop)
    assert sorted(os.listdir(tmp_path)) == ["a.partial.mp4", "b.avi", "corrupt.avi", "cut.avi", "faces.csv"]
    assert recognize(corrupt).attrs["frames"] == pytest.approx(60, abs=2)


def test_after_an_error_or_a_kill_the_files_are_called_partial_and_the_earlier_table_stays(clip, tmp_path):
    code = """if True:
        import os, sys, test_video
        for how in "0", "9", "15":  # no signal and an error, SIGKILL, SIGTERM
            os.mkdir(how)
            print("earlier", file=open(f"{how}/faces.csv", "w"))
            if not os.fork():
                os.chdir(how)
                find = lambda frame: test_video.WAY[frame] if frame < 20 else os.kill(os.getpid(), int(how))
                test_video.recognize(sys.argv[1], "faces.avi", csv="faces.csv", find=find)
            print(os.waitstatus_to_exitcode(os.wait()[1]))"""
    environment, call = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, [sys.executable, "-c", code, clip]
    done = subprocess.run(call, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert done.stdout.split() == [b"1", b"-9", b"-15"]
    for folder in tmp_path.iterdir():
        assert sorted(os.listdir(folder)) == ["faces.csv", "faces.partial.avi", "faces.partial.csv"]
        assert list(pd.read_csv(folder / "faces.partial.csv")["frame"]) == list(range(20))
        assert (folder / "faces.csv").read_text() == "earlier\n"
    assert len(read(tmp_path / "0" / "faces.partial.avi")[0]) == 20


def test_two_runs_never_write_one_file_and_a_run_that_has_no_frames_leaves_what_is_there(clip, plain, tmp_path):
    places, others = (tmp_path / "a.avi", tmp_path / "a.csv"), []
    video.partial(places[1]).write_text("of a run that was killed")
    with pytest.raises(ValueError, match=r"Expected frames from `start` to `stop`"):
        recognize(clip, places[0], csv=places[1], start=1000)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of a run that was killed"]

    def find(frame):
        for place in places if frame == 5 else ():
            with pytest.raises(ValueError, match=rf"{place.name}: Expected a file that no other run writes") as error:
                recognize(plain, **{"target" if place.suffix == ".avi" else "csv": place})
            others.append(error)
        return FACE

    recognize(plain, places[0], csv=places[1], find=find)
    assert (len(others), len(pd.read_csv(places[1])), len(read(places[0])[0])) == (2, 60, 60)
    assert sorted(os.listdir(tmp_path)) == ["a.avi", "a.csv"]


def test_a_video_that_a_full_disk_cut_is_an_error_and_stays_partial(plain, tmp_path):
    code = """if True:
        import resource, sys, pytest, test_video
        resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))  # as if the disk were full from there on
        for suffix in "mp4", "mkv", "avi", "webm":
            with pytest.raises(ValueError, match=rf"a.partial.{suffix}: Expected a whole video"):
                test_video.recognize(sys.argv[1], f"a.{suffix}")"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, plain], cwd=tmp_path, env=environment, check=True)
    assert sorted(os.listdir(tmp_path)) == [f"a.partial.{suffix}" for suffix in ("avi", "mkv", "mp4", "webm")]


@pytest.mark.skipif(sys.platform != "linux", reason="names here are text")
@pytest.mark.parametrize("name", [b"\xff.avi", b"\xff.mp4"])
def test_a_name_that_is_not_utf_8_is_refused_before_opencv_sees_it(plain, tmp_path, name):
    odd = tmp_path / os.fsdecode(name)
    odd.write_bytes(plain.read_bytes())
    for places in ((odd,), (plain, odd)):
        with pytest.raises(ValueError, match=r"udcff\.\w+': Expected a name in UTF-8"):
            recognize(*places)


def test_classes_that_would_hide_a_column_are_refused(plain):
    network = SimpleNamespace(name="own", classes=("time", "b"), size=(8, 8), temperature=1.0, card={}, predict=None)
    with pytest.raises(ValueError, match=r"no columns of the table. Received: 'time'"):
        fer_keras.recognize_video(plain, network=network, detector=None)


def test_nothing_is_written_over_the_source_or_the_other_file_or_where_it_cannot_be(clip, tmp_path):
    link, different = tmp_path / "link.mp4", "must be different files"
    link.symlink_to(clip)
    (tmp_path / "notes.png").write_bytes(b"")
    for source, target, csv, words in (
        (clip, link, None, different),
        (str(clip), None, clip.parent / "." / clip.name, "does not end in"),
        (tmp_path / "out.partial.mp4", tmp_path / "out.mp4", None, different),
        (clip, tmp_path / "out.txt", None, r"out\.txt: Expected .* Received: a name that does not end in \.mp4 or "),
        (clip, None, tmp_path, "Received: a folder"),
        *((clip, None, tmp_path / name, r"not end in \.csv") for name in ("notes.png", "faces", "new.mp4", "-")),
        (clip, None, b"faces.csv", "Expected the path of a file. Received: b'faces.csv'"),
    ):
        with pytest.raises(ValueError, match=words):
            fer_keras.recognize_video(source, target, csv=csv, network="looked for later", detector=None)
    assert len(read(clip)[0]) == 40


def test_what_is_no_video_ends_in_a_clear_error_and_leaves_nothing(clip, plain, tmp_path, monkeypatch):
    mp4, avi = clip.read_bytes(), plain.read_bytes()
    made = {"empty.mp4": b"", "words.mp4": b"no video at all\n" * 100, "headless.mp4": mp4[: len(mp4) // 2]}
    made["no frames.avi"] = avi[: avi.index(b"00dc")]
    made |= {"%d.gif": b"GIF89a", "list.mp4": f"ffconcat version 1.0\nfile '{clip.name}'\n".encode()}
    made["list.m3u8"] = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3.0,\n{clip}\n#EXT-X-ENDLIST\n".encode()
    made["list.ts"] = b"".join(part.ljust(188) for part in (b"G<?xml?>", b"G<mpd profiles='dash:profile'>", b"G"))
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    plug_in(monkeypatch, 3, [])
    for source, words in (
        *((tmp_path / name, rf"{name}: Expected .* Received: none") for name in made if name[:2] in ("he", "no")),
        *((tmp_path / name, rf"{name}: .*: (other cont|a name that)") for name in made if name[:2] not in ("he", "no")),
        *((place, "the path of a video file") for place in (tmp_path, "missing.mp4", "http://127.0.0.1:9/clip.mp4")),
        *((place, r"camera, an int from 0\. Received: ") for place in (-1, 2**31, "0", None, b"a", True)),
        (3, "camera 3: Expected .* Received: none"),
    ):
        with pytest.raises(ValueError, match=words):
            recognize(source, tmp_path / "out.mp4", csv=tmp_path / "out.csv")
    assert not list(tmp_path.glob("out*"))
    monkeypatch.setattr(video, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match=r"at most 6,143 pixels a frame\. Received: 96x64"):
        recognize(plain)


CONTAINERS = "3gp:mp4v flv:FLV1 m1v:PIM1 m2ts:PIM1 mjpeg:MJPG mov:MJPG mpg:PIM1 nut:mp4v rm:RV10 ts:PIM1 vob:MPG2"


@pytest.mark.parametrize("suffix_code", CONTAINERS.split())
def test_videos_of_other_containers_are_read(suffix_code, tmp_path):
    suffix, code = suffix_code.split(":")
    pictures = [np.full((288, 352, 3), shade, np.uint8) for shade in range(0, 200, 20)]
    place = moving.write(tmp_path / f"a.{suffix}", pictures, four=code)
    assert len(list(video.Reader(place))) == len(pictures)


def test_a_file_is_cut_off_if_it_ends_before_its_container_says(clip, plain, tmp_path):
    whole = [clip, plain, moving.write(tmp_path / "a.webm", PLAIN, four="VP80")]
    live = bytes.fromhex("1a45dfa3 82 4286 18538067 01ffffffffffffff 1f43b675 ff")  # a segment of unknown length
    files = [(file.read_bytes()[:end], end is not None) for file in whole for end in (None, -100)]
    files += [(struct.pack(">I4sQ", 1, b"mdat", 2**40), True), (b"\0\0\0\0mdat" + b"1" * 9, False)]
    for content, is_cut in [*files, (live, False), (b"\x47" * 188 * 9, False)]:
        (tmp_path / "made").write_bytes(content)
        assert video.is_cut_off(tmp_path / "made") == is_cut


def test_a_file_is_broken_of_which_far_fewer_frames_can_be_read_than_it_has(clip, tmp_path):
    mp4, stream = bytearray(clip.read_bytes()), io.BytesIO()
    index = mp4.rindex(b"moov")
    Image.fromarray(PLAIN[0]).save(stream, "GIF", save_all=True, append_images=list(map(Image.fromarray, PLAIN[1:9])))
    hole = bytes(mp4[: index // 3]) + bytes(index // 3) + bytes(mp4[2 * (index // 3) :])
    table = bytearray(mp4)  # of which an edit list shows two thirds
    for name, place in ((b"tkhd", 24), (b"elst", 12), (b"mvhd", 20)):
        struct.pack_into(">I", table, table.index(name, index) + place, 1066)
    gif = stream.getvalue()
    for content, ended in ((hole, "broken"), (table, "whole"), (gif[:-2000], "broken"), (gif, "whole")):
        (made := tmp_path / f"made.{'gif' if content[:3] == b'GIF' else 'mp4'}").write_bytes(content)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert recognize(made).attrs["ended"] == ended
        assert len(found) == (ended == "broken")


def test_memory_stays_flat(tmp_path):
    held = {}

    def find(frame):
        held[frame] = tracemalloc.get_traced_memory()[0]
        return FACE

    tracemalloc.start()
    recognize(moving.write(tmp_path / "long.avi", PLAIN * 4, four="MJPG"), find=find, every=95)
    tracemalloc.stop()
    assert held[190] - held[95] < 5 * 96 * 64 * 3, "not even five of a hundred frames are held"


def test_start_and_stop_are_seconds_without_a_detector_each_frame_is_one_face_and_options_are_checked(plain):
    options = {"network": "mini-xception", "detector": None, "min_confidence": 0.99, "start": 0.4, "stop": 0.8}
    table = fer_keras.recognize_video(plain, **options)
    assert (list(table["frame"]), table.attrs["frames"], table["detected"].all()) == (list(range(10, 20)), 10, True)
    assert (set(table["id"]), set(table["emotion"])) == ({1}, {UNCERTAIN})
    assert table[BOX].drop_duplicates().to_numpy().tolist() == [[0, 0, 96, 64]]
    wrong = {"start": (-1, 60, np.nan), "every": (0, 2.5, True), "smoothing_seconds": (-1, np.nan)}
    for option, value in [(name, value) for name in wrong for value in wrong[name]]:
        with pytest.raises(ValueError, match=rf"`{option}`.*Received: {value}"):
            recognize(plain, **{"stop": 100.0, option: value})
    assert recognize(plain, smoothing_seconds=np.float32(0.5), start=np.float32(2)).attrs["frames"] == 10
    with pytest.raises(ValueError, match=r"Expected frames from `start` to `stop`. Received: 0.001, 0.01: none"):
        recognize(plain, start=0.001, stop=0.01)


def test_a_telephone_held_upright_gives_upright_frames(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: after version, times, track, layer and volume
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    recognize(tmp_path / "turned.mp4", tmp_path / "out.mp4")
    first, turned = read(clip)[0][0], read(tmp_path / "out.mp4")[0][0]
    assert np.abs(np.rot90(first, -1).astype(int) - turned).mean() < 12


def test_a_bar_on_a_terminal_alone_and_none_without_a_console(plain, monkeypatch):
    terminal, file = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    for stream in (terminal, file, None):
        monkeypatch.setattr(sys, "stderr", stream)
        recognize(plain)
    assert ("60/60" in terminal.getvalue(), file.getvalue()) == (True, "")


@pytest.mark.filterwarnings("always")
def test_the_command_writes_and_says_what_it_found_and_why_it_ended(clip, plain, tmp_path, capsys, monkeypatch):
    out, csv = tmp_path / "out.mp4", tmp_path / "faces.csv"
    options = f"--csv {csv} --every 4 --smooth 0 --bars --weights mini-xception --detector haar"
    assert main(["video", str(clip), str(out), *options.split()]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{clip}: 40 frames; faces followed: 1"
    assert second.startswith("face 1: 0.0 to 1.6 s, in the mean happy ")
    assert (len(read(out)[0]), pd.read_csv(csv)["detected"].sum()) == (40, 10)
    for effect, status in ((KeyboardInterrupt, 130), ([True], 1)):
        monkeypatch.setattr(video, "is_cut_off", Mock(side_effect=effect))
        assert main(["video", str(plain), "--weights", "mini-xception", "--detector", "none"]) == status
        (line,) = capsys.readouterr().err.splitlines()
        assert (line.startswith(f"warning: {plain}: "), line.endswith(": 60 frames.")) == (True, True)


def oracle(boxes):
    """A detector that finds each face whose middle is in the picture, unless a nearer one hides it."""
    there = [np.array(box) for box in boxes if box is not None]

    def detect(rgb):
        seen = [box for number, box in enumerate(there) if all(overlap(box, o) <= 0.35 for o in there[number + 1 :])]
        seen = [box for box in seen if (abs(2 * box[:2] + box[2:] - rgb.shape[1::-1]) <= rgb.shape[1::-1]).all()]
        return [Detection(tuple(np.round(box).astype(int).tolist()), 0.9, 20.0) for box in seen]

    return detect


def track(places, *faces, pictures=None, **options):
    """For each frame the tracks that are seen, as `(id, box, detected)`, and the ids of all; made or given pictures."""
    tracker, seen = Tracker(**options), []
    for number, (picture, boxes) in enumerate(zip(pictures or moving.frames(faces, places), places, strict=True)):
        tracks = tracker.update(picture, number / RATE, oracle(boxes))
        assert {one.detection(picture.shape)[1:] for one in tracks} <= {(0.9, 20.0)}, "score and angle of the last look"
        seen.append([(one.id, one.detection(picture.shape).box, one.detected) for one in tracks])
    return seen, sorted({one[0] for frame in seen for one in frame})


@pytest.mark.parametrize("every", [1, 5, 15])
@pytest.mark.parametrize("face", [moving.ASTRONAUT, HAPPY], ids=["photo", "synthetic"])
def test_one_face_keeps_its_number_and_its_box_follows(face, every):
    places = [(box,) for box in np.linspace((20, 40, 60, 74), (190, 70, 96, 118), 45)]
    seen, ids = track(places, face, every=every)
    assert ids == [1]
    for number, (((_, box, detected),), (truth,)) in enumerate(zip(seen, places, strict=True)):
        assert (overlap(box, truth) > 0.85, detected) == (True, number % every == 0)


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("drop", [0, 50], ids=["fully", "partly"])
def test_two_faces_that_cross_keep_their_numbers(every, drop):
    front = np.add(np.linspace(LEFT, RIGHT, 60), (0, drop, 0, 0))
    places = list(zip(np.linspace(RIGHT, LEFT, 60), front, strict=True))
    seen, ids = track(places, moving.ASTRONAUT, HAPPY, every=every)
    assert ids == [1, 2]
    for moment in (0, -1):
        assert [one[0] for one in seen[moment]] == [1, 2]
        assert all(overlap(one[1], box) > 0.85 for one, box in zip(seen[moment], places[moment], strict=True))
    assert all(max(overlap(one[1], box) for one in frame) > 0.85 for frame, box in zip(seen, front, strict=True))
    assert drop or min(map(len, seen)) == 1, "the face behind is not seen while it is hidden"


@pytest.mark.parametrize(("seconds", "ids"), [(None, [1, 2]), (0.6, [1]), (2 * COAST_SECONDS, [1, 2])])
def test_a_face_that_left_or_is_hidden_is_not_seen_and_keeps_its_number_for_a_while(seconds, ids):
    outside = (330, 60, 80, 98)
    away = [*np.linspace(HERE, outside, 35), *np.linspace(outside, HERE, 35)] if seconds is None else []
    places = [HERE] * 15 + (away or [None] * math.ceil(seconds * RATE)) + [HERE] * 10
    seen, found = track([(box,) for box in places], moving.ASTRONAUT, every=5)
    hidden = seen[47:53] if away else seen[15:-10]
    assert (found, any(hidden), len(seen[-1])) == (ids, False, 1)
    boxes = np.array([box for frame in seen for _, box, _ in frame])
    assert ((boxes[:, :2] >= 0) & (boxes[:, 2:] > 0) & (boxes[:, :2] + boxes[:, 2:] <= (320, 240))).all()


def test_a_face_that_the_detector_misses_is_followed_for_a_while_but_not_a_single_false_alarm():
    pictures = list(moving.frames([moving.ASTRONAUT], [(HERE,)] * 60))
    seen, _ = track([(HERE,)] * 10 + [()] * 50, pictures=pictures, every=5)
    lasts = [number for number, frame in enumerate(seen) if frame]
    assert lasts == list(range(len(lasts)))
    assert (lasts[-1] - 5) / RATE == pytest.approx(COAST_SECONDS, abs=5 / RATE)
    assert [number for number in lasts if seen[number][0][2]] == [0, 5]
    assert not any(track([(HERE,)] + [()] * 19, pictures=pictures[:20], every=5)[0][5:])


def test_a_cut_to_another_scene_ends_what_was_followed_and_what_cannot_be_followed_waits_for_the_next_look():
    places = [(HERE,)] * 12 + [(None,)] * 3
    pictures = list(moving.frames([moving.ASTRONAUT], places))
    pictures[12:] = [np.roll(picture[::-1, ::-1], 40, axis=1) for picture in pictures[12:]]
    for every, boxes, shown, counts in (
        (15, places, pictures, [1] * 12 + [0] * 3),
        (3, [((20, 10, 30, 30),)] * 7, [BLACK] * 7, [1, 0, 0, 1, 0, 0, 1]),
        (1, [((5, 5, 20, 20),)] * 3, [BLACK, BLACK[:30, :40], BLACK], [1, 1, 1]),  # the size changes
    ):
        seen, ids = track(boxes, pictures=shown, every=every)
        assert ([len(frame) for frame in seen], ids[0]) == (counts, 1)


@pytest.mark.parametrize("constant", [0.5, 0])
def test_smoothing_is_the_formula_over_seconds(constant):
    given, times = np.random.default_rng(0).dirichlet(np.ones(7), size=6), [0.0, 0.04, 0.08, 0.3, 0.31, 2.0]
    tracker, expected = Tracker(smoothing_seconds=constant), given[0]
    tracks = tracker.update(BLACK, 0.0, oracle([(5, 5, 20, 20)]))
    for elapsed, time, values in zip(np.diff(times, prepend=0.0), times, given, strict=True):
        kept = math.exp(-elapsed / constant) if constant else 0
        expected = kept * expected + (1 - kept) * values
        assert tracker.smooth(tracks, values[None], time)[0] == pytest.approx(expected, abs=1e-12)
