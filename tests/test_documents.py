"""README, guides and CONTRIBUTING: their Python runs as it stands, their commands exist, their links lead somewhere."""

import re
import shlex

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


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working directory with the files that the guides speak of: photos, a film, class folders, fer2013.csv."""
    import cv2

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    photo = skimage.data.astronaut()
    for name in ("party.jpg", "photos/1.jpg"):
        Image.fromarray(photo).save(tmp_path / name)
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter_fourcc(*"MJPG"), 25, (240, 200))
    for _ in range(6):
        writer.write(photo[:200, 100:340, ::-1])
    writer.release()
    data_files.write_csv(tmp_path, data_files.csv_lines(data_files.fer_table(84)))
    faces = make_faces(12, classes=("happy", "sad"))
    names = [f"{('happy', 'bored')[label]}/{number}.png" for number, label in enumerate(faces.labels)]
    data_files.write_tree(tmp_path / "my_faces", dict(zip(names, faces.images[..., 0], strict=True)))


@pytest.mark.filterwarnings("ignore")  # a reader's warnings do not stop these lines
@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_python_in_the_guides_runs_as_it_stands(path, files, own_folders, monkeypatch):
    import keras
    import matplotlib as mpl

    mpl.use("agg")
    monkeypatch.setenv("FER_KERAS_DATA", str(own_folders / "fer2013.csv"))
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


def test_commands_in_the_documents_exist_with_their_options():
    group = typer.main.get_command(command_line.app)
    lines = [line for path in DOCUMENTS[:-2] for line in COMMAND.findall(path.read_text(encoding="utf-8"))]
    assert len(lines) > 20
    for line in lines:
        name, *words = shlex.split(line.strip().rstrip(".,:)"))
        command = group.get_command(None, name)
        assert command is not None, f"there is no command {name}"
        command.make_context(name, command_line.with_addresses([name, *words])[1:], resilient_parsing=True).close()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_documents_have_no_dead_links(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, link


def test_readme_is_short_and_its_picture_is_what_the_code_draws(tmp_path):
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1500
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
