"""FER-2013 as tables, and what else lies beside pictures as text: the votes of FER+, lists of labels and of rows."""

import gzip
import itertools
import shutil
import sys
from functools import partial

import data_files as files
import numpy as np
import pandas as pd
import pytest

from fer_keras import data
from fer_keras.data import ferplus_targets, join_ferplus, load_faces, load_fer4, load_fer7, load_ferplus, load_folder
from fer_keras.data.ferplus import plurality
from fer_keras.labels import FER6, FERPLUS8, FERPLUS_VOTES

VOTES = "fer2013new.csv"

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def table():
    table = files.fer_table(42)
    table["votes"][5] = 0
    table["votes"][5, -1] = 10  # an image that FER+'s authors removed
    return table


WRITTEN = {
    "other-order": lambda lines: [",".join((line.split(",") * 2)[1:4]) for line in lines],
    "quotes": lambda lines: [lines[0], *(",".join(f'"{field}"' for field in line.split(",")) for line in lines[1:])],
    "crlf": lambda lines: [line + "\r" for line in lines],
    "blank-lines": lambda lines: [*lines, "", ""],
    "bom": lambda lines: ["\ufeff" + lines[0], *lines[1:]],
    "index-column": lambda lines: [f"{number},{line}" for number, line in enumerate(lines)],
    "blanks": lambda lines: [line.replace(",", ", ") for line in lines],
    "two-spaces": lambda lines: [line.replace(" ", "  ") for line in lines],
    "header": lambda lines: [line.replace(",Usage", ",Usage ").replace("emotion", " emotion") for line in lines],
    "no-last-newline": lambda lines: lines,
}


@pytest.mark.parametrize("change", WRITTEN)
def test_csv_written_in_other_ways_means_the_same(tmp_path, table, change):
    file = files.write_csv(tmp_path / "data", WRITTEN[change](files.csv_lines(table)))
    if change == "no-last-newline":
        file.write_bytes(file.read_bytes().removesuffix(b"\n"))
    files.expect(load_fer7(file), table)


def write(folder, name, table):
    """Write the data set that a file of that name belongs to."""
    if name in (VOTES, "adsp_rows.csv"):
        files.write_csv(folder, files.csv_lines(table))
    if "label" in name:
        make = files.write_rafdb_list if "list" in name else files.write_rafdb_folders
        make(folder, files.rafdb_faces())
    else:
        files.write_csv(folder, LINES[name](table), name)
    return next(folder.rglob(name))


LINES = {"fer2013.csv": files.csv_lines, "icml_face_data.csv": files.icml_lines, "train.csv": files.challenge_lines}
CSV_NAMES = tuple(LINES)
LINES |= {VOTES: files.ferplus_lines, "adsp_rows.csv": lambda table: ["split,class,row"]}
LOADERS = {"adsp_rows.csv": partial(load_fer4, protocol="course")}
LOADERS |= dict.fromkeys(("list_patition_label.txt", "train_labels.csv"), data.load_rafdb)


def first_pixel(text):
    return lambda row: row[:2] + text + row[2:].split(" ", 1)[1]


def put(column, value):
    place = ["Usage", "Image name", *FERPLUS_VOTES].index(column)
    return lambda row: ",".join([*row.split(",")[:place], value, *row.split(",")[place + 1 :]])


