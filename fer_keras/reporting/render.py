"""Generated text between invisible marks: `<!-- generated: score mini-xception -->` … `<!-- end -->`.

The words after the colon are a block of `blocks.BLOCKS` and its arguments. Nobody types a number that came from a run
or from data; what stands between the marks is overwritten.
"""

import re

from fer_keras import paths
from fer_keras.reporting import blocks, notebook_files
from fer_keras.reporting.files import write_changed

DOCUMENTS = ("README.md", "reports/report.md", "docs/scale.md")
MARK = re.compile(r"(<!-- generated: ([^>]+?) -->)(.*?)(<!-- end -->)", re.DOTALL)
ENDS = re.compile(r"<!-- (?:generated: [^>]+|end) -->")
# Where a percentage may stand: generated text, code, tables (which carry their sources), links and comments.
EXEMPT = re.compile(
    r"<!-- generated: .*?<!-- end -->|^```.*?^```|`[^`\n]*`|^\s*\|.*?$|<!--.*?-->|\]\([^)]*\)", re.DOTALL | re.MULTILINE
)
PERCENTAGE = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)?\s?(?:%|percent\b|per cent\b)")
LEVEL_OF_INTERVALS = re.compile(r"95\s?%")


def documents():
    """Return the paths of the documents with generated text, as far as they exist."""
    return [path for path in (paths.project() / name for name in DOCUMENTS) if path.is_file()]


def refilled(text, folder):
    """Return a document with the text between its marks made anew.

    Args:
        text: str, the document.
        folder: its folder, which links start from.

    Raises:
        ValueError: on a mark that is not closed or that names no block.
    """
    ends = ["end" if mark == "<!-- end -->" else mark for mark in ENDS.findall(text)]
    for place, mark in enumerate(ends):
        if (mark == "end") != bool(place % 2):
            raise ValueError(
                f"Every `<!-- generated: … -->` needs an `<!-- end -->` after it. Received: {mark!r} alone."
            )
    if len(ends) % 2:
        raise ValueError(
            f"Every `<!-- generated: … -->` needs an `<!-- end -->` after it. Received: {ends[-1]!r} alone."
        )

    def fill(match):
        found = blocks.text(*match[2].split(), folder=folder)
        # Tables and pictures stand in paragraphs of their own, numbers inside their sentence.
        apart = "\n" in found or found.startswith(("|", "!["))
        return f"{match[1]}\n\n{found}\n\n{match[4]}" if apart else f"{match[1]}{found}{match[4]}"

    return MARK.sub(fill, text)


def refill():
    """Make all generated text anew; return the documents that changed."""
    changed = []
    for path in documents():
        if write_changed(path, refilled(path.read_text(encoding="utf-8"), path.parent)):
            changed.append(path)
    return changed


def stale():
    """Return what is wrong with README, the report and the notebooks' prose, a message each."""
    problems = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        try:
            if refilled(text, path.parent) != text:
                problems.append(f"{path.name}: generated text is not today's: run `make report`")
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
        problems += [f"{path.name}:{line}: {found}" for line, found in typed_percentages(text)]
    for path in notebook_files.all_notebooks():
        for cell in notebook_files.cells(notebook_files.read(path), "markdown"):
            problems += [f"{path.name}: {found}" for _, found in typed_percentages(notebook_files.source(cell))]
    return problems


def typed_percentages(text):
    """Return `(line, message)` for each percentage that is typed in prose instead of generated.

    Published numbers may stand in tables, with their source; the 95 % of an interval is no result.

    Example:

    >>> typed_percentages("It reaches 65.1 % (95 % interval).")
    [(1, "a percentage is typed, '65.1 %': let `<!-- generated: … -->` write it")]
    """
    prose = EXEMPT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return [
        (
            prose.count("\n", 0, match.start()) + 1,
            f"a percentage is typed, {match[0]!r}: let `<!-- generated: … -->` write it",
        )
        for match in PERCENTAGE.finditer(prose)
        if not LEVEL_OF_INTERVALS.fullmatch(match[0])
    ]
