"""What was measured of recognition: detectors on faces at known places, and faces followed through a video."""

from fer_keras.reporting.sentences import MISSING, percent, table
from fer_keras.results.runs import find_table

# Column -> key of a detector's record, and how it is written.
FOUND = {
    "faces found": ("recall", percent),
    "false alarms a scene": ("false alarms a picture", "{:.2f}".format),
    "false alarms where nobody is": ("false alarms a background", "{:.2f}".format),
    "overlap of its framed boxes": ("overlap", percent),
}
LFW = ("lfw_subset, share of faces found", "lfw_subset, share of other patches found")


def detection():
    """Return which faces each detector finds, at known places and on real photos, as a table."""
    found = find_table("detection")
    if not found:
        return MISSING
    lines = [
        [
            name,
            *[write(values[key]) for key, write in FOUND.values()],
            f"{values['processor ms a picture']:.0f}",
            len(found["photos"][name]["astronaut"]),
            " and ".join(percent(found["photos"][name][key], 0) for key in LFW),
        ]
        for name, values in found["detectors"].items()
    ]
    header = (
        "detector",
        *FOUND,
        "processor ms a picture",
        "faces in `astronaut`",
        "of faces and of other patches in `lfw_subset`",
    )
    return f"{table(header, lines)}\n\nMeasured on {found['pictures']}; and on scikit-image's photos."


def crops():
    """Return how accurate networks are on faces as a detector cuts them out, as a table."""
    found = find_table("detection")
    if not found:
        return MISSING
    lines = [
        [
            name,
            f"`{network}`",
            *[percent(values[f"accuracy, {where}"]) for where in ("faces", "true boxes", "crops")],
            percent(values["named"]),
            "-" if values["accuracy, crops named"] is None else percent(values["accuracy, crops named"]),
        ]
        for name, detector in found["detectors"].items()
        for network, values in detector["networks"].items()
    ]
    header = ("detector", "network", "the faces themselves", "cut at the true place", "cut as detected")
    return table((*header, "named, not uncertain", "right of those named"), lines)


def following():
    """Return what it gives and costs to look for faces on every n-th frame only and follow them between, as a table."""
    found = find_table("video")
    if not found:
        return MISSING
    lines, first = [], None
    for name, entry in found.items():
        if "scores" in entry:  # its name is "every N / every 1"
            first = ["every frame", "1", *shares(entry["scores_against"])]
            lines.append([int(name.split()[1]), f"{entry['ratio']:.1f}", *shares(entry["scores"])])
    rows = [[f"every {number} frames", *rest] for number, *rest in sorted(lines)]
    header = ("the detector looks at", "times as fast", "faces found", "from its first look on", "false alarms a frame")
    return table(header, [first, *rows]) if first else MISSING


def shares(scores):
    """Return recall, that from the first look on, and false alarms, as they are written."""
    return [
        percent(scores["recall"]),
        percent(scores["recall_from_first_look"]),
        f"{scores['false_alarms']:.3f}",
    ]


BLOCKS = {"detection": detection, "crops": crops, "following": following}
