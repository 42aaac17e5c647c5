"""Made videos whose faces lie at known places: faces that move, grow, leave and cross over a still background."""

import cv2
import numpy as np
import skimage.data

from fer_keras.data.synthetic_faces import draw, sample_face

SIZE, RATE = (240, 320), 25.0  # height and width; frames a second


def astronaut():
    return skimage.data.astronaut()[60:195, 172:282]


def emotion_face(emotion, *, seed=0, size=480):
    """One large, clean face, looking straight, at full expression; the same seed is the same person."""
    face = sample_face(np.random.default_rng(seed), emotion, intensity=1.0)
    vars(face).update(yaw=0.0, pitch=0.0, roll=0.0, scale=0.39, centre_x=0.5, centre_y=0.39)
    return np.clip(np.rint(draw(face, size)), 0, 255).astype(np.uint8)[:, :, None]


def synthetic(emotion):
    """A synthetic face in grey RGB, without what is around it."""
    return np.repeat(emotion_face(emotion, seed=3, size=200)[20:180, 30:170], 3, axis=2)


def background():
    """A photograph without people."""
    return cv2.resize(skimage.data.coffee(), SIZE[::-1], interpolation=cv2.INTER_AREA)


def paste(picture, face, box):
    """Draw a face into a box of a picture, as an oval with soft edges; what lies beyond the edge is cut off."""
    left, top, width, height = np.round(box).astype(int).tolist()
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    opaque = np.clip((1 - np.hypot(x, y)) * 8, 0, 1)[..., None]
    target = picture[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    cut = np.s_[max(-top, 0) :, max(-left, 0) :]
    face = cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA).astype(float)
    face, opaque = (part[cut][: target.shape[0], : target.shape[1]] for part in (face, opaque))
    target[:] = np.rint(opaque * face + (1 - opaque) * target).astype(np.uint8)


def frames(faces, places):
    """Yield RGB frames; `places` holds for each frame the box of each face or None, the nearest face last."""
    still = background()
    for boxes in places:
        picture = still.copy()
        for face, box in zip(faces, boxes, strict=True):
            if box is not None:
                paste(picture, face, box)
        yield picture


def write(file, pictures, *, four="mp4v", rate=RATE):
    """Write a video of RGB pictures and return its path."""
    pictures = list(pictures)
    fourcc, size = cv2.VideoWriter_fourcc(*four), pictures[0].shape[1::-1]
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, fourcc, rate, size)
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return file