LABEL_7 = (lambda row: "7" + row[1:], r"emotion in 0\.\.6. Received: '7'")
A_FIELD_MORE = (lambda row: row + ",1", r"Expected [23] fields. Received: [34]")
NOT_UTF_8 = (lambda row: row + "\udcff", "Expected UTF-8 text. Received: byte 0xff")
CUT = (lambda row: row[:4000], "Expected (2304 pixels|3 fields)")
BAD_ROWS = [
    (first_pixel(""), "Expected 2304 pixels. Received: 2303"),
    (first_pixel("9 9 "), "Expected 2304 pixels. Received: 2305"),
    ("3,,Training", "Expected 2304 pixels. Received: 0"),
    *((first_pixel(f"{text} "), rf"pixels in 0\.\.255. Received: '{text}'") for text in (256, 65541, -1, 1.5, "ab")),
    (first_pixel(20 * "9" + " "), r"pixels in 0\.\.255"),
    (lambda row: "happy" + row[1:], r"emotion in 0\.\.6. Received: 'happy'"),
    (lambda row: "€€€€€€€€" + row[1:], r"emotion in 0\.\.6"),
    (lambda row: row.rsplit(",", 1)[0] + ",Testing", "Usage of Training, .* Received: 'Testing'"),
    (lambda row: row.rsplit(",", 1)[0] + ",training", "Usage of Training, .* Received: 'training'"),
    (lambda row: row.replace(" ", "\0", 1), "Expected "),
]  # fmt: skip
BAD_VOTES = [
    (put("happiness", "11"), r"Expected votes in 0\.\.10. Received: '11'"),
    (put("anger", "1.0"), r"Expected votes in 0\.\.10. Received: '1\.0'"),
    (put("Usage", "Test"), "Expected a Usage of Training, .* Received: 'Test'"),
    ("Training,x.png" + 10 * ",0", "Expected 1 to 10 votes in a row. Received: 0"),
    ("Training,x.png" + 10 * ",2", "Expected 1 to 10 votes in a row. Received: 20"),
]
PICTURE = r"Expected a picture and a label in 1\.\.7"
BAD_LABELS = [  # instead of "train_00031.jpg 3"
    ("train_00031.jpg 8", PICTURE + ". Received: 'train_00031"),
    ("train_00031.jpg", PICTURE),
    ("train_00002.jpg 3", r"Expected each picture once. Received: train_00002\.jpg again"),
    ("train_00903.jpg 3", r"Expected its picture in Image/aligned. Received: none"),
    ("valid_00031.jpg 3", r"Expected a name train_N\.jpg or test_N\.jpg. Received: valid_00031\.jpg"),
]
BAD_NUMBERS = [  # instead of "train_00030_aligned.jpg,2"
    ("train_00030_aligned.jpg,4", "Expected the label 2, as of its folder"),
    ("train_00030_aligned.jpg,9", PICTURE),
    ("train_00030_aligned.jpg 2", PICTURE),
    ("train_00002_aligned.jpg,2", "Expected each picture once"),
    ("train_00903_aligned.jpg,2", r"train_00030_aligned\.jpg: Expected its label in train_labels\.csv"),
]
CASES = [
    *itertools.product(CSV_NAMES, (LABEL_7, A_FIELD_MORE, NOT_UTF_8, CUT)),
    *(("fer2013.csv", case) for case in BAD_ROWS),
    *((VOTES, case) for case in BAD_VOTES),
    *(("list_patition_label.txt", case) for case in BAD_LABELS),
    *(("train_labels.csv", case) for case in BAD_NUMBERS),
]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_bad_line_is_named_and_can_be_skipped(tmp_path, table, name, case):
    (change, message), load = case, LOADERS.get(name, load_fer7)
    file = write(tmp_path / "good", name, table)
    known = load(tmp_path / "good")
    num_left, num_kept = len(known) - 1, len(list((tmp_path / "cache").rglob("*.npy")))
    lines = file.read_text("utf-8").splitlines()
    lines[30] = change(lines[30]) if callable(change) else change
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    first = "" if "its label" in message else rf"{name}, line 31: .*"
    faces = files.skipped(first + message, load, tmp_path / "good")
    assert "1 skipped" in faces.source or "2 skipped" in faces.source
    assert f"{name}, line 31: " in "".join(faces.skipped)
    # of RAF-DB the line, and the picture that is left without a label
    assert len(faces.skipped) == 1 + ("label" in name and "as of its folder" not in message)
    if name == VOTES:
        np.testing.assert_array_equal(np.flatnonzero(faces.votes.sum(axis=1) == 0), [29])
        faces, known = faces.take(faces.rows != 29), known.take(known.rows != 29)
        np.testing.assert_array_equal(faces.votes, known.votes)
    pairs, all_pairs = (set(zip(each.digests.tolist(), each.labels.tolist(), strict=True)) for each in (faces, known))
    assert pairs <= all_pairs
    assert len(faces) == num_left
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == num_kept


