"""Random changes of face pictures, drawn as plain numbers; the training step applies them to pixels.

A `Plan` is drawn from a generator that the caller seeds, so that an epoch's augmentation is a function of seed and
epoch; `training.training_model.augment` applies it with the backend's own operations.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far each random change may go; the default changes nothing."""

    flip: bool = False  # mirror every other picture
    rotation_degrees: float = 0.0  # largest turn either way
    shift_fraction: float = 0.0  # largest shift either way, as a share of height and of width
    zoom: tuple = (1.0, 1.0)  # least and most scale factor, above 1 is larger
    zoom_apart: bool = False  # draw zoom for height and width apart
    shear_degrees: float = 0.0  # largest shear angle either way
    crop_fraction: float = 1.0  # least side of a random crop, as a share of the side; it is stretched to the full size
    brightness: tuple = (1.0, 1.0)  # least and most factor on the pixels
    contrast: tuple = (1.0, 1.0)  # least and most factor on the distance from mid-grey
    gamma: tuple = (1.0, 1.0)  # least and most exponent on pixels in [0, 1], drawn evenly in its logarithm
    blur_pixels: float = 0.0  # largest standard deviation of a Gaussian blur, at most 2 pixels
    erase_probability: float = 0.0  # share of pictures with a random rectangle replaced by one random grey
    mixup_alpha: float = 0.0  # parameter of the Beta distribution of mixup (Zhang et al., 2018); 0 is off


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens to each of n pictures; None where nothing of the kind happens to any."""

    # float32 (n, 8), the projective map from output to input pixels, in the convention of
    # `keras.ops.image.affine_transform`: x_in = a0 x + a1 y + a2, y_in = b0 x + b1 y + b2
    transform: np.ndarray | None = None
    blur: np.ndarray | None = None  # float32 (n, 3), weights of a pixel, its first and second neighbours each side
    gamma: np.ndarray | None = None  # float32 (n,), 255 (pixel / 255) ** gamma
    light: np.ndarray | None = None  # float32 (n, 2), gain and offset: pixel * gain + offset, clipped to [0, 255]
    box: np.ndarray | None = None  # float32 (n, 5), top, left, bottom, right of the erased rectangle, its grey value
    partner: np.ndarray | None = None  # int32 (n,), the picture that each is mixed with
    share: np.ndarray | None = None  # float32 (n,), how much of the picture itself the mix keeps


def draw_plan(augmentation, num_images, size, generator, *, group=None):
    """Draw a `Plan` of what happens to `num_images` pictures of `size` (height, width) pixels.

    All is decided by `generator`; mixup stays inside consecutive groups (batches) of `group` pictures.
    """
    a, n, plan = augmentation, num_images, {}
    moves = (a.flip, a.rotation_degrees, a.shift_fraction, a.shear_degrees, *a.zoom, a.crop_fraction)
    if moves != (False, 0, 0, 0, 1, 1, 1):
        plan["transform"] = draw_transform(a, n, size, generator)
    if (*a.brightness, *a.contrast) != (1, 1, 1, 1):
        brightness, contrast = generator.uniform(*a.brightness, n), generator.uniform(*a.contrast, n)
        plan["light"] = np.stack([brightness * contrast, 127.5 * (1 - contrast)], axis=1)
    if a.erase_probability:
        plan["box"] = draw_box(a.erase_probability, n, size, generator)
    if a.mixup_alpha:
        plan["share"] = generator.beta(a.mixup_alpha, a.mixup_alpha, n)
        batches = np.split(np.arange(n), range(group or n, n, group or n))
        plan["partner"] = np.concatenate([generator.permutation(batch) for batch in batches]).astype(np.int32)
    # Blur and gamma come last, so that plans without them are drawn as before there were any.
    if a.blur_pixels:
        deviation = generator.uniform(0, a.blur_pixels, n).clip(1e-3)
        weights = np.exp(-np.square([0, 1, 2]) / (2 * deviation[:, None] ** 2))
        plan["blur"] = weights / (weights @ [1, 2, 2])[:, None]
    if tuple(a.gamma) != (1, 1):
        plan["gamma"] = np.exp(generator.uniform(*np.log(a.gamma), n))
    return Plan(**{name: drawn if name == "partner" else drawn.astype(np.float32) for name, drawn in plan.items()})


def draw_transform(a, n, size, generator):
    """The `(n, 8)` maps of flip, rotation, shift, shear, zoom and crop about the centre."""
    height, width = size
    turn = np.deg2rad(generator.uniform(-a.rotation_degrees, a.rotation_degrees, n))
    shear = np.deg2rad(generator.uniform(-a.shear_degrees, a.shear_degrees, n))
    shift = generator.uniform(-a.shift_fraction, a.shift_fraction, (n, 2)) * (width, height)
    zoom = generator.uniform(*a.zoom, (n, 2))
    zoom = zoom if a.zoom_apart else zoom[:, :1].repeat(2, axis=1)
    crop = generator.uniform(a.crop_fraction, 1.0, n)
    place = generator.uniform(-0.5, 0.5, (n, 2)) * (1 - crop)[:, None] * (width, height)
    mirror = np.where(generator.random(n) < 0.5, -1.0, 1.0) if a.flip else np.ones(n)

    # Output to input, about the centre: rotation @ shear @ (crop / zoom), mirrored in x; then the shift.
    entries = [np.cos(turn) * mirror, -np.sin(turn + shear), np.sin(turn) * mirror, np.cos(turn + shear)]
    linear = np.stack(entries, axis=1).reshape(n, 2, 2) * (crop[:, None] / zoom)[:, None, :]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - linear @ centre + shift + place
    return np.pad(np.concatenate([linear, offset[:, :, None]], axis=2).reshape(n, 6), ((0, 0), (0, 2)))


def draw_box(probability, n, size, generator):
    """The `(n, 5)` erased rectangles (Zhong et al., 2020: 2 to 25 % of the area, sides up to 1:3)."""
    area = generator.uniform(0.02, 0.25, n) * size[0] * size[1]
    aspect = np.exp(generator.uniform(np.log(1 / 3), np.log(3), n))
    sides = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1).round().clip(1, size)
    start = np.floor(generator.random((n, 2)) * (np.array(size) - sides + 1))
    hit = generator.random(n) < probability
    return np.column_stack([start, start + sides * hit[:, None], generator.integers(0, 256, n)])


def mix_targets(targets, plan):
    """`(n, classes)` targets, mixed as the plan mixes the pictures."""
    if plan.partner is None:
        return targets
    share = plan.share[:, None]
    return share * targets + (1 - share) * targets[plan.partner]
