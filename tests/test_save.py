"""A figure's file stays as it is unless the picture looks different, and the quick profile keeps out of the report."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fer_keras import paths, plots
from fer_keras.labels import COLOURS
from fer_keras.plots.style import PALE
from fer_keras.plots.style import as_png as rendered


@pytest.fixture(autouse=True)
def folders(own_folders, monkeypatch):
    monkeypatch.setenv("FER_PROFILE", "full")
    return own_folders


def bars(**values):
    """A figure of shares, with their numbers beside the bars."""
    values = {"happy": 0.5, "sad": 0.25, "fear": 0.14} | values
    figure = plots.Figure(figsize=(6.5, 0.9 + 0.32 * len(values)))
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color=[COLOURS[name] for name in values])
    axes.bar_label(drawn, [f"{100 * value:.0f} %" for value in values.values()], padding=3, fontsize=7.5)
    axes.set(xlim=(0, 1.05), xlabel="share of images")
    return figure


def pixels_of(figure):
    """The picture of a figure, `(height, width, 3)`."""
    return np.asarray(Image.open(io.BytesIO(rendered(figure))).convert("RGB"), float)


def as_png(pixels):
    """Pixels as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def moved(pixels, share):
    """Pixels as they are where everything lies this share of a pixel further right and down: edges are softer."""
    for axis in (0, 1):
        pixels = (1 - share) * pixels + share * np.roll(pixels, 1, axis=axis)
    return pixels


ANTI_ALIASING = {
    "gaussian noise": lambda pixels: pixels + np.random.default_rng(0).normal(0, 8, pixels.shape),
    "uniform noise": lambda pixels: pixels + np.random.default_rng(0).uniform(-8, 8, pixels.shape),
    "a third of a pixel": lambda pixels: moved(pixels, 0.3),
    "half a pixel and noise": lambda pixels: moved(pixels, 0.4) + np.random.default_rng(0).normal(0, 4, pixels.shape),
    "256 colours": lambda pixels: np.asarray(Image.open(io.BytesIO(as_png(pixels))).quantize(256).convert("RGB")),
    "softer edges": lambda pixels: np.asarray(
        Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.4))
    ),
}


@pytest.mark.parametrize("change", ANTI_ALIASING.values(), ids=ANTI_ALIASING)
def test_what_another_machine_draws_leaves_the_file(change):
    path = plots.save(bars(), "shares")
    assert path == paths.figures() / "shares.png"
    paths.write_whole(path, as_png(change(pixels_of(bars()))))
    standing = path.read_bytes()
    assert plots.save(bars(), "shares") == path
    assert path.read_bytes() == standing
    assert not plots.differs(path, bars())


def relabelled(**names):
    """The figure of shares with some words changed."""
    figure = bars()
    for text in (*figure.axes[0].texts, *figure.axes[0].get_yticklabels(), figure.axes[0].xaxis.label):
        text.set_text(names.get(text.get_text(), text.get_text()))
    return figure


def with_bar(longer):
    """The figure of shares with one bar that is longer, and the number beside it as it was."""
    figure = bars()
    bar = figure.axes[0].patches[0]
    bar.set_width(bar.get_width() * longer)
    return figure


def recoloured(colour):
    """The figure of shares with one bar in another colour."""
    figure = bars()
    figure.axes[0].patches[0].set_color(colour)
    return figure


CHANGES = {
    "a bar longer by a hundredth": lambda: with_bar(1.01),
    "a bar shorter by a hundredth": lambda: with_bar(0.99),
    "a digit": lambda: relabelled(**{"14 %": "19 %"}),
    "a letter": lambda: relabelled(**{"share of images": "share of imagos"}),
    "another colour": lambda: recoloured(COLOURS["angry"]),
    "one value": lambda: bars(happy=0.51),
    "one bar more": lambda: bars(angry=0.1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_number_name_or_bar_is_written(change):
    path = plots.save(bars(), "shares")
    standing = path.read_bytes()
    assert plots.differs(bars(), change())
    assert plots.save(change(), "shares") == path
    assert path.read_bytes() != standing
    assert not plots.differs(path, change())


def test_every_digit_differs_from_every_other():
    figures = [rendered(relabelled(**{"14 %": f"1{digit} %"})) for digit in range(10)]
    assert all(plots.differs(*pair) for pair in itertools.combinations(figures, 2))


def test_pale_bars_and_grey_figures_count_too():
    def pale(longer):
        figure = with_bar(longer)
        for bar in figure.axes[0].patches:
            bar.set_color(PALE)
        return figure

    assert plots.differs(pale(1), pale(1.02))
    face = np.full((48, 48), 99)
    assert plots.differs(plots.gallery([face], ["a"]), plots.gallery([face], ["b"]))
    assert not plots.differs(plots.gallery([face], ["a"]), plots.gallery([face + 1], ["a"]))


def test_a_figure_of_pyplot_is_saved_whole_and_the_same_every_time():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3))
    axes.set_ylabel("a name\nof many lines\nthat would lie\noutside of\nthe picture")
    first = plots.save(figure, "curve").read_bytes()
    plt.close(figure)
    assert first == rendered(figure)
    pixels = np.asarray(Image.open(io.BytesIO(first)).convert("L"))
    assert pixels[:, :3].min() == 255, "nothing is cut off"
    assert b"date" not in first.lower()


def test_a_file_that_is_no_picture_or_of_another_size_is_replaced():
    path = plots.save(bars(), "shares")
    for content in (b"no picture", as_png(pixels_of(bars())[:-2])):
        path.write_bytes(content)
        plots.save(bars(), "shares")
        assert path.read_bytes() == rendered(bars())


def test_the_quick_profile_keeps_figures_of_images_out_of_the_report(monkeypatch):
    monkeypatch.setenv("FER_PROFILE", "quick")
    assert plots.save(bars(), "faces", from_images=True) == paths.build() / "figures" / "faces.png"
    assert not paths.figures().exists()
    assert plots.save(bars(), "shares") == paths.figures() / "shares.png", "records are the same in both profiles"
    monkeypatch.setenv("FER_PROFILE", "full")
    assert plots.save(bars(), "faces", from_images=True) == paths.figures() / "faces.png"


def test_private_figures_go_to_the_build_folder_only():
    path = plots.save_private(bars(), "faces")
    assert path == paths.build() / "private" / "faces.png"
    assert path.read_bytes() == rendered(bars())
    assert not paths.figures().exists()


def test_a_large_figure_is_saved_in_fewer_colours_and_one_that_stays_too_large_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 48))
    with pytest.raises(ValueError, match=r"at most 200,000 bytes.*Received: 'noise'"):
        plots.save(plots.gallery(noise, side=1.2), "noise")
    assert not paths.figures().exists()
    maps = {"noise": {str(place): each / 255 for place, each in enumerate(noise[:8])}}
    figure = plots.heatmaps({str(place): each for place, each in enumerate(noise[:8])}, maps)
    path = plots.save(figure, "many colours")
    assert path.stat().st_size <= 200_000
    with Image.open(path) as image:
        assert image.mode == "P"
