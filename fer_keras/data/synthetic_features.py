"""Painters of a synthetic face's parts, and expressions as sets of the facial actions that shape them.

Face coordinates: the eyes lie at y = 0, x = 0 is the midline, one unit is half the width of the face, y points down.

Reference: Ekman, Friesen and Hager (2002), Facial Action Coding System: the actions and the emotions' prototypes.
"""

import numpy as np

# From one end of a feature to the other, closer at the ends, where lips and lids bend most.
ALONG = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 13))
# 1 in the middle of a feature, 0 at its ends.
ARCH = np.cos(np.linspace(-np.pi / 2, np.pi / 2, 13)) ** 2
TURN = np.linspace(0, 2 * np.pi, 37)[:-1]
CIRCLE = TURN[::2]
SIDES = (-1, 1)

# How strongly each action shows in a full expression; an emotion has several faces, all equally frequent.
EXPRESSIONS = {
    "angry": (
        dict(brow_lower=1.0, lid_tighten=0.9, lip_press=1.0, chin_raise=0.4),
        dict(brow_lower=1.0, lid_tighten=0.5, lips_part=1.0, lip_stretch=0.45, jaw_drop=0.35, upper_lip_raise=0.3),
    ),
    "disgust": (
        dict(nose_wrinkle=1.0, upper_lip_raise=1.0, brow_lower=0.5, lid_tighten=0.6, chin_raise=0.6, corner_drop=0.4),
        dict(nose_wrinkle=1.0, upper_lip_raise=1.0, brow_lower=0.4, lid_tighten=0.7, lips_part=0.8, corner_drop=0.3),
    ),
    "fear": (
        dict(inner_brow_raise=1.0, outer_brow_raise=0.5, brow_lower=0.6, lid_raise=1.0, lip_stretch=1.0, lips_part=0.6),
        dict(inner_brow_raise=1.0, outer_brow_raise=0.6, brow_lower=0.6, lid_raise=1.0, lip_stretch=0.9, lips_part=1.0),
    ),
    "happy": (
        dict(cheek_raise=1.0, corner_pull=1.0, lips_part=1.0, jaw_drop=0.3),
        dict(cheek_raise=0.8, corner_pull=1.0),
    ),
    "sad": (
        dict(inner_brow_raise=1.0, brow_lower=0.4, lid_droop=0.5, corner_drop=1.0, chin_raise=0.5),
        dict(inner_brow_raise=0.9, brow_lower=0.3, lid_droop=0.9, corner_drop=0.8),
    ),
    "surprise": (dict(inner_brow_raise=1.0, outer_brow_raise=1.0, lid_raise=0.9, lips_part=1.0, jaw_drop=1.0),),
    "neutral": ({},),
    "contempt": (dict(dimple=1.0, lid_droop=0.2, chin_raise=0.2),),
}  # fmt: skip
ACTIONS = tuple(sorted({action for faces in EXPRESSIONS.values() for actions in faces for action in actions}))


def head(sketch, face):
    """Draw what is behind the head, neck and clothes, ears, and the skull with its large soft shades."""
    x, y = np.cos(TURN), np.sin(TURN)
    sketch.add([face.edge, 3, 3, face.edge + 0.5], [-3, -3, 3, 3], face.backdrop, 0)
    sketch.add([-0.6, 0.6, 0.7, -0.7], [0.8, 0.8, 3, 3], 0.72 * face.skin, 0)
    sketch.add([-2, -0.7, 0, 0.7, 2], [3, 1.75, 2.0, 1.75, 3], face.clothes, 0)
    for side in SIDES:
        sketch.add(side * (face.width + 0.02) + 0.12 * x, 0.15 + 0.26 * y, 0.85 * face.skin, 0)
        sketch.shade(side * 1.02, 0.5, 0.22, 1.0, -0.26)
        sketch.shade(side * 0.45, -0.06, 0.26, 0.16, -0.15)
        lifted = face.cheek_raise + 0.5 * face.corner_pull
        sketch.shade(side * 0.55, 0.5 - 0.1 * lifted, 0.26, 0.2, 0.05 + 0.1 * lifted)
    chin = face.chin + 0.16 * face.jaw_drop - 0.03 * face.chin_raise
    outline = face.width * np.sign(x) * np.abs(x) ** np.where(y > 0, face.jaw, 1)
    sketch.add(outline, np.where(y > 0, y * chin, y * 1.3), face.skin, 0)
    sketch.shade(0, -0.55, 0.5, 0.22, 0.08)
    sketch.shade(0, chin + 0.18, 0.6, 0.18, -0.2)


def nose(sketch, face):
    """Draw the nose; wrinkling it lifts and widens the wings and folds the skin of the bridge."""
    wrinkle = face.nose_wrinkle
    base = face.nose_y - 0.06 * wrinkle - 0.02 * face.upper_lip_raise
    wide = face.nose_width * (1 + 0.2 * wrinkle + 0.1 * face.corner_pull)
    sketch.shade(0, 0.2, 0.09, 0.4, 0.13)
    sketch.shade(0, base + 0.09, 0.22, 0.07, -0.16)
    for side in SIDES:
        sketch.shade(side * 0.17, 0.12, 0.09, 0.3, -0.13)
        sketch.add(side * wide * (1 - 0.3 * ALONG**2), base - 0.04 + 0.11 * ALONG, 0.68 * face.skin, 1.2, width=0.045)
        sketch.add(side * 0.55 * wide + 0.055 * np.cos(CIRCLE), base + 0.04 + 0.03 * np.sin(CIRCLE), 0.35 * face.skin)
        folded = (1 - 0.38 * wrinkle) * face.skin
        for start in (0.06, 0.16, 0.26):
            sketch.add(side * (0.13 + 0.1 * ALONG), start + 0.05 * ALONG, folded, 1.15, width=0.04 * wrinkle)