UTF_8 = ": Expected UTF-8 text .* compressed or binary"
NONE = "Expected faces. Received: none that can be read"
BAD_FILES = [
    ("fer2013.csv", "emotion,Usage", "line 1: Expected the columns .* Received: emotion,Usage. Add or rename pixels"),
    ("fer2013.csv", "emotion,pixels,Usage,pixels", "each once"),
    ("fer2013.csv", "", "an empty file or line"),
    ("fer2013.csv", "emotion,pixels,Usage", NONE),
    ("fer2013.csv", "emotion,pixels,Usage\n1,2 3,Training", f"{NONE}|line 2: Expected 2304 pixels"),
    ("fer2013.csv", "emotion, Use, pixels", "Received: emotion,Use,pixels. Add or rename Usage"),
    ("fer2013.csv", "label,pixels", "Add or rename emotion, Usage"),
    ("fer2013.csv", "emotion;pixels;Usage", "Received: emotion;pixels;Usage. Separate fields by commas, not by ';'"),
    ("fer2013.csv", "emotion\tpixels", r"Separate fields by commas, not by '\\t'"),
    ("fer2013.csv", "emotion,pixels,pixels", "Expected the columns emotion,pixels, each once"),
    ("fer2013.csv", "emotion,pix", "Expected the columns emotion,pixels,Usage"),
    ("fer2013.csv", gzip.compress(b"emotion,pixels,Usage\n", mtime=0), UTF_8),
    ("fer2013.csv", "emotion,pixels,Usage\n".encode("utf-16"), UTF_8),
    ("fer2013.csv", "émotion,".encode("latin-1"), UTF_8),
    (VOTES, lambda lines: lines[:-1], r"Expected 42 rows, as many as the fer2013\.csv .* Received: 41"),
    (VOTES, lambda lines: [*lines, lines[-1]], "Received: 43"),
    (VOTES, lambda lines: [*lines[:5], lines[10], *lines[6:10], lines[5], *lines[11:]],
     r"line 6: Expected the Usage .* gives train. Received: validation \(2 such rows\)"),
    (VOTES, lambda lines: [lines[0].replace("NF", "nf"), *lines[1:]], "line 1: .* Add or rename NF"),
    ("adsp_rows.csv", "class,part,row\nhappy,train,3", "Expected .*split,class,row.* Add or rename split"),
    ("adsp_rows.csv", "split,class,row\ntrain,happy,3\ntrain,angry,0", "line 3: .* Received: train, angry, 0"),
    ("adsp_rows.csv", "split,class,row\ndev,happy,3", "line 2"),
    ("adsp_rows.csv", "split,class,row\ntrain,happy,x", "line 2"),
    ("adsp_rows.csv", "split,class,row\ntrain,sad,99", r"row 99, which it lacks \(1 such rows\)"),
    ("adsp_rows.csv", "split,class,row\ntrain,sad,3\ntrain,sad,3", "line 3: .*a row that comes once"),
    ("adsp_rows.csv", "", "Expected .*split,class,row"),
    ("train_labels.csv", lambda lines: lines[1:], "line 1: Expected the header image,label. Received: 'train_0000"),
    ("list_patition_label.txt", b"\xff\xfe\x00", "Expected UTF-8 text"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_table_that_is_bad_as_a_whole_is_refused_either_way(tmp_path, table, name, change, message):
    file = write(tmp_path / "data", name, table)
    content = files.text(change(file.read_text().splitlines())) if callable(change) else change
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    load, place = LOADERS.get(name, load_fer7), file if name == "fer2013.csv" else tmp_path / "data"
    for on_error in ("raise", "skip"):
        files.refused(f"{name}.*({message})", load, place, on_error=on_error)
    if name != "adsp_rows.csv":
        assert files.nothing_cached(tmp_path)


@pytest.mark.parametrize("name", CSV_NAMES)
@pytest.mark.parametrize("cut", [1, 2, 3000, 6000])
def test_a_csv_cut_in_its_last_row_even_in_its_last_number_is_refused(tmp_path, table, name, cut):
    table["images"][-1, -1, -1] = 131
    file = write(tmp_path / "data", name, table)
    file.write_bytes(file.read_bytes().rstrip(b'"\n')[:-cut])
    expected = "a line break at the end of the file" if cut < 3 and name != "fer2013.csv" else ""
    faces = files.skipped(rf"{name}, line 43: Expected {expected}", load_fer7, file)
    assert (len(faces), len(faces.skipped)) == (41, 1)
    assert files.nothing_cached(tmp_path)


def test_train_csv_gets_a_split_of_our_own_which_is_announced(tmp_path, capsys, monkeypatch):
    table = files.fer_table(140)
    file = files.write_csv(tmp_path / "data", files.challenge_lines(table), "train.csv")
    lone = files.write_csv(tmp_path / "lone", files.challenge_lines(table))
    for path in (file, file.parent, lone, lone.parent):  # the second from the cache
        faces = load_fer7(path, protocol="own")
        assert faces.source.startswith("CSV ")
        assert "no Usage: split 80/10/10 by class, copies kept together (seed 0)" in faces.source
        assert capsys.readouterr().err == f"fer_keras: {path}: {faces.source}\n"
        assert (faces.protocol, faces.fer2013_rows) == ("own", 0)
        assert faces.counts()["total"].tolist() == [112, 14, 14]
        np.testing.assert_array_equal(faces.images[..., 0], table["images"])
        np.testing.assert_array_equal(faces.labels, table["emotion"])
    renamed = shutil.copy(lone, tmp_path / "renamed.csv")  # a copy has the name of its own
    assert [load_fer7(path).source.partition(",")[0] for path in (renamed, lone)] == [
        "CSV renamed.csv",
        "CSV fer2013.csv",
    ]
    monkeypatch.setattr("fer_keras.data.fer2013_tables.NUM_TRAINING", 141)
    file.write_bytes(file.read_bytes() + files.text([files.challenge_lines(table)[1]]))
    assert load_fer7(file).source.startswith("FER-2013, CSV, no Usage: split 80/10/10")


def test_in_the_challenges_folder_the_official_split_is_preferred_and_test_csv_is_refused(tmp_path, table, capsys):
    test = files.write_csv(tmp_path / "data", files.csv_lines(table, "pixels"), "test.csv")
    for path in (test, test.parent):
        files.refused(r"test\.csv, line 1: .* no emotion, .* Pass its train\.csv", load_fer7, path)
    write(test.parent, "train.csv", table)
    assert load_fer7(test.parent).protocol == "own"
    expected = r"Expected the official split\. Received: the challenge's train\.csv"
    files.refused(expected, load_fer7, test.parent, protocol="official")
    capsys.readouterr()
    write(test.parent, "icml_face_data.csv", table)
    files.expect(load_fer7(test.parent), table)
    assert "split 80/10/10" not in capsys.readouterr().err
    assert load_fer7(test.parent, protocol="own").protocol == "own"


def test_parquet_is_read_with_its_votes_and_refused_with_a_column_missing_or_cut_or_without_pyarrow(
    tmp_path, table, monkeypatch
):
    frame = files.parquet_frame(table)
    faces = load_fer7(files.write_parquet(tmp_path / "data", frame))
    faces = faces.take(np.argsort(faces.rows))
    files.expect(faces, table)
    np.testing.assert_array_equal(faces.votes, table["votes"])
    faces = load_fer7(files.write_parquet(tmp_path / "none", frame[["row", "Usage", "emotion", "png"]]))
    assert (faces.votes, faces.source) == (None, "FER-2013, Parquet, not as published")
    folder = files.write_parquet(tmp_path / "a", frame.drop(columns="png"))
    files.refused(r"training\.parquet: Expected the columns .* without png", load_fer7, folder)
    file = files.write_parquet(tmp_path / "b", frame) / "fer2013-publictest.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    files.refused(r"publictest\.parquet: Expected a whole Parquet file", load_fer7, tmp_path / "b")
    other = file.with_name("train-00000-of-00001.parquet")
    frame.rename(columns={"png": "image", "emotion": "label"}).to_parquet(other)
    message = (
        "columns row, Usage, emotion, png. Received: row, Usage, label, image, .*without emotion, png. .*load_folder"
    )
    for load in (load_fer7, load_faces):
        files.refused(f"of-00001.parquet: Expected the {message}", load, other)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "fer_keras\[data\]"'):
        load_fer7(tmp_path / "b")


CELLS = [
    *(("ferplus_fear", votes, "Expected 1 to 10 votes") for votes in (-3, 1e9, np.nan)),
    ("row", np.nan, "row 3 of the file: Expected a row number"),
    ("row", 2, "row 2: Expected each row number once"),
    ("row", 35887, "row 3 of the file: Expected a row number in 0..35886"),
    ("Usage", ["Training"], "Expected a Usage of Training"),
    ("Usage", "PrivateTest", "Expected the Usage Training in this file"),
    ("Usage", "Dev", "row 3: Expected a Usage of Training, .* Received: 'Dev'"),
    ("emotion", 2.5, "Expected an emotion in 0..6"),
    ("emotion", 7, r"emotion in 0\.\.6. Received: 7"),
    ("png", files.png(np.zeros((48, 47), np.uint8)), "row 3: Expected 48x48 pixels. Received: 48x47"),
    ("png", files.png(files.noise(1)[0])[:900], "row 3: Expected a whole picture"),
    ("png", None, "row 3: Expected the bytes of a PNG"),
    ("png", files.claimed(60_000, 1_000), "at most 50,000,000 pixels. Received: 60000x1000"),
]


@pytest.mark.parametrize(("column", "value", "message"), CELLS, ids=range(len(CELLS)))
def test_a_bad_cell_of_parquet_is_named_and_can_be_skipped(column, value, message, tmp_path, table):
    folder, is_list = files.write_parquet(tmp_path / "data", files.parquet_frame(table)), isinstance(value, list)
    file = folder / "fer2013-training.parquet"
    frame = pd.read_parquet(file)
    values = [value if index == 3 else [each] if is_list else each for index, each in enumerate(frame[column])]
    frame.assign(**{column: values}).to_parquet(file)
    faces = files.skipped(rf"training\.parquet, .*{message}", load_fer7, folder)
    assert len(faces) == (28 if is_list else 41)


@pytest.fixture
def folder(tmp_path, table):
    return write(tmp_path / "data", VOTES, table).parent


@pytest.mark.parametrize("lines", [files.csv_lines, files.icml_lines])
def test_votes_beside_the_faces_are_joined_and_announced(tmp_path, table, lines):
    file = files.write_csv(tmp_path / "data", lines(table))
    assert load_fer7(file).votes is None
    for votes in (table["votes"][3], [1, 0, 0, 0, 0, 0, 0, 0, 9, 0]):
        table["votes"][7] = votes
        files.write_csv(tmp_path / "data", files.ferplus_lines(table), VOTES)
        for path in (file, tmp_path / "data", file):  # the last from the cache
            faces = load_fer7(path)
            files.expect(faces, table)
            np.testing.assert_array_equal(faces.votes, table["votes"])
            assert "FER+" in faces.source


def test_votes_are_joined_by_row_to_any_selection_but_not_to_faces_of_other_rows(tmp_path, table):
    file = files.write_csv(tmp_path / "votes", files.ferplus_lines(table), VOTES)
    faces = load_fer7(files.write_csv(tmp_path / "data", files.csv_lines(table)))
    order = np.random.default_rng(0).permutation(42)[:30]
    for some, path in ((faces.take(order), file), (faces.take(order).resplit(seed=0), file.parent)):
        np.testing.assert_array_equal(join_ferplus(some, path).votes, table["votes"][order])
    # The rows of a part are numbered anew: those of all are others.
    part = load_fer7(files.write_csv(tmp_path / "part", [files.csv_lines(table)[0], *files.csv_lines(table)[4:8]]))
    files.refused(r"Expected 4 rows, .* Received: 42", join_ferplus, part, file)
    faces = load_fer7(files.write_csv(tmp_path / "own", files.challenge_lines(table), "train.csv"))
    files.refused(r"Expected faces that know their rows .* Join the votes to fer2013\.csv", join_ferplus, faces, file)
    files.refused("no such file", join_ferplus, faces, tmp_path)


#                 neutral happiness surprise sadness anger disgust fear contempt unknown NF
CASES = {
    "single-votes-are-outliers": ([1, 3, 1, 1, 1, 1, 1, 1, 0, 0], {"happy": 1}, {"happy": 1}),
    "nothing-but-outliers": ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], {}, {}),
    "half-is-no-majority": ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], {}, {"neutral": 0.5, "sad": 0.5}),
    "half-of-what-is-left": ([5, 0, 0, 4, 1, 0, 0, 0, 0, 0], {"neutral": 1}, {"neutral": 5 / 9, "sad": 4 / 9}),
    "three-quarters-end-it": ([6, 0, 0, 2, 0, 0, 0, 0, 0, 0], {"neutral": 1}, {"neutral": 1}),
    "three-emotions": ([4, 0, 0, 3, 3, 0, 0, 0, 0, 0], {}, {"neutral": 0.4, "sad": 0.3, "angry": 0.3}),
    "four-equal-emotions": ([0, 2, 2, 2, 2, 0, 0, 0, 0, 0], {}, {}),
    "unknown-wins": ([3, 0, 0, 0, 0, 0, 0, 0, 7, 0], {}, {}),
    "no-face": ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], {}, {}),
    "unknown-second-ends-it": ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], {"neutral": 1}, {"neutral": 1}),
    "unknown-second-and-too-little": ([4, 0, 0, 2, 0, 0, 0, 0, 4, 0], {}, {}),
    "contempt": ([0, 0, 0, 0, 0, 0, 0, 7, 3, 0], {"contempt": 1}, {"contempt": 1}),
}


