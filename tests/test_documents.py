"""README, guides and CONTRIBUTING: their Python runs as it stands, their commands exist, their links lead somewhere."""

import re
import shlex

import data_files
import moving
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
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m fer_keras (\w[^`'#\n;]*)")
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:)([^)\s]+)")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working directory with the files that the guides speak of: photos, a film, class folders, fer2013.csv."""
    monkeypatch.chdir(tmp_path)
    photo = skimage.data.astronaut()
    data_files.write_tree(tmp_path, {"party.jpg": photo, "photos/1.jpg": photo})
    moving.write("clip.avi", [photo[:200, 100:340]] * 6, four="MJPG")
    data_files.write_csv(tmp_path, data_files.csv_lines(data_files.fer_table(84)))
    faces = make_faces(12, classes=("happy", "sad"))
    names = [f"{('happy', 'bored')[label]}/{number}.png" for number, label in enumerate(faces.labels)]
    data_files.write_tree(tmp_path / "my_faces", dict(zip(names, faces.images[..., 0], strict=True)))


@pytest.mark.filterwarnings("ignore")  # a reader's warnings do not stop these lines
@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if PYTHON.search(text)])
def test_python_in_the_guides_runs_as_it_stands(name, files, own_folders, monkeypatch):
    import keras
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    monkeypatch.setenv("FER_KERAS_DATA", str(own_folders / "fer2013.csv"))
    monkeypatch.setenv("FER_KERAS_RESULTS", str(ROOT / "reports" / "results"))
    if name == "README.md":
        plain = keras.Model.fit
        monkeypatch.setattr(keras.Model, "fit", lambda self, *a, epochs, **more: plain(self, *a, **more, epochs=2))
    names = {"__name__": "guide"}
    for block in PYTHON.findall(TEXTS[name]):
        exec(compile(block, name, "exec"), names)
    pyplot.close("all")
    if name == "README.md":
        assert names["faces"][0].emotion in ("bored", "happy", "uncertain"), "recognised with the network just trained"
        assert len(names["history"].epoch) == 2


def test_commands_in_the_documents_exist_with_their_options():
    group = typer.main.get_command(command_line.app)
    lines = COMMAND.findall("\n".join(TEXTS.values()))
    assert len(lines) > 20
    for line in lines:
        name, *words = shlex.split(line.strip().rstrip(".,:)"))
        command = group.get_command(None, name)
        assert command is not None, f"there is no command {name}"
        command.make_context(name, command_line.with_addresses([name, *words])[1:], resilient_parsing=True).close()


def test_documents_have_no_dead_links():
    for path, text in zip(DOCUMENTS, TEXTS.values(), strict=True):
        for link in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), f"{path}: {link}"
            if anchor and target.suffix == ".md":
                heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
                assert anchor in anchors, f"{path}: {link}"


def test_readme_is_short_and_its_picture_is_what_the_code_draws(tmp_path):
    assert len(TEXTS["README.md"].split()) <= 1500
    committed = ROOT / "docs" / "images" / "recognised.jpg"
    assert committed.stat().st_size < 200_000
    annotate(skimage.data.astronaut()[:320], tmp_path / "recognised.jpg", detector="haar", bars=True)
    old, new = (np.asarray(Image.open(path), float) for path in (committed, tmp_path / "recognised.jpg"))
    assert np.abs(old - new).mean() < 2


def test_the_site_lists_every_guide_notebook_and_room():
    wanted = {*TEXTS, *(f"docs/api/{path.parent.name}.md" for path in (ROOT / "fer_keras").glob("[a-z]*/__init__.py"))}
    wanted |= {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    site = re.findall(r" (\S+\.(?:md|ipynb))$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*site} == {*wanted, "CHANGELOG.md"}
