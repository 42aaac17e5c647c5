"""What is said of recognition is what its benchmarks recorded."""

from fer_keras.reporting import text
from fer_keras.reporting.sentences import MISSING
from fer_keras.reporting.tables import write_table

NETWORK = {
    "accuracy, faces": 0.66,
    "accuracy, true boxes": 0.65,
    "accuracy, crops": 0.64,
    "named": 0.8,
    "accuracy, crops named": None,
}
DETECTOR = {
    "recall": 0.9,
    "false alarms a picture": 0.04,
    "false alarms a background": 0.1,
    "overlap": 0.85,
    "processor ms a picture": 12.4,
    "networks": {"fer-small": NETWORK},
}
PHOTOS = {
    "astronaut": [[1, 2, 3, 4]],
    "lfw_subset, share of faces found": 0.91,
    "lfw_subset, share of other patches found": 0.02,
}


def test_nothing_is_said_of_what_is_not_measured(own_folders):
    assert {text(name) for name in ("detection", "crops", "following")} == {MISSING}
    assert text("speed", "video") == MISSING


def test_only_ratios_stand_in_a_table_of_ratios(own_folders):
    ratio = {"against": "theirs", "goal": 2, "goal_is": "at least", "met": True, "measured": "1 against 3 ms"}
    ratio |= {"ratio": 3.0, "ratio_low": 2.9, "ratio_high": 3.1}
    write_table("peers", {"about": {"pictures": "made"}, "one face / theirs": ratio})
    (line,) = text("speed", "peers").splitlines()[2:]
    assert line == "| one face | theirs | 3 (2.9 to 3.1) | - | at least 2, met | 1 against 3 ms |"


def test_detectors_and_crops(own_folders):
    record = {"detectors": {"haar": DETECTOR}, "photos": {"haar": PHOTOS}, "pictures": "300 scenes"}
    write_table("detection", record)
    assert "| haar | 90.0 % | 0.04 | 0.10 | 85.0 % | 12 | 1 | 91 % and 2 % |" in text("detection")
    assert "Measured on 300 scenes" in text("detection")
    assert "| haar | `fer-small` | 66.0 % | 65.0 % | 64.0 % | 80.0 % | - |" in text("crops")


def test_what_following_gives_and_costs(own_folders):
    def scores(recall):
        return {"recall": recall, "recall_from_first_look": recall + 0.01, "false_alarms": 0.002}

    entries = {
        f"every {number} / every 1": {"ratio": ratio, "scores": scores(recall), "scores_against": scores(0.95)}
        for number, ratio, recall in ((10, 6.0, 0.85), (2, 1.9, 0.94))
    }
    write_table("video", entries | {"every 5, and written / every 1, and written": {"ratio": 2.0}})
    assert text("following").splitlines()[2:] == [
        "| every frame | 1 | 95.0 % | 96.0 % | 0.002 |",
        "| every 2 frames | 1.9 | 94.0 % | 95.0 % | 0.002 |",
        "| every 10 frames | 6.0 | 85.0 % | 86.0 % | 0.002 |",
    ]
