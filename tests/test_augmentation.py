"""The augmentation: does each part do what it says, as the training step applies it?"""

import dataclasses

import keras
import numpy as np
import pytest

from fer_keras.data.augmentation import Augmentation, Plan, draw_plan, mix_targets
from fer_keras.training.training_model import augment

ALL = Augmentation(
    flip=True,
    rotation_degrees=12,
    shift_fraction=0.1,
    zoom=(0.85, 1.15),
    zoom_apart=True,
    shear_degrees=5,
    crop_fraction=0.9,
    brightness=(0.5, 1.5),
    contrast=(0.7, 1.3),
    gamma=(0.6, 1.5),
    blur_pixels=1.0,
    erase_probability=0.5,
    mixup_alpha=0.2,
)


@pytest.fixture
def pictures():
    smooth = np.random.default_rng(0).integers(0, 256, (16, 6, 8, 1), dtype=np.uint8)
    return smooth.repeat(5, axis=1).repeat(4, axis=2)


def plan_of(augmentation, count=16, size=(30, 32), seed=1, **options):
    return draw_plan(augmentation, count, size, np.random.default_rng(seed), **options)


def apply_plan(images, plan):
    inputs = {name: value for name, value in vars(plan).items() if value is not None}
    return np.rint(keras.ops.convert_to_numpy(augment(images.astype("float32"), inputs))).astype(np.uint8)


def test_the_default_changes_nothing(pictures):
    plan = plan_of(Augmentation())
    assert plan == Plan()
    np.testing.assert_array_equal(apply_plan(pictures, plan), pictures)


