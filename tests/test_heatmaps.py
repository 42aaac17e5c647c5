"""A map that marks what counts differs from one that does not; each map lies on its part of the face."""

import numpy as np
import pytest

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import heatmaps

IMAGES = make_faces(7, seed=3).images
ONES = np.ones(len(IMAGES), int)
PART = np.s_[:, 30:40, 12:36]  # all that `predict` looks at


def predict(images):
    """Predict 1 the surer, the more there is to be seen in one part of the face."""
    seen = images[PART].astype(float).std(axis=(1, 2, 3))
    return np.stack([5 / (seen + 5), seen / (seen + 5)], axis=1)


def marked(part):
    maps = np.zeros(IMAGES.shape[:3], np.float32)
    maps[part] = 1
    return maps


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_deleting_what_counts_lowers_the_probability_sooner_than_chance_and_elsewhere_later(fill):
    maps = {"true": marked(PART), "false": marked(np.s_[:, :20])}
    curves = heatmaps.deletion_curves(predict, IMAGES, ONES, maps, fill)
    gains = {name: curves[name]["sooner_than"] for name in maps}
    assert gains["true"]["chance"]["low"] > (0.1 if fill == "mean" else 0.03)  # a blurred face still shows something
    assert gains["false"]["chance"]["high"] < 0
    assert gains["true"]["another face"] == {"mean": 0, "low": 0, "high": 0}, "all have the same map"
    area = np.trapezoid(np.subtract(curves["chance"]["curve"], curves["true"]["curve"]), heatmaps.SHARES) / 0.5
    assert gains["true"]["chance"]["mean"] == pytest.approx(area, abs=1e-4)


def test_scores_start_at_the_whole_picture_and_delete_the_share_that_is_asked_for():
    asked, before, flat = [], IMAGES.copy(), np.zeros(IMAGES.shape[:3])

    def note(images):
        asked.append((images != before)[..., 0])
        return predict(images)

    scores = heatmaps.deletion_scores(note, IMAGES, marked(PART), ONES, shares=(0.0, 0.1, 1.0))
    np.testing.assert_allclose(scores[:, 0], predict(before)[:, 1], rtol=1e-6)
    assert (scores.shape, asked[0].any(), asked[1][:, :30].any()) == ((len(IMAGES), 3), False, False)
    assert 0 < asked[1].sum(axis=(1, 2)).max() <= 230 < 240, "of 240 hot pixels"
    assert asked[2].mean() > 0.9
    heatmaps.deletion_scores(note, IMAGES, flat, ONES, shares=(0.5,))  # equal values are deleted in random order
    assert asked[3][:, :24].mean() == pytest.approx(asked[3][:, 24:].mean(), rel=0.1)
    np.testing.assert_array_equal(IMAGES, before)
    for maps, fill in ((flat[:2], "mean"), (flat, "black")):
        with pytest.raises(ValueError, match=r"a map for each image, \(49, 48, 48\), and a `fill` of mean or blur"):
            heatmaps.deletion_scores(predict, IMAGES, maps, ONES, fill=fill)


def test_random_maps_are_smooth_and_shuffled_ones_never_ones_own():
    maps = heatmaps.random_heatmaps(IMAGES)
    assert (maps.shape, maps.dtype, 0 <= maps.min() < maps.max() <= 1) == (IMAGES.shape[:3], np.float32, True)
    assert np.abs(np.diff(maps, axis=1)).max() < 0.3
    others = heatmaps.shuffled_heatmaps(maps)
    assert not (maps == others).all(axis=(1, 2)).any()
    assert sorted(others.sum(axis=(1, 2))) == sorted(maps.sum(axis=(1, 2)))


def test_the_parts_of_the_face_share_all_of_a_map():
    maps = np.stack([np.ones((48, 48)), np.zeros((48, 48)), np.zeros((48, 48))])
    maps[2, 32:43] = 3  # the mouth
    shares = heatmaps.region_shares(maps)
    np.testing.assert_allclose(sum(shares.values()), 1)
    for name, (above, below) in heatmaps.REGIONS.items():
        np.testing.assert_allclose(shares[name][:2], below - above)
    assert shares["mouth"][2] > 0.95
