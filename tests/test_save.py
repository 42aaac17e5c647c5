"""A figure's file stays as it is unless the picture looks different, and the quick profile keeps out of the report."""

import io
import itertools

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image, ImageChops, ImageFilter

from fer_keras import paths, plots
from fer_keras.labels import COLOURS
from fer_keras.plots.style import as_png


@pytest.fixture(autouse=True)
def full_profile(own_folders, monkeypatch):
    monkeypatch.setenv("FER_PROFILE", "full")


def bars(*, longer=1.0, colours=COLOURS, words=(), **values):
    """A figure of shares, with their numbers beside the bars; the first bar may be longer, and words others."""
    values = {"happy": 0.5, "sad": 0.25, "fear": 0.14} | values
    figure = plots.Figure(figsize=(6.5, 0.9 + 0.32 * len(values)))
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color=[colours[name] for name in values])
    axes.bar_label(drawn, [f"{100 * value:.0f} %" for value in values.values()], padding=3, fontsize=7.5)
    axes.set(xlim=(0, 1.05), xlabel="share of images")
    drawn[0].set_width(drawn[0].get_width() * longer)
    for text in (*axes.texts, axes.xaxis.label):
        text.set_text(dict(words).get(text.get_text(), text.get_text()))
    return figure


def noisy(image, size):
    pixels = np.asarray(image, float)
    pixels = pixels + np.random.default_rng(0).normal(0, size, pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def test_what_another_machine_draws_leaves_the_file_and_no_picture_or_one_of_another_size_is_replaced():
    path = plots.save(bars(), "shares")
    assert path == paths.figures() / "shares.png"
    drawn, image = path.read_bytes(), Image.open(path).convert("RGB")
    for anti_aliased in (
        noisy(image, 8),
        noisy(Image.blend(image, ImageChops.offset(image, 1), 0.4), 4),
        image.quantize(256).convert("RGB"),
        image.filter(ImageFilter.GaussianBlur(0.4)),
    ):
        anti_aliased.save(path)
        standing = path.read_bytes()
        plots.save(bars(), "shares")
        assert path.read_bytes() == standing
    image.crop((0, 0, image.width, image.height - 2)).save(path)
    for other in (path.read_bytes(), b"no picture"):
        path.write_bytes(other)
        plots.save(bars(), "shares")
        assert path.read_bytes() == drawn


def test_a_changed_number_name_colour_or_bar_is_written():
    path = plots.save(bars(), "shares")
    drawn = path.read_bytes()
    for change in (
        {"longer": 1.01},
        {"longer": 0.99},
        {"words": {"share of images": "share of imagos"}},
        {"colours": COLOURS | {"happy": COLOURS["angry"]}},
        {"angry": 0.1},
    ):
        assert plots.differs(drawn, bars(**change)), change
    plots.save(bars(happy=0.51), "shares")
    assert path.read_bytes() == as_png(bars(happy=0.51)) != drawn
    figures = [as_png(bars(words={"14 %": f"1{digit} %"})) for digit in range(10)]
    assert all(plots.differs(*pair) for pair in itertools.combinations(figures, 2))


def test_a_figure_of_pyplot_is_saved_whole_and_the_same_every_time():
    figure, axes = pyplot.subplots(figsize=(4, 3))
    axes.set_ylabel("a name\nof many lines\nthat would lie\noutside of\nthe picture")
    first = plots.save(figure, "curve").read_bytes()
    pyplot.close(figure)
    assert first == as_png(figure)
    assert np.asarray(Image.open(io.BytesIO(first)).convert("L"))[:, :3].min() == 255, "nothing is cut off"


def test_the_quick_profile_and_private_figures_keep_out_of_the_report(monkeypatch):
    figure = bars()
    assert plots.save_private(figure, "faces") == paths.build() / "private" / "faces.png"
    monkeypatch.setenv("FER_PROFILE", "quick")
    assert plots.save(figure, "faces", from_images=True) == paths.build() / "figures" / "faces.png"
    assert not paths.figures().exists()
    assert plots.save(figure, "shares") == paths.figures() / "shares.png", "records are the same in both profiles"
    monkeypatch.setenv("FER_PROFILE", "full")
    assert plots.save(figure, "faces", from_images=True) == paths.figures() / "faces.png"


def test_a_large_figure_is_saved_in_fewer_colours_and_one_that_stays_too_large_is_refused():
    grey = np.random.default_rng(0).integers(0, 256, (60, 48, 48))
    with pytest.raises(ValueError, match=r"at most 200,000 bytes.*Received: 'noise'"):
        plots.save(plots.gallery(grey, side=1.2), "noise")
    faces = {str(place): each for place, each in enumerate(grey[:8])}
    figure = plots.heatmaps(faces, {"noise": {name: each / 255 for name, each in faces.items()}})
    path = plots.save(figure, "many colours")
    assert path.stat().st_size <= 200_000
    assert Image.open(io.BytesIO(path.read_bytes())).mode == "P"