def test_a_flip_mirrors_some_and_leaves_the_others(pictures):
    changed = apply_plan(pictures, plan_of(Augmentation(flip=True)))
    mirrored = (changed == pictures[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (changed == pictures).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 2 < mirrored.sum() < 14


def test_a_whole_shift_moves_pixels_and_repeats_the_border(pictures):
    transform = np.tile(np.array([1, 0, 3, 0, 1, -2, 0, 0], np.float32), (16, 1))
    changed = apply_plan(pictures, Plan(transform=transform))
    np.testing.assert_array_equal(changed[:, 2:, :-3], pictures[:, :-2, 3:])
    np.testing.assert_array_equal(changed[:, 2:, -3:], pictures[:, :-2, -1:].repeat(3, axis=2))


def test_a_turn_by_ninety_degrees_is_numpys_rotation(pictures):
    square = pictures[:, :, :30]
    plan = plan_of(Augmentation(rotation_degrees=90), size=(30, 30))
    quarter = dataclasses.replace(plan, transform=np.tile(np.array([0, -1, 29, 1, 0, 0, 0, 0], np.float32), (16, 1)))
    np.testing.assert_array_equal(apply_plan(square, quarter), np.rot90(square, axes=(1, 2)))


def test_a_turn_keeps_the_centre_and_the_scale():
    transform = plan_of(Augmentation(rotation_degrees=30), count=50, size=(31, 31)).transform
    linear = transform[:, [0, 1, 3, 4]].reshape(-1, 2, 2)
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-5)
    np.testing.assert_allclose(linear @ [15, 15] + transform[:, [2, 5]], 15, atol=1e-4)
    assert np.abs(np.rad2deg(np.arcsin(transform[:, 3]))).max() <= 30


def test_zoom_above_one_enlarges():
    transform = plan_of(Augmentation(zoom=(2.0, 2.0)), size=(33, 33)).transform
    np.testing.assert_allclose(transform[:, [0, 4]], 0.5)


def test_a_crop_never_looks_beyond_the_picture():
    transform = plan_of(Augmentation(crop_fraction=0.5), count=500, size=(32, 32)).transform
    for corner in (0, 31):
        seen = transform[:, [0, 4]] * corner + transform[:, [2, 5]]
        assert seen.min() > -0.51
        assert seen.max() < 31.51


def test_brightness_multiplies_and_clips(pictures):
    light = np.tile(np.array([2.0, 0.0], np.float32), (16, 1))
    expected = np.minimum(pictures.astype(int) * 2, 255)
    np.testing.assert_array_equal(apply_plan(pictures, Plan(light=light)), expected)


def test_gamma_and_blur_are_what_they_are_called(pictures):
    plan = plan_of(Augmentation(gamma=(0.5, 2.0)), count=2000)
    assert abs(np.log(plan.gamma).mean()) < 0.05, "as often brighter as darker"
    changed = apply_plan(pictures, Plan(gamma=np.full(16, 0.5, np.float32)))
    np.testing.assert_allclose(changed, 255 * np.sqrt(pictures / 255), atol=0.51)
    weights = plan_of(Augmentation(blur_pixels=0.7), count=2000).blur
    np.testing.assert_allclose(weights @ [1, 2, 2], 1, rtol=1e-5)
    point = np.zeros((1, 9, 9, 1), np.uint8)
    point[0, 4, 4] = 200
    one = Plan(blur=np.array([[0.6, 0.15, 0.05]], np.float32))
    line = np.array([0, 0, 0.05, 0.15, 0.6, 0.15, 0.05, 0, 0])
    np.testing.assert_allclose(apply_plan(point, one)[0, ..., 0], 200 * np.outer(line, line), atol=0.51)
    even = np.full((1, 5, 5, 1), 90, np.uint8)
    np.testing.assert_array_equal(apply_plan(even, one), even)


def test_new_changes_leave_the_drawing_of_the_others_alone():
    before, after = plan_of(ALL), plan_of(dataclasses.replace(ALL, gamma=(1.0, 1.0), blur_pixels=0.0))
    for name in ("transform", "light", "box", "partner", "share"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_erasing_paints_one_grey_over_its_share_of_the_area(pictures):
    plan = plan_of(Augmentation(erase_probability=1.0))
    changed = apply_plan(pictures, plan)
    for before, after, (top, left, bottom, right, grey) in zip(pictures, changed, plan.box.astype(int), strict=True):
        assert (after[top:bottom, left:right] == grey).all()
        assert 0.01 < (bottom - top) * (right - left) / before.size < 0.3
        after[top:bottom, left:right] = before[top:bottom, left:right]
        np.testing.assert_array_equal(after, before)


def test_the_share_of_erased_pictures_follows_its_probability():
    box = plan_of(Augmentation(erase_probability=0.3), count=4000).box
    assert np.mean(box[:, 2] > box[:, 0]) == pytest.approx(0.3, abs=0.03)


def test_mixup_stays_inside_its_batch_and_mixes_targets_alike(pictures):
    plan = plan_of(Augmentation(mixup_alpha=0.4), group=5)
    np.testing.assert_array_equal(plan.partner // 5, np.arange(16) // 5)
    mixed = mix_targets(np.eye(16, dtype=np.float32), plan)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-5)
    expected = np.tensordot(mixed, pictures.astype(float), axes=1)
    np.testing.assert_allclose(apply_plan(pictures, plan), expected, atol=0.51)


def test_the_same_generator_gives_the_same_plan():
    first, again, other = plan_of(ALL, seed=3), plan_of(ALL, seed=3), plan_of(ALL, seed=4)
    for field in dataclasses.fields(Plan):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.transform, other.transform)


def test_all_changes_together_follow_one_plan(pictures):
    plan = plan_of(ALL)
    assert all(value is not None for value in vars(plan).values())
    changed = apply_plan(pictures, plan)
    steps = pictures
    for names in (("transform",), ("blur",), ("gamma",), ("light",), ("box",), ("partner", "share")):
        steps = apply_plan(steps, Plan(**{name: getattr(plan, name) for name in names}))
    assert np.abs(changed.astype(int) - steps).max() <= 6, "but for the rounding between the steps"
    assert np.abs(changed.astype(int) - pictures).mean() > 10
