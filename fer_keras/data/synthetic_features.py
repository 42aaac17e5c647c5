"""Expressions as sets of facial actions, and how those shape brows, eyes, nose, mouth and wrinkles.

Reference: Ekman, Friesen and Hager (2002), Facial Action Coding System: the actions and the emotions' prototypes.
"""

import numpy as np

from fer_keras.data.drawing import ALONG, ARCH, SIDES, TURN

ACTIONS = (
    "inner_brow_raise", "outer_brow_raise", "brow_lower", "lid_raise", "cheek_raise", "lid_tighten", "lid_droop",
    "nose_wrinkle", "upper_lip_raise", "corner_pull", "dimple", "corner_drop", "chin_raise", "lip_stretch",
    "lip_press", "lips_part", "jaw_drop",
)  # fmt: skip

# How strongly each action shows in a full expression; an emotion has several faces, all equally frequent.
EXPRESSIONS = {
    "angry": (
        dict(brow_lower=1.0, lid_tighten=0.9, lip_press=1.0, chin_raise=0.4, nose_wrinkle=0.1),
        dict(brow_lower=1.0, lid_tighten=0.7, lid_raise=0.4, lip_press=0.7, corner_drop=0.3),
        dict(brow_lower=1.0, lid_tighten=0.5, lips_part=1.0, lip_stretch=0.45, jaw_drop=0.35, upper_lip_raise=0.3),
    ),
    "disgust": (
        dict(nose_wrinkle=1.0, upper_lip_raise=1.0, brow_lower=0.5, lid_tighten=0.6, chin_raise=0.6, corner_drop=0.4),
        dict(nose_wrinkle=1.0, upper_lip_raise=1.0, brow_lower=0.4, lid_tighten=0.7, lips_part=0.8, corner_drop=0.3),
    ),
    "fear": (
        dict(inner_brow_raise=1.0, outer_brow_raise=0.5, brow_lower=0.6, lid_raise=1.0, lip_stretch=1.0, lips_part=0.6),
        dict(inner_brow_raise=1.0, outer_brow_raise=0.6, brow_lower=0.6, lid_raise=1.0, lip_stretch=0.9, lips_part=1.0,
             jaw_drop=0.3),
    ),
    "happy": (
        dict(cheek_raise=0.9, corner_pull=1.0, lips_part=1.0, jaw_drop=0.1),
        dict(cheek_raise=1.0, corner_pull=1.0, lips_part=1.0, jaw_drop=0.4),
        dict(cheek_raise=0.8, corner_pull=1.0),
    ),
    "sad": (
        dict(inner_brow_raise=1.0, brow_lower=0.4, lid_droop=0.5, corner_drop=1.0, chin_raise=0.5),
        dict(inner_brow_raise=0.9, brow_lower=0.3, lid_droop=0.9, corner_drop=0.8),
    ),
    "surprise": (
        dict(inner_brow_raise=1.0, outer_brow_raise=1.0, lid_raise=0.8, lips_part=1.0, jaw_drop=1.0),
        dict(inner_brow_raise=1.0, outer_brow_raise=1.0, lid_raise=1.0, lips_part=0.8, jaw_drop=0.7),
    ),
    "neutral": ({},),
    "contempt": (dict(dimple=1.0, lid_droop=0.2), dict(dimple=1.0, chin_raise=0.3)),
}  # fmt: skip

CIRCLE = TURN[::2]


def brows(sketch, face):
    """Draw the brows: inner and outer ends are raised, lowered and drawn together one by one."""
    inner_up, outer_up, lower = face.inner_brow_raise, face.outer_brow_raise, face.brow_lower
    inner_x = 0.2 - 0.07 * lower
    inner_y = face.brow_y - 0.2 * inner_up + 0.17 * lower * (1 - 0.8 * inner_up) + 0.05 * face.nose_wrinkle
    outer_y = face.brow_y + 0.04 - 0.2 * outer_up + 0.05 * lower
    bow = face.brow_arch * (1 - 0.7 * lower) + 0.08 * outer_up
    across = (ALONG + 1) / 2
    for side in SIDES:
        x = side * (inner_x + (face.brow_length - 0.03 * lower) * across)
        y = inner_y + (outer_y - inner_y) * across - bow * ARCH + side * face.lopsided
        sketch.stroke(x, y, face.brow, face.brow_width, 1.0)


