"""Figures of notebook 02: four classes from scratch."""

from fer_keras.reporting.catalogue.entry import Entry, architectures, histories, of_each, recalls, recorded

FOUR = ("capstone-model-1", "capstone-model-2")
COURSE = ("capstone-model-1@course", "capstone-model-2@course")
FIGURES = {
    "curves-four": Entry(
        2, "Validation accuracy by epoch of the small four-class networks.", recorded(*FOUR), histories
    ),
    "curves-course": Entry(
        2, "Validation accuracy by epoch of the small networks on the course set.", recorded(*COURSE), histories
    ),
    "recall-four": Entry(2, "Recall of each of the four classes by the small networks.", recorded(*FOUR), recalls),
    **of_each(2, (*FOUR, *COURSE)),
    **architectures(2, FOUR),
}
