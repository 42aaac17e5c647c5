"""The table of a video: a row for each face and frame, written as they come."""

import csv

# Columns before those of the classes, and their kinds.
COLUMNS = {
    "time": float,
    "frame": int,
    "id": int,
    "left": int,
    "top": int,
    "width": int,
    "height": int,
    "emotion": str,
    "confidence": float,
    "detected": bool,
}


class Rows:
    """The table as a CSV file that grows with each frame, and can be read at any time.

    Args:
        path: where it is written.
        classes: tuple of class names.
    """

    def __init__(self, path, classes):
        self.classes = classes
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.rows.writerow([*COLUMNS, *classes])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, number, seconds, tracks, faces):
        """Write the faces of one frame."""
        self.rows.writerows(
            [
                *(f"{seconds:.3f}", number, track.id, *face.box, face.emotion, f"{face.confidence:.6f}"),
                *(track.detected, *(f"{face.probabilities[name]:.6f}" for name in self.classes)),
            ]
            for track, face in zip(tracks, faces, strict=True)
        )
        self.file.flush()


def read_rows(path, classes):
    """Return a table that `Rows` wrote as a `pandas.DataFrame`."""
    import pandas as pd

    kinds = {**COLUMNS, **dict.fromkeys(classes, float)}
    return pd.read_csv(path, dtype=kinds, na_filter=False, encoding="utf-8")