def eyes(sketch, face):
    """Draw the eyes: the lids open, tighten and droop, raised cheeks push up the lower lid."""
    height = face.eye_height * (1 - 0.4 * face.lid_tighten - 0.45 * face.lid_droop - 0.2 * face.cheek_raise)
    height = max(height + 0.09 * face.lid_raise, 0.02)
    depth = 0.055 - 0.02 * face.lid_tighten - 0.06 * face.cheek_raise + 0.025 * face.lid_raise
    depth = max(depth, 0.025 - height)
    droop = 0.5 * face.lid_droop + 0.3 * face.inner_brow_raise * face.brow_lower

    def lid(along, reach, slant=0.0):
        return face.eye_tilt * along + reach * np.maximum(0, 1 - along**2) * (1 - slant * along)

    for side in SIDES:
        x = side * face.eye_gap + side * face.eye_width * ALONG
        top, bottom = lid(ALONG, -height, droop), lid(ALONG, depth)
        sketch.band(x, top, bottom, face.eye_white)
        for radius, tone in ((0.1, face.iris), (0.05, 12)):
            along = np.clip((side * face.gaze + radius * np.cos(CIRCLE)) / face.eye_width, -1, 1)
            y = np.clip(-0.015 + radius * np.sin(CIRCLE), lid(along, -height, droop), lid(along, depth))
            sketch.area(side * (face.eye_gap + face.eye_width * along), y, tone)
        if height > 0.05:
            glint = side * face.eye_gap + face.gaze + 0.02
            sketch.area(glint + 0.02 * np.cos(CIRCLE), -0.035 + 0.02 * np.sin(CIRCLE), 240)
        sketch.stroke(x, top, face.lash, 0.055)
        sketch.stroke(x, top - 0.055 - 0.02 * ARCH, 0.72 * face.skin, 0.03)
        sketch.stroke(x, bottom + 0.005, 0.68 * face.skin, 0.03)
        pouch = max(face.age * 0.5, face.cheek_raise, 0.6 * face.lid_tighten)
        sketch.stroke(x, bottom + 0.07 + 0.02 * ARCH, (1 - 0.35 * pouch) * face.skin, 0.035)


def nose(sketch, face):
    """Draw the nose; wrinkling it lifts and widens the wings and folds the skin of the bridge."""
    wrinkle = face.nose_wrinkle
    base = face.nose_y - 0.06 * wrinkle - 0.02 * face.upper_lip_raise
    wide = face.nose_width * (1 + 0.2 * wrinkle + 0.1 * face.corner_pull)
    sketch.shade(0, 0.2, 0.09, 0.4, 0.13)
    sketch.shade(0.04, base - 0.06, 0.12, 0.1, 0.14)
    sketch.shade(0, base + 0.09, 0.22, 0.07, -0.16)
    for side in SIDES:
        sketch.shade(side * 0.17, 0.12, 0.09, 0.3, -0.13)
        sketch.stroke(side * wide * (1 - 0.3 * ALONG**2), base - 0.04 + 0.11 * ALONG, 0.68 * face.skin, 0.045, 1.2)
        x = side * 0.55 * wide + 0.055 * np.cos(CIRCLE)
        sketch.area(x, base + 0.04 + (0.025 + 0.015 * wrinkle) * np.sin(CIRCLE), 0.35 * face.skin, 1.25)
        if wrinkle > 0.05:
            for start in (0.0, 0.1, 0.2):
                x = side * (0.13 + 0.1 * ALONG)
                sketch.stroke(x, start + 0.06 + 0.05 * ALONG, (1 - 0.38 * wrinkle) * face.skin, 0.04, 1.15)
    sketch.stroke(0.5 * wide * ALONG, base + 0.05 + 0.02 * ARCH, 0.6 * face.skin, 0.03, 1.25)


