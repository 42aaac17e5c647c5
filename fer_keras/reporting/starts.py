"""What the study of transfer found: starting points, frozen or trained, on ever fewer training images."""

from fer_keras.evaluation import difference
from fer_keras.reporting.sentences import MISSING, table, with_interval
from fer_keras.results.runs import find_table

TABLE = "search-transfer"
RANDOM = "random values"
# What a body was trained on, by the recipe that trained it.
STARTS = {
    "fer-small@short": "seven classes",
    "fer-small@votes": "votes of FER+",
    "fer-small@three": "three other classes",
}
HOW = {False: "trained", True: "frozen"}


def lines():
    """Return the recorded study as `{(start, how): {training images: scores}}`, or None if there is none.

    Most images come first, and so does the start from random values, all of it trained: the others are held against it.
    """
    study = find_table(TABLE)
    if study is None:
        return None
    found = {}
    for row in study.sort_values("train_images", ascending=False).to_dict("records"):
        key = STARTS.get(row["start_recipe"], RANDOM), HOW[bool(row["frozen_body"])]
        found.setdefault(key, {})[int(row["train_images"])] = row
    order = [(start, how) for start in (RANDOM, *STARTS.values()) for how in HOW.values()]
    return {key: found[key] for key in order if key in found}


def transfer():
    """Return validation accuracy by starting point and number of training images, as a table."""
    return by_size(lambda scores, _: with_interval(scores))


def transfer_gains():
    """Return how many points each starting point gains on random values, all of it trained, as a table."""
    return by_size(lambda scores, reference: "-" if scores is reference else str(difference(reference, scores)))


def by_size(say):
    """Return a table with a row a starting point and a column a number of training images."""
    study = lines()
    if not study:
        return MISSING
    reference = study[RANDOM, "trained"]
    rows = [
        [start, how, *[say(scores[size], reference[size]) if size in scores else "-" for size in reference]]
        for (start, how), scores in study.items()
    ]
    return table(("body from", "body", *[f"{size:,} images" for size in reference]), rows)


def transfer_verdict(start, how):
    """Return in words with how many training images a starting point helps, and with how many it harms.

    Args:
        start: what the body was trained on, as in `STARTS`, with hyphens for spaces; or `"random-values"`.
        how: `"trained"` or `"frozen"`.

    Raises:
        ValueError: if there is no such starting point.
    """
    key, study = (start.replace("-", " "), how), lines()
    if study is None:
        return MISSING
    if key not in study:
        known = ", ".join(f"{name.replace(' ', '-')} {way}" for name, way in study)
        raise ValueError(f"The study has no {start!r}, {how!r}. Expected one of: {known}.")
    reference, found = study[RANDOM, "trained"], {"helps": [], "makes no difference": [], "harms": []}
    for size, scores in study[key].items():
        result = difference(reference[size], scores)
        verdict = "makes no difference" if result.no_difference else "helps" if result.difference > 0 else "harms"
        found[verdict].append(f"{size:,}")
    return "; ".join(f"{verdict} with {listed(sizes)} training images" for verdict, sizes in found.items() if sizes)


def listed(words):
    """Return words as a list in a sentence.

    Example:

    >>> listed(["1", "2", "3"])
    '1, 2 and 3'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


BLOCKS = {"transfer": transfer, "transfer-gains": transfer_gains, "transfer-verdict": transfer_verdict}
