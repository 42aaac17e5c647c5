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
SIDES = (-1, 1)
CIRCLE = TURN[::2]
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


def surroundings(sketch, face):
    """Draw what is behind the head: a patch of another tone, hair that falls behind, the neck and the clothes."""
    edge = face.backdrop_edge
    sketch.area(np.array([edge, 3, 3, edge + 0.5]), np.array([-3, -3, 3, 3]), face.backdrop, 0)
    if face.hair_style in ("long", "afro"):
        reach = 1.15 if face.hair_style == "long" else 1.3
        y = np.sin(TURN) * 1.4 - 0.1
        if face.hair_style == "long":
            y = np.where(y > 0, y * 2.0, y)
        sketch.area(reach * np.cos(TURN), y, face.hair, 0)
    sketch.area(np.array([-0.6, 0.6, 0.7, -0.7]), np.array([0.8, 0.8, 3, 3]), 0.72 * face.skin, 0)
    sketch.area(np.array([-2, -0.7, 0, 0.7, 2]), np.array([3, 1.75, 2.0, 1.75, 3]), face.clothes, 0)


def head(sketch, face):
    """Draw ears and skull with their large soft shades."""
    for side in SIDES:
        x = side * (face.width + 0.02) + 0.12 * np.cos(TURN[::3])
        sketch.area(x, 0.15 + 0.26 * np.sin(TURN[::3]), 0.85 * face.skin, 0)
    x, y = outline(face)
    sketch.area(x, y, face.skin, 0)
    for side in SIDES:
        sketch.shade(side * 1.02, 0.5, 0.22, 1.0, -0.26)
        sketch.shade(side * 0.45, -0.06, 0.26, 0.16, -0.15)
        lifted = face.cheek_raise + 0.5 * face.corner_pull
        sketch.shade(side * 0.55, 0.5 - 0.1 * lifted, 0.26, 0.2, 0.05 + 0.1 * lifted)
    sketch.shade(0, -0.55, 0.5, 0.22, 0.08)
    sketch.shade(0, chin_of(face) + 0.18, 0.6, 0.18, -0.2)


def outline(face):
    """The x and y of the skull's outline; a dropped jaw makes it longer."""
    x, y = np.cos(TURN), np.sin(TURN)
    x = face.width * np.sign(x) * np.abs(x) ** np.where(y > 0, face.jaw, 1)
    return x, np.where(y > 0, y * chin_of(face), y * 1.3)


def chin_of(face):
    """The y of the chin."""
    return face.chin + 0.16 * face.jaw_drop - 0.03 * face.chin_raise


def beard(sketch, face):
    """Draw a beard along the jaw and above the lip, or the soft shadow of a shaven one."""
    if face.beard_style == "stubble":
        sketch.shade(0, face.chin - 0.2, 0.75, 0.32, -0.22)
        sketch.shade(0, face.mouth_y - 0.16, 0.3, 0.1, -0.15)
    if face.beard_style == "full":
        reach = 0.97 * np.abs(ALONG)
        cheek = 0.3 * np.exp(-(((reach - 0.62) / 0.2) ** 2)) - 0.75 * reach**8
        jaw = chin_of(face) * np.sqrt(1 - reach ** (2 / face.jaw))
        top = np.minimum(face.mouth_y - 0.17 + cheek, jaw)
        sketch.band(0.97 * face.width * ALONG, top, jaw, 0.8 * face.brow + 0.2 * face.skin, 0.35)


def hair(sketch, face):
    """Draw the hair in front of the skull, down to the hairline."""
    if face.hair_style == "bald":
        sketch.shade(0.2, -0.8, 0.3, 0.2, 0.15)
        return
    x = 1.06 * face.width * ALONG
    top = -(1.54 if face.hair_style == "afro" else 1.42) * np.sqrt(np.maximum(ARCH, 0.02))
    line = face.hairline + (0.25 if face.hair_style == "long" else 0.55) * np.abs(ALONG) ** 4
    if face.hair_style == "fringe":
        line = line + 0.12 - 0.05 * (-1.0) ** np.arange(len(line))
    if face.hair_style == "parted":
        line = line + 0.2 * np.abs(ALONG - face.parting) - 0.1
    sketch.band(x, top, line, face.hair, 0.45)
    for height, tone in ((0.15, 0.8), (0.35, 1.25), (0.55, 0.8), (0.75, 1.25)):
        part = 0.8 * ALONG * (1 - 0.3 * height)
        strand = np.interp(part, ALONG, line + height * (top - line)) + 0.05 * face.parting * np.sin(9 * part)
        sketch.stroke(1.06 * face.width * part, strand, tone * face.hair, 0.06, 0.45)


def extras(sketch, face):
    """Draw glasses, and the fist or the microphone that hides a part of the face now and then."""
    if face.glasses:
        for side in SIDES:
            x = side * face.eye_gap + 1.45 * face.eye_width * np.cos(TURN)
            y = 0.03 + face.glasses_height * np.sin(TURN)
            for start in (0, 12, 24):
                part = np.arange(start, start + 13) % 36
                sketch.stroke(x[part], y[part], face.glasses_tone, 0.09, 1.1)
            temple = np.linspace(face.eye_gap + 1.4 * face.eye_width, 1.0, len(ALONG))
            sketch.stroke(side * temple, 0 * temple - 0.03, face.glasses_tone, 0.06, 0.9)
        bridge = (face.eye_gap - 1.4 * face.eye_width) * ALONG
        sketch.stroke(bridge, -0.02 - 0.04 * ARCH, face.glasses_tone, 0.07, 1.2)
    if face.occluded:
        x, y = face.occluder_x + 0.3 * np.cos(TURN), face.occluder_y + 0.38 * np.sin(TURN)
        sketch.area(x, y, face.occluder_tone, 1.0)
