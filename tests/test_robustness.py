"""Each corruption does what it says, more of it at a higher level, and its first level nothing."""

import numpy as np
import pytest

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation.robustness import CENTRES, CORRUPTIONS, corrupt, robustness

FACES = make_faces(6, seed=4).images


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_first_level_changes_nothing_and_each_further_one_more(kind):
    before = FACES.copy()
    worse = [corrupt(FACES, kind, level) for level in CORRUPTIONS[kind][1]]
    losses = [np.abs(each - before.astype(float)).mean() for each in worse]
    assert losses[0] == 0 < losses[1]
    assert losses == sorted(losses)
    assert (worse[-1].shape, worse[-1].dtype) == (before.shape, np.uint8)
    np.testing.assert_array_equal(worse[-1], corrupt(FACES, kind, CORRUPTIONS[kind][1][-1]))
    np.testing.assert_array_equal(FACES, before)
    if kind in CENTRES:
        rows = np.flatnonzero((corrupt(FACES, kind, 0.2) != FACES).any(axis=(0, 2, 3)))
        assert rows.max() - rows.min() + 1 <= 11
        assert (rows.min() + rows.max()) / 2 == pytest.approx(48 * CENTRES[kind], abs=1.5)


def test_blur_noise_and_resolution_have_their_size_and_a_turn_by_right_angles_is_that_of_numpy():
    point, places = np.zeros((1, 49, 49, 1), np.uint8), np.arange(49) - 24
    point[0, 24, 24] = 255
    spread = corrupt(point, "blur", 1)[0, :, :, 0].astype(float)
    assert (spread.sum(axis=0) * places**2).sum() / spread.sum() == pytest.approx(1, rel=0.1)
    grey = np.full((20, 48, 48, 1), 128, np.uint8)
    np.testing.assert_array_equal(corrupt(grey, "blur", 3), grey)
    noisy = corrupt(grey, "noise", 16).astype(float)
    assert noisy.std() == pytest.approx(16, rel=0.02)
    assert (corrupt(grey, "noise", 16, seed=1) != noisy).any()
    checks = (np.indices((48, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, :, :, None]
    assert np.ptp(corrupt(checks, "resolution", 2)) <= 1
    for image, turned in zip(FACES[:8], corrupt(FACES[:8], "rotation", 90), strict=True):
        assert any((turned == np.rot90(image, step)).all() for step in (1, 3))
    with pytest.raises(ValueError, match=r"no corruption 'rain'\. Expected one of: blur"):
        corrupt(FACES, "rain", 1)


def test_accuracy_is_measured_at_every_level():
    def predict(images):
        """Predict 1 where the picture is brighter than 100."""
        bright = images.mean(axis=(1, 2, 3)) > 100
        return np.stack([~bright, bright], axis=1).astype(float)

    rows = robustness(predict, np.full((10, 8, 8, 1), 120, np.uint8), np.ones(10, int), kinds=("darkness",))
    levels = CORRUPTIONS["darkness"][1]
    assert [(row["level"], row["accuracy"]) for row in rows] == [(level, float(level == 0)) for level in levels]
    assert rows[0]["accuracy_low"] < 1 == rows[0]["accuracy_high"]
