"""Figures of notebook 05: the final capstone network."""

from fer_keras.reporting.catalogue.entry import Entry, architectures, histories, of_each, recalls, recorded

OFFICIAL = ("capstone-model-1", "capstone-model-2", "capstone-final")
COURSE = ("capstone-model-1@course", "capstone-model-2@course", "capstone-final@course")
FIGURES = {
    "curves-final": Entry(
        5, "Validation accuracy by epoch of the capstone's three networks from scratch.", recorded(*OFFICIAL), histories
    ),
    "curves-final-course": Entry(
        5,
        "Validation accuracy by epoch of the capstone's three networks from scratch on the course set.",
        recorded(*COURSE),
        histories,
    ),
    "recall-final": Entry(
        5,
        "Recall of each of the four classes by the capstone's three networks from scratch.",
        recorded(*OFFICIAL),
        recalls,
    ),
    **of_each(5, ("capstone-final", "capstone-final@course")),
    **architectures(5, ("capstone-final",)),
}
