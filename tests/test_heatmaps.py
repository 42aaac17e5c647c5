"""A map that marks what counts differs from one that does not; each map lies on its part of the face."""

import numpy as np
import pytest

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation.heatmaps import (
    REGIONS,
    deletion_curves,
    deletion_scores,
    random_heatmaps,
    region_shares,
    shuffled_heatmaps,
)

IMAGES = make_faces(7, seed=3).images
ONES = np.ones(len(IMAGES), int)
PART = slice(30, 40), slice(12, 36)  # all that `predict` looks at


def predict(images):
    """Predict 1 the surer, the more there is to be seen in one part of the face."""
    seen = images[(slice(None), *PART)].astype(float).std(axis=(1, 2, 3))
    share = seen / (seen + 5)
    return np.stack([1 - share, share], axis=1)


def marked(part):
    maps = np.zeros(IMAGES.shape[:3], np.float32)
    maps[(slice(None), *part)] = 1
    return maps


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_deleting_what_counts_lowers_the_probability_sooner_than_chance_and_elsewhere_later(fill):
    maps = {"true": marked(PART), "false": marked((slice(0, 20), slice(None)))}
    curves = deletion_curves(predict, IMAGES, ONES, maps, fill)
    gains = {name: curves[name]["sooner_than"] for name in maps}
    assert gains["true"]["chance"]["low"] > (0.1 if fill == "mean" else 0.03)  # a blurred face still shows something
    assert gains["false"]["chance"]["high"] < 0
    assert gains["true"]["another face"] == {"mean": 0, "low": 0, "high": 0}, "all have the same map"
    own, chance = curves["true"]["curve"], curves["chance"]["curve"]
    area = np.trapezoid(np.subtract(chance, own), [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]) / 0.5
    assert gains["true"]["chance"]["mean"] == pytest.approx(area, abs=1e-4)


def test_scores_start_at_the_whole_picture_and_delete_the_share_that_is_asked_for():
    asked, before, shares = [], IMAGES.copy(), (0.0, 0.1, 1.0)
    scores = deletion_scores(lambda x: asked.append(x) or predict(x), IMAGES, marked(PART), ONES, shares=shares)
    assert (scores.shape, scores.dtype) == ((len(IMAGES), 3), np.float32)
    np.testing.assert_allclose(scores[:, 0], predict(IMAGES)[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(asked[0], IMAGES)
    changed = (asked[1] != IMAGES)[..., 0]
    assert not changed[:, :30].any()  # 240 pixels are hot, 230 go
    assert changed.sum(axis=(1, 2)).max() <= 230
    assert (np.ptp(asked[2], axis=(1, 2, 3)) == 0).all()
    flat = np.zeros(IMAGES.shape[:3])  # equal values are deleted in random order
    deletion_scores(lambda x: asked.append(x) or predict(x), IMAGES, flat, ONES, shares=(0.5,))
    changed = (asked[3] != IMAGES)[..., 0].mean(axis=0)
    assert changed[:24].mean() == pytest.approx(changed[24:].mean(), rel=0.1)
    np.testing.assert_array_equal(IMAGES, before)
    for maps, fill in ((np.zeros((2, 48, 48)), "mean"), (flat, "black")):
        with pytest.raises(ValueError, match=r"a map for each image, \(49, 48, 48\), and a `fill` of mean or blur"):
            deletion_scores(predict, IMAGES, maps, ONES, fill=fill)


def test_random_maps_are_smooth_and_shuffled_ones_never_ones_own():
    maps = random_heatmaps(IMAGES)
    assert (maps.shape, maps.dtype) == (IMAGES.shape[:3], np.float32)
    assert 0 <= maps.min() < maps.max() <= 1
    assert np.abs(np.diff(maps, axis=1)).max() < 0.3
    others = shuffled_heatmaps(maps)
    assert not any((one == other).all() for one, other in zip(maps, others, strict=True))
    assert sorted(others.sum(axis=(1, 2))) == sorted(maps.sum(axis=(1, 2)))


def test_the_parts_of_the_face_share_all_of_a_map():
    top, bottom = REGIONS["mouth"]
    maps = np.stack([np.ones((48, 48)), np.zeros((48, 48)), np.zeros((48, 48))])
    maps[2, round(48 * top) : round(48 * bottom)] = 3
    shares = region_shares(maps)
    np.testing.assert_allclose(sum(shares.values()), 1)
    for name, (above, below) in REGIONS.items():
        np.testing.assert_allclose(shares[name][:2], below - above)
    assert shares["mouth"][2] > 0.95
    edges = [edge for pair in REGIONS.values() for edge in pair]
    assert (edges[0], edges[-1], edges[1:-1:2]) == (0, 1, edges[2::2])
