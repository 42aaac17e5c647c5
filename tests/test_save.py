"""A figure's file stays as it is unless the picture looks different, and the quick profile keeps out of the report."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fer_keras import paths, plots
from fer_keras.labels import COLOURS
from fer_keras.plots.style import PALE, as_png


@pytest.fixture(autouse=True)
def folders(own_folders, monkeypatch):
    monkeypatch.setenv("FER_PROFILE", "full")
    return own_folders


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


def png_of(pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def moved(pixels, share):
    """Pixels as they are where everything lies this share of a pixel further right and down: edges are softer."""
    for axis in (0, 1):
        pixels = (1 - share) * pixels + share * np.roll(pixels, 1, axis=axis)
    return pixels


def noise(pixels, size):
    return pixels + np.random.default_rng(0).normal(0, size, pixels.shape)


ANTI_ALIASING = {
    "noise": lambda pixels: noise(pixels, 8),
    "half a pixel and noise": lambda pixels: noise(moved(pixels, 0.4), 4),
    "256 colours": lambda pixels: np.asarray(Image.fromarray(pixels.astype(np.uint8)).quantize(256).convert("RGB")),
    "softer edges": lambda pixels: np.asarray(
        Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.4))
    ),
}


@pytest.mark.parametrize("change", ANTI_ALIASING.values(), ids=ANTI_ALIASING)
def test_what_another_machine_draws_leaves_the_file(change):
    path = plots.save(bars(), "shares")
    assert path == paths.figures() / "shares.png"
    pixels = np.asarray(Image.open(path).convert("RGB"), float)
    path.write_bytes(png_of(change(pixels)))
    standing = path.read_bytes()
    assert plots.save(bars(), "shares") == path
    assert path.read_bytes() == standing
    assert not plots.differs(path, bars())


CHANGES = {
    "a bar longer by a hundredth": {"longer": 1.01},
    "a bar shorter by a hundredth": {"longer": 0.99},
    "a digit": {"words": {"14 %": "19 %"}},
    "a letter": {"words": {"share of images": "share of imagos"}},
    "another colour": {"colours": COLOURS | {"happy": COLOURS["angry"]}},
    "one value": {"happy": 0.51},
    "one bar more": {"angry": 0.1},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_number_name_or_bar_is_written(change):
    path = plots.save(bars(), "shares")
    standing = path.read_bytes()
    assert plots.differs(bars(), bars(**change))
    assert plots.save(bars(**change), "shares") == path
    assert path.read_bytes() != standing
    assert not plots.differs(path, bars(**change))


def test_every_digit_pale_bars_and_grey_figures_count_too():
    figures = [as_png(bars(words={"14 %": f"1{digit} %"})) for digit in range(10)]
    assert all(plots.differs(*pair) for pair in itertools.combinations(figures, 2))
    pale = dict.fromkeys(COLOURS, PALE)
    assert plots.differs(bars(colours=pale), bars(colours=pale, longer=1.02))
    face = np.full((48, 48), 99)
    assert plots.differs(plots.gallery([face], ["a"]), plots.gallery([face], ["b"]))
    assert not plots.differs(plots.gallery([face], ["a"]), plots.gallery([face + 1], ["a"]))


def test_a_figure_of_pyplot_is_saved_whole_and_the_same_every_time():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3))
    axes.set_ylabel("a name\nof many lines\nthat would lie\noutside of\nthe picture")
    first = plots.save(figure, "curve").read_bytes()
    plt.close(figure)
    assert first == as_png(figure)
    pixels = np.asarray(Image.open(io.BytesIO(first)).convert("L"))
    assert pixels[:, :3].min() == 255, "nothing is cut off"
    assert b"date" not in first.lower()


def test_a_file_that_is_no_picture_or_of_another_size_is_replaced():
    path = plots.save(bars(), "shares")
    drawn = path.read_bytes()
    for content in (b"no picture", png_of(np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))[:-2])):
        path.write_bytes(content)
        plots.save(bars(), "shares")
        assert path.read_bytes() == drawn


def test_the_quick_profile_and_private_figures_keep_out_of_the_report(monkeypatch):
    figure = bars()
    path = plots.save_private(figure, "faces")
    assert path == paths.build() / "private" / "faces.png"
    assert path.read_bytes() == as_png(figure)
    monkeypatch.setenv("FER_PROFILE", "quick")
    assert plots.save(bars(), "faces", from_images=True) == paths.build() / "figures" / "faces.png"
    assert not paths.figures().exists()
    assert plots.save(bars(), "shares") == paths.figures() / "shares.png", "records are the same in both profiles"
    monkeypatch.setenv("FER_PROFILE", "full")
    assert plots.save(bars(), "faces", from_images=True) == paths.figures() / "faces.png"


def test_a_large_figure_is_saved_in_fewer_colours_and_one_that_stays_too_large_is_refused():
    grey = np.random.default_rng(0).integers(0, 256, (60, 48, 48))
    with pytest.raises(ValueError, match=r"at most 200,000 bytes.*Received: 'noise'"):
        plots.save(plots.gallery(grey, side=1.2), "noise")
    assert not paths.figures().exists()
    faces = {str(place): each for place, each in enumerate(grey[:8])}
    figure = plots.heatmaps(faces, {"noise": {name: each / 255 for name, each in faces.items()}})
    path = plots.save(figure, "many colours")
    assert path.stat().st_size <= 200_000
    with Image.open(path) as image:
        assert image.mode == "P"
