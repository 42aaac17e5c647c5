"""Made videos whose faces lie at known places: faces that move, grow, leave and cross over a still background."""

import cv2
import numpy as np
import skimage.data

from fer_keras.data.synthetic_faces import draw, sample_face

SIZE, RATE = (240, 320), 25.0  # height and width; frames a second
ASTRONAUT = skimage.data.astronaut()[60:195, 172:282]
BACKGROUND = cv2.resize(skimage.data.coffee(), SIZE[::-1], interpolation=cv2.INTER_AREA)  # without people
BEYOND = 100  # pixels beyond the edges to which faces may go


def emotion_face(emotion, *, seed=0, size=480):
    """One large, clean face, looking straight, at full expression; the same seed is the same person."""
    face = sample_face(np.random.default_rng(seed), emotion, intensity=1.0)
    vars(face).update(yaw=0.0, pitch=0.0, roll=0.0, scale=0.39, centre_x=0.5, centre_y=0.39)
    return np.clip(np.rint(draw(face, size)), 0, 255).astype(np.uint8)[:, :, None]


def frames(faces, places):
    """Yield RGB frames; `places` holds for each frame the box of each face, an oval, or None, the nearest face last."""
    for boxes in places:
        picture = np.pad(BACKGROUND, ((BEYOND, BEYOND), (BEYOND, BEYOND), (0, 0)))
        for face, box in zip(faces, boxes, strict=True):
            if box is not None:
                left, top, width, height = np.round(box).astype(int).tolist()
                y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
                opaque = np.clip((1 - np.hypot(x, y)) * 8, 0, 1)[..., None]
                target = picture[BEYOND + top :, BEYOND + left :][:height, :width]
                face = opaque * cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA)
                target[:] = np.rint(face + (1 - opaque) * target)
        yield picture[BEYOND:-BEYOND, BEYOND:-BEYOND].copy()


def write(file, pictures, *, four="mp4v", rate=RATE):
    """Write a video of RGB pictures and return its path."""
    first, *rest = pictures
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*four), rate, first.shape[1::-1])
    for picture in (first, *rest):
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return file