def mouth(sketch, face):
    """Draw lips, the opening and the teeth in it; corners and lips move one by one."""
    half = face.mouth_width + 0.15 * face.corner_pull + 0.14 * face.lip_stretch
    half += -0.04 * face.lip_press - 0.08 * face.jaw_drop
    middle = face.mouth_y + 0.03 * face.jaw_drop - 0.06 * face.chin_raise - 0.04 * face.upper_lip_raise
    corner = -0.17 * face.corner_pull + 0.15 * face.corner_drop + 0.04 * face.lip_stretch
    corner += 0.06 * face.chin_raise + 0.14 * face.jaw_drop
    x = half * ALONG + 0.08 * face.dimple * np.abs(ALONG)
    line = middle + corner * ALONG**2 - 0.2 * face.dimple * np.maximum(ALONG, 0) ** 2
    square = ARCH ** (0.5 - 0.2 * face.lip_stretch)
    top = line - (0.1 * face.upper_lip_raise + 0.03 * face.jaw_drop) * face.lips_part * square
    bottom = line + (0.13 * face.lips_part + 0.42 * face.jaw_drop) * square
    lips = face.lip_size * (1 - 0.75 * face.lip_press) * (1 - 0.3 * face.corner_pull) * ARCH**0.8
    sketch.shade(0, bottom.max() + 0.24, 0.25, 0.08, -0.14)
    sketch.band(x, top - 0.085 * lips * (1 - 0.25 * np.exp(-((ALONG / 0.2) ** 2))), top + 0.01, face.lip)
    sketch.band(x, bottom - 0.01, bottom + 0.12 * lips, 1.12 * face.lip)
    sketch.band(x, top, bottom, 0.16 * face.skin)
    teeth = np.minimum(top + (0.02 + 0.12 * face.lips_part) * (1 - 0.6 * face.jaw_drop), bottom)
    sketch.band(x[1:-1], top[1:-1], teeth[1:-1], face.enamel)
    sketch.add(x, top, min(0.45 * face.skin, 70), width=0.045 + 0.02 * face.lip_press)


def eyes(sketch, face):
    """Draw the eyes: the lids open, tighten and droop, raised cheeks push up the lower lid."""
    height = face.eye_height * (1 - 0.4 * face.lid_tighten - 0.45 * face.lid_droop - 0.2 * face.cheek_raise)
    height = max(height + 0.09 * face.lid_raise, 0.02)
    depth = max(0.055 - 0.02 * face.lid_tighten - 0.06 * face.cheek_raise + 0.025 * face.lid_raise, 0.025 - height)
    droop = 0.5 * face.lid_droop + 0.3 * face.inner_brow_raise * face.brow_lower
    top, bottom = -height * ARCH * (1 - droop * ALONG), depth * ARCH
    for side in SIDES:
        x = side * (face.eye_gap + face.eye_width * ALONG)
        sketch.band(x, top, bottom, face.eye_white)
        for radius, tone in ((0.1, face.iris), (0.05, 12)):
            along = np.clip(radius * np.cos(CIRCLE) / face.eye_width, -1, 1)
            lids = np.interp(along, ALONG, top), np.interp(along, ALONG, bottom)
            y = np.clip(-0.015 + radius * np.sin(CIRCLE), *lids)
            sketch.add(side * (face.eye_gap + face.eye_width * along), y, tone)
        sketch.add(x, top, face.lash, width=0.055)
        sketch.add(x, top - 0.055 - 0.02 * ARCH, 0.72 * face.skin, width=0.03)
        sketch.add(x, bottom + 0.005, 0.68 * face.skin, width=0.03)


def brows(sketch, face):
    """Draw the brows: inner and outer ends are raised, lowered and drawn together one by one."""
    inner_up, outer_up, lower = face.inner_brow_raise, face.outer_brow_raise, face.brow_lower
    inner_y = face.brow_y - 0.2 * inner_up + 0.17 * lower * (1 - 0.8 * inner_up) + 0.05 * face.nose_wrinkle
    outer_y = face.brow_y + 0.04 - 0.2 * outer_up + 0.05 * lower
    bow = face.brow_arch * (1 - 0.7 * lower) + 0.08 * outer_up
    across = (ALONG + 1) / 2
    x = 0.2 - 0.07 * lower + (face.brow_length - 0.03 * lower) * across
    for side in SIDES:
        sketch.add(side * x, inner_y + (outer_y - inner_y) * across - bow * ARCH, face.brow, width=face.brow_width)


def hair(sketch, face):
    """Draw the hair in front of the skull, down to the hairline."""
    top = -1.42 * np.sqrt(np.maximum(ARCH, 0.02))
    line = face.hairline + 0.5 * np.abs(ALONG) ** 4
    sketch.band(1.06 * face.width * ALONG, top, line, face.hair, 0.45)
    for height, tone in ((0.2, 0.8), (0.5, 1.25), (0.75, 0.8)):
        strand = line + height * (top - line)
        sketch.add(0.85 * face.width * ALONG, strand, tone * face.hair, 0.45, width=0.06)


PAINTERS = (head, nose, mouth, eyes, brows, hair)  # from the back to the front
