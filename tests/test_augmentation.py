"""The augmentation: does each part do what it says, as the training step applies it?"""

import dataclasses

import keras
import numpy as np
import pytest

from fer_keras.data.augmentation import Augmentation, Plan, draw_plan, mix_targets
from fer_keras.training.training_model import augment

ALL = Augmentation(
    **dict(flip=True, rotation_degrees=12, shift_fraction=0.1, zoom=(0.85, 1.15), zoom_apart=True, shear_degrees=5),
    **dict(crop_fraction=0.9, brightness=(0.5, 1.5), contrast=(0.7, 1.3), gamma=(0.6, 1.5), blur_pixels=1.0),
    **dict(erase_probability=0.5, mixup_alpha=0.2),
)
PICTURES = np.random.default_rng(0).integers(0, 256, (16, 6, 8, 1), dtype=np.uint8).repeat(5, axis=1).repeat(4, axis=2)


def plan_of(augmentation=None, *, count=16, size=(30, 32), seed=1, group=None, **parts):
    return draw_plan(augmentation or Augmentation(**parts), count, size, np.random.default_rng(seed), group=group)


def apply_plan(images, plan=None, **parts):
    """The images under a plan, or one in which every picture gets the same part."""
    plan = plan or Plan(**{name: np.tile(np.float32(value), (len(images), 1)) for name, value in parts.items()})
    inputs = {name: value for name, value in vars(plan).items() if value is not None}
    return np.rint(keras.ops.convert_to_numpy(augment(images.astype("float32"), inputs))).astype(np.uint8)


def test_the_default_changes_nothing_and_a_flip_mirrors_some_and_leaves_the_others():
    assert plan_of() == Plan()
    np.testing.assert_array_equal(apply_plan(PICTURES, Plan()), PICTURES)
    changed = apply_plan(PICTURES, plan_of(flip=True))
    mirrored = (changed == PICTURES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (changed == PICTURES).all(axis=(1, 2, 3))).all()
    assert 2 < mirrored.sum() < 14


def test_maps_shift_and_turn_pixels_and_repeat_the_border():
    changed = apply_plan(PICTURES, transform=[1, 0, 3, 0, 1, -2, 0, 0])
    np.testing.assert_array_equal(changed[:, 2:, :-3], PICTURES[:, :-2, 3:])
    np.testing.assert_array_equal(changed[:, 2:, -3:], PICTURES[:, :-2, -1:].repeat(3, axis=2))
    square = PICTURES[:, :, :30]
    quarter = apply_plan(square, transform=[0, -1, 29, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(quarter, np.rot90(square, axes=(1, 2)))


def test_a_turn_keeps_centre_and_scale_and_zoom_enlarges_and_a_crop_stays_inside():
    transform = plan_of(rotation_degrees=30, count=50, size=(31, 31)).transform
    linear = transform[:, [0, 1, 3, 4]].reshape(-1, 2, 2)
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-5)
    np.testing.assert_allclose(linear @ [15, 15] + transform[:, [2, 5]], 15, atol=1e-4)
    assert 15 < np.abs(np.rad2deg(np.arcsin(transform[:, 3]))).max() <= 30
    np.testing.assert_allclose(plan_of(zoom=(2.0, 2.0), size=(33, 33)).transform[:, [0, 4]], 0.5)
    transform = plan_of(crop_fraction=0.5, count=500, size=(32, 32)).transform
    for corner in (0, 31):
        seen = transform[:, [0, 4]] * corner + transform[:, [2, 5]]
        assert -0.51 < seen.min() < seen.max() < 31.51


def test_brightness_multiplies_and_clips_and_gamma_and_blur_are_what_they_are_called():
    np.testing.assert_array_equal(apply_plan(PICTURES, light=[2.0, 0.0]), np.minimum(PICTURES.astype(int) * 2, 255))
    light = plan_of(brightness=(0.5, 1.5), count=500).light
    assert (light[:, 1] == 0).all()
    assert 0.5 <= light[:, 0].min() < 0.6 < 1.4 < light[:, 0].max() <= 1.5
    assert abs(np.log(plan_of(gamma=(0.5, 2.0), count=2000).gamma).mean()) < 0.05, "as often brighter as darker"
    changed = apply_plan(PICTURES, Plan(gamma=np.full(16, 0.5, np.float32)))
    np.testing.assert_allclose(changed, 255 * np.sqrt(PICTURES / 255), atol=0.51)
    np.testing.assert_allclose(plan_of(blur_pixels=0.7, count=2000).blur @ [1, 2, 2], 1, rtol=1e-5)
    point, line = np.zeros((1, 9, 9, 1), np.uint8), np.array([0, 0, 0.05, 0.15, 0.6, 0.15, 0.05, 0, 0])
    point[0, 4, 4] = 200
    blurred = apply_plan(point, blur=[0.6, 0.15, 0.05])[0, ..., 0]
    np.testing.assert_allclose(blurred, 200 * np.outer(line, line), atol=0.51)


def test_erasing_paints_one_grey_over_its_share_of_the_area():
    plan = plan_of(erase_probability=1.0)
    changed = apply_plan(PICTURES, plan)
    for before, after, (top, left, bottom, right, grey) in zip(PICTURES, changed, plan.box.astype(int), strict=True):
        assert (after[top:bottom, left:right] == grey).all()
        assert 0.01 < (bottom - top) * (right - left) / before.size < 0.3
        after[top:bottom, left:right] = before[top:bottom, left:right]
        np.testing.assert_array_equal(after, before)
    box = plan_of(erase_probability=0.3, count=4000).box
    assert np.mean(box[:, 2] > box[:, 0]) == pytest.approx(0.3, abs=0.03)


def test_mixup_stays_inside_its_batch_and_mixes_targets_alike():
    plan = plan_of(mixup_alpha=0.4, group=5)
    np.testing.assert_array_equal(plan.partner // 5, np.arange(16) // 5)
    mixed = mix_targets(np.eye(16, dtype=np.float32), plan)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-5)
    expected = np.tensordot(mixed, PICTURES.astype(float), axes=1)
    np.testing.assert_allclose(apply_plan(PICTURES, plan), expected, atol=0.51)


def test_a_plan_follows_its_generator_and_blur_and_gamma_leave_the_others_alone():
    first, again, other = (plan_of(ALL, seed=seed) for seed in (3, 3, 4))
    without = plan_of(dataclasses.replace(ALL, gamma=(1.0, 1.0), blur_pixels=0.0), seed=3)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))
        assert not np.array_equal(value, getattr(other, name))
        if name not in ("gamma", "blur"):
            np.testing.assert_array_equal(value, getattr(without, name))


def test_all_changes_together_follow_one_plan():
    plan = plan_of(ALL)
    assert all(value is not None for value in vars(plan).values())
    steps, changed = PICTURES, apply_plan(PICTURES, plan)
    for names in (("transform",), ("blur",), ("gamma",), ("light",), ("box",), ("partner", "share")):
        steps = apply_plan(steps, Plan(**{name: getattr(plan, name) for name in names}))
    assert np.abs(changed.astype(int) - steps).max() <= 6, "but for the rounding between the steps"
    assert np.abs(changed.astype(int) - PICTURES).mean() > 10
