"""What follows from the recorded tables of the data: where images come from, what forms hold, what voters say."""

import html

from fer_keras.data.forms import FORMS
from fer_keras.data.published import COUNTS
from fer_keras.labels import SPLITS, USAGE_TO_SPLIT
from fer_keras.reporting.sentences import MISSING, percent, table
from fer_keras.results.runs import find_table


def origin():
    """Return from which official split the images of each split of the course set come, as a table."""
    course = find_table("course")
    if course is None:
        return MISSING
    found = course["official_split"]
    lines = [
        [f"course {split}", *[f"{found[split][other]:,}" for other in SPLITS], f"{sum(found[split].values()):,}"]
        for split in SPLITS
    ]
    return table(("", *[f"official {usage}" for usage in USAGE_TO_SPLIT], "images"), lines)


def forms():
    """Return what the splits of each published form of FER-2013 really hold, as a table."""
    found, lines = find_table("forms"), []
    if found is None:
        return MISSING
    for form in FORMS:
        if form.name in found:
            holds = [usages(found[form.name][split]) for split in SPLITS]
        elif form.protocol in COUNTS and form.protocol != "official":
            totals = [sum(row) for row in COUNTS[form.protocol]]
            holds = [f"{total:,} of any Usage" if total else "-" for total in totals]
        else:
            continue
        layout = html.escape(form.layout, quote=False).replace("|", r"\|")
        lines.append([layout, f"`{form.protocol}`", *holds])
    return table(("what lies at the path", "protocol", *(f"its {split}" for split in SPLITS)), lines)


def usages(counts):
    """Return in words how many images of each official split there are."""
    words = [f"{counts[split]:,} {usage}" for usage, split in USAGE_TO_SPLIT.items() if counts[split]]
    return ", ".join(words) or "-"


def images(split="all"):
    """Return how many images FER-2013 has, in a split or in all."""
    found = find_table("audit")
    if found is None:
        return MISSING
    counts = found["counts"]
    return f"{sum(sum(counts[name].values()) for name in (SPLITS if split == 'all' else (split,))):,}"


def agreed(split="test"):
    """Return the classes whose labels FER+'s voters share most and least."""
    found = find_table("audit")
    if found is None:
        return MISSING
    shares = {name: share for name, share in found["agreement"][split].items() if name != "all"}
    order = sorted(shares, key=shares.get)
    return (
        f"most on {order[-1]} ({percent(shares[order[-1]], 0)}), least on {order[0]} ({percent(shares[order[0]], 0)})"
    )


BLOCKS = {"origin": origin, "forms": forms, "images": images, "agreed": agreed}
