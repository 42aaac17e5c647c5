"""Cards: what a run's record says of the network that ships, with its terms, use and limits."""

from fer_keras.evaluation import fit_temperature
from fer_keras.results.runs import Run

TERMS = (
    "FER-2013's pictures were collected from the web for research and are not part of this file, which holds trained "
    "values only. The file is under this package's licence; whether the terms of the data allow a use is the user's to "
    "check."
)
OTHER_TERMS = (
    "The pictures that it was trained on ({source}) are not part of this file, which holds trained values only; "
    "whether their terms allow a use is the user's to check."
)
USE = (
    "Naming the expression of a face that was cut out of a photo, for study, teaching and software that the people "
    "pictured agreed to."
)
LIMITS = (
    "It names what strangers would call an expression, not what a person feels. {labels}Ages, genders and origins of "
    "the faces were never counted. Not for judging or watching people: not in hiring, schools, policing or at borders."
)
DISPUTED = "FER+'s voters dispute many of FER-2013's labels, those of disgust and fear above all. "


def card(run: Run, input_shape: tuple, name: str) -> dict:
    """Write the card of a run's network, but for the sum of its file; metrics on validation only unless it is final."""
    source, is_fer2013 = run.data["source"], "FER-2013" in run.data["source"]
    framing = "a face as FER-2013 cuts it: about square, from forehead to chin"
    splits = {"temperature": "validation", "temperature_mirrored": "validation_flip"}
    found = {name: run.predictions(split) for name, split in splits.items() if split in run.metrics}
    return {
        "name": name,
        "classes": list(run.classes),
        "input": {
            "shape": f"(batch, {', '.join(map(str, input_shape[1:]))})",
            "values": "grey, [0, 255]; the network scales them itself",
            "framing": framing if is_fer2013 else f"as in its training images, {source}",
        },
        **{name: getattr(run, name) for name in ("recipe", "run", "data")},
        "terms": TERMS if is_fer2013 else OTHER_TERMS.format(source=source),
        "metrics": {split: run.metrics[split] for split in run.metrics if run.final or split.startswith("validation")},
        **{name: round(fit_temperature(each.labels, each.probabilities), 4) for name, each in found.items()},
        "parameters": run.num_parameters,
        "multiply_adds": run.multiply_adds,
        "versions": run.versions,
        "intended_use": USE,
        "limits": LIMITS.format(labels=DISPUTED if is_fer2013 else ""),
    }