def mouth(sketch, face):
    """Draw lips, the opening and the teeth in it; corners and lips move one by one."""
    f = face
    half = f.mouth_width + 0.15 * f.corner_pull + 0.14 * f.lip_stretch - 0.04 * f.lip_press - 0.08 * f.jaw_drop
    middle = f.mouth_y + 0.03 * f.jaw_drop - 0.06 * f.chin_raise - 0.04 * f.upper_lip_raise
    corner = -0.17 * f.corner_pull + 0.15 * f.corner_drop + 0.04 * f.lip_stretch + 0.06 * f.chin_raise
    corner = corner + 0.14 * f.jaw_drop
    smirk = 0.2 * f.dimple * np.maximum(ALONG * f.smirk_side, 0) ** 2
    x = half * ALONG + 0.08 * f.dimple * f.smirk_side * np.abs(ALONG)
    line = middle + corner * ALONG**2 - smirk + f.lopsided * ALONG

    square = ARCH ** (0.3 + 0.2 * (1 - f.lip_stretch))
    up = (0.1 * f.upper_lip_raise + 0.03 * f.jaw_drop) * f.lips_part * square
    down = (0.13 * f.lips_part + 0.42 * f.jaw_drop) * square
    thin = (1 - 0.75 * f.lip_press) * (1 - 0.3 * f.corner_pull)
    bow = ARCH**0.8 * (1 - 0.25 * np.exp(-((ALONG / 0.2) ** 2)))
    upper, lower = 0.085 * f.lip_size * thin * bow, 0.12 * f.lip_size * thin * ARCH**0.8
    if f.beard_style == "none":
        sketch.shade(0, middle + down.max() + 0.24, 0.25, 0.08, -0.14)
    sketch.band(x, line - up - upper, line - up + 0.01, f.lip)
    sketch.band(x, line + down - 0.01, line + down + lower, 1.12 * f.lip)
    if f.lips_part > 0.02:
        opening(sketch, f, x, line - up, line + down)
    sketch.stroke(x, line - up, min(0.45 * f.skin, 70), 0.045 + 0.02 * f.lip_press)


def opening(sketch, face, x, top, bottom):
    """Draw the inside of an open mouth between two curves: dark, with teeth as the lips bare them."""
    sketch.band(x, top, bottom, 0.16 * face.skin)
    inside = slice(1, -1)
    edge = np.minimum(top + 0.04 + 0.12 * face.teeth * (1 - 0.6 * face.jaw_drop), bottom)
    sketch.band(x[inside], top[inside], edge[inside], face.enamel)
    if face.lip_stretch > 0.3:
        edge = np.maximum(bottom - 0.05 * face.lip_stretch, edge)
        sketch.band(x[inside], edge[inside], bottom[inside], 0.9 * face.enamel)
    elif face.jaw_drop > 0.3:
        edge = np.maximum(bottom - 0.16 * face.jaw_drop * ARCH, edge)
        sketch.band(0.7 * x[inside], edge[inside], bottom[inside], 0.42 * face.skin)


def wrinkles(sketch, face):
    """Draw the folds that the actions press into the skin, and those of age."""
    f = face

    def fold(x, y, strength, width=0.04):
        strength = min(strength, 1)
        if strength > 0.08:
            sketch.stroke(x, y, (1 - 0.45 * strength) * f.skin, width)

    raised = min(f.inner_brow_raise, 0.4 + 0.6 * f.outer_brow_raise)
    reach = 0.3 + 0.35 * f.outer_brow_raise
    for start in (0.2, 0.33):
        fold(
            reach * ALONG,
            f.brow_y - start - 0.1 * raised - 0.04 * ARCH * f.outer_brow_raise,
            0.75 * raised + 0.4 * f.age,
        )
    cheek = max(0.9 * f.corner_pull, 0.9 * f.upper_lip_raise, 0.6 * f.nose_wrinkle, 0.55 * f.age, 0.5 * f.lip_stretch)
    end = f.mouth_width + 0.1 + 0.14 * f.corner_pull + 0.1 * f.lip_stretch
    span = (ALONG + 1) / 2
    for side in SIDES:
        fold(side * (0.07 - 0.015 * ALONG), f.brow_y + 0.1 + 0.11 * ALONG, f.brow_lower, 0.05)
        x = f.nose_width + 0.03 + (end - f.nose_width) * span**0.8
        fold(side * x, f.nose_y - 0.05 + (f.mouth_y - f.nose_y - 0.02) * span**1.3, cheek, 0.05)
        for tilt in (-0.07, 0.03):
            x = f.eye_gap + f.eye_width + 0.06 + 0.15 * span
            fold(side * x, tilt * span * 2 + 0.02, 0.8 * f.cheek_raise + 0.3 * f.age, 0.03)
        fold(side * (f.mouth_width + 0.07 + 0.02 * ALONG), f.mouth_y + 0.16 + 0.08 * ALONG, f.corner_drop, 0.045)
    fold(0.17 * ALONG, f.mouth_y + 0.27 - 0.06 * ARCH, f.chin_raise, 0.05)