@pytest.mark.parametrize(("mode", "place"), [("majority", 1), ("probability", 2)])
def test_the_rules_of_ferplus(mode, place):
    votes, expected = np.array([case[0] for case in CASES.values()]), [case[place] for case in CASES.values()]
    targets = [[each.get(name, 0) for name in FERPLUS8] for each in expected]
    np.testing.assert_allclose(ferplus_targets(votes, mode=mode), targets, rtol=1e-6)
    assert plurality(votes, mode=mode).tolist() == [next(iter(each), "") for each in expected]


def test_a_selection_of_classes_leaves_out_rows_that_another_wins():
    votes = np.array([[4, 3, 3, 0, 0, 0, 0, 0, 0, 0], [3, 4, 3, 0, 0, 0, 0, 0, 0, 0]])
    targets = ferplus_targets(votes, ("surprise", "happy"), mode="probability")
    np.testing.assert_allclose(targets, [[0, 0], [3 / 7, 4 / 7]], rtol=1e-6)


def test_what_ferplus_does_not_have_is_refused(tmp_path, table):
    csv = files.write_csv(tmp_path / "a", files.csv_lines(table))
    train = files.write_csv(tmp_path / "b", files.challenge_lines(table), "train.csv")
    for message, ask in (
        ("Unknown mode 'plurality'.*majority, pro", lambda: plurality(np.ones((1, 10)), mode="plurality")),
        ("`votes` must have the shape", lambda: ferplus_targets(np.ones((1, 8)))),
        ("Unknown class 'bored'", lambda: load_ferplus(classes=("bored",))),
        (r"with the votes of FER\+\. .* Put fer2013new\.csv", lambda: load_ferplus(csv)),
        ("Expected the official split", lambda: load_ferplus(train)),
        ("different names", lambda: load_ferplus(csv, classes=("happy", "happy"))),
        (
            r"/b.zip: Expected FER-2013 with the votes",
            lambda: load_ferplus(files.as_zip(csv.parent).rename(tmp_path / "b.zip")),
        ),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.parametrize("mode", ["majority", "probability"])
def test_load_ferplus_keeps_rows_with_a_winner_under_its_label(folder, table, mode):
    winners = plurality(table["votes"], mode=mode)
    for classes in (FERPLUS8, FER6):
        faces = load_ferplus(folder, mode=mode, classes=classes)
        assert (faces.protocol, faces.classes, mode in faces.source) == ("official", classes, True)
        assert sorted(faces.rows) == np.flatnonzero(np.isin(winners, classes)).tolist()
        assert np.array(classes)[faces.labels].tolist() == winners[faces.rows].tolist()
        np.testing.assert_array_equal(faces.images[..., 0], table["images"][faces.rows])
        np.testing.assert_array_equal(faces.votes, table["votes"][faces.rows])


def test_the_folders_of_ferplus_are_read_as_ferplus(tmp_path, table):
    place = files.write_ferplus(tmp_path / "plus", table)
    known = load_ferplus(files.write_parquet(tmp_path / "p", files.parquet_frame(table)))
    for load in (load_ferplus, load_faces):
        faces = load(place)
        assert (faces.classes, faces.protocol, bool(faces.difference)) == (FERPLUS8, "official", True)
        assert faces.fingerprint == known.fingerprint
    for load in (load_fer7, load_folder):
        files.refused("load_ferplus", load, place)
    label = place / "FER2013Train" / "label.csv"
    label.write_text(label.read_text().replace(",", ",99,", 1).replace("fer0000001.png", "../1.png"))
    assert len(files.skipped(r"label\.csv, line 1", load_ferplus, place).skipped) == 2


BAD_LABELS = [("fer0000001.png", ""), ("fer0000001.png", "fer0000000.png"), ('48)"', "48)" + "x" * 200_000)]


@pytest.mark.parametrize(("old", "new"), BAD_LABELS)
def test_a_bad_line_of_the_labels_of_ferplus_costs_one_picture_and_a_mark_of_utf_8_none(
    tmp_path, table, old, new, capsys
):
    place = files.write_ferplus(tmp_path / "plus", table)
    count, label = len(load_ferplus(place)), place / "FER2013Train" / "label.csv"
    label.write_text(label.read_text(), encoding="utf-8-sig")
    (label.parent / "extra.png").write_bytes(b"")
    assert len(load_ferplus(place)) == count
    assert "label.csv: 1 pictures beside it have no row that is read, such as extra.png" in capsys.readouterr().err
    lines = label.read_text(encoding="utf-8-sig").splitlines()
    label.write_text("\n".join([lines[0], lines[1].replace(old, new), *lines[2:]]))
    faces = files.skipped(r"label\.csv, line 2: ", load_ferplus, place)
    assert (len(faces.skipped), count - len(faces)) in ((1, 0), (1, 1))


def test_the_real_votes_leave_the_published_numbers_of_rows(fer2013):
    for mode, expected in (("majority", [25060, 3199, 3153]), ("probability", [27956, 3505, 3505])):
        assert load_ferplus(fer2013, mode=mode).counts()["total"].tolist() == expected
