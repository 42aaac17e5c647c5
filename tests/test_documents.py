"""README, guides and CONTRIBUTING: their Python runs as it stands, their commands exist, their links lead somewhere."""

import importlib.util
import re
import shlex
import shutil

import data_files
import numpy as np
import pytest
import skimage.data
import typer.main
from PIL import Image

from fer_keras import __main__ as command_line
from fer_keras import annotate, make_faces, paths

ROOT = paths.project()
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*GUIDES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", ROOT / "reports" / "report.md"]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m fer_keras (\w[^`'#\n;]*)")
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:)([^)\s]+)")
WITH_CODE = [path for path in GUIDES if PYTHON.search(path.read_text(encoding="utf-8"))]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that the guides speak of: a photo, a folder, a film, class folders, fer2013.csv."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.fromarray(skimage.data.astronaut())
    photo.save(folder / "party.jpg")
    (folder / "photos").mkdir()
    photo.save(folder / "photos" / "1.jpg")
    film = [np.asarray(photo)[:200, 100:340]] * 6
    data_files.write_csv(folder, data_files.csv_lines(data_files.fer_table(84)))
    write_film(folder / "clip.avi", film)
    faces = make_faces(12, classes=("happy", "sad"))
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        place = folder / "my_faces" / ("happy", "bored")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{number}.png")
    return folder


def write_film(path, frames):
    import cv2

    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()


@pytest.mark.filterwarnings("ignore")  # a reader's warnings do not stop these lines
@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_python_in_the_guides_runs_as_it_stands(path, files, tmp_path, own_folders, monkeypatch):
    import keras
    import matplotlib as mpl

    mpl.use("agg")
    shutil.copytree(files, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "here" / "fer2013.csv"))
    monkeypatch.setenv("FER_KERAS_RESULTS", str(ROOT / "reports" / "results"))
    if path.name == "README.md":
        plain = keras.Model.fit
        monkeypatch.setattr(keras.Model, "fit", lambda self, *a, epochs, **more: plain(self, *a, **more, epochs=2))
    names = {"__name__": "guide"}
    for block in PYTHON.findall(path.read_text(encoding="utf-8")):
        exec(compile(block, name_of(path), "exec"), names)
    if path.name == "README.md":
        assert names["faces"][0].emotion in ("bored", "happy", "uncertain"), "recognised with the network just trained"
        assert len(names["history"].epoch) == 2


def commands():
    for path in (*GUIDES, ROOT / "CONTRIBUTING.md"):
        for line in COMMAND.findall(path.read_text(encoding="utf-8")):
            yield pytest.param(line.strip().rstrip(".,:)"), id=f"{path.name} {line.strip()}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_in_the_documents_exist_with_their_options(line):
    group = typer.main.get_command(command_line.app)
    name, *words = shlex.split(line)
    command = group.get_command(None, name)
    assert command is not None, f"there is no command {name}"
    with command.make_context(name, command_line.with_addresses([name, *words])[1:], resilient_parsing=True):
        pass


def anchors(path):
    """The places in a Markdown file that a link may name."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_documents_have_no_dead_links(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


def test_readme_is_short_and_marks_its_two_tables():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1500
    marks = re.findall(r"<!--.*?-->", text)
    assert marks == ["<!-- table: networks -->", "<!-- end -->", "<!-- table: projects -->", "<!-- end -->"]


def test_the_picture_in_readme_is_what_the_code_draws(tmp_path):
    committed = ROOT / "docs" / "images" / "recognised.jpg"
    assert committed.stat().st_size < 200_000
    annotate(skimage.data.astronaut()[:320], tmp_path / "recognised.jpg", detector="haar", bars=True)
    with Image.open(committed) as old, Image.open(tmp_path / "recognised.jpg") as new:
        assert old.size == new.size
        assert np.abs(np.asarray(old, float) - np.asarray(new, float)).mean() < 2


def test_the_site_lists_every_guide_notebook_and_room():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    found = [*GUIDES, *(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "docs" / "api").glob("*.md")]
    assert [name_of(path) for path in found if name_of(path) not in text] == []
    rooms = {path.parent.name for path in (ROOT / "fer_keras").glob("[a-z]*/__init__.py")}
    assert {path.stem for path in (ROOT / "docs" / "api").glob("*.md")} == rooms


def test_no_percentage_is_typed_in_prose():
    spec = importlib.util.spec_from_file_location("reports_build", ROOT / "reports" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert build.percentage_problems() == []
