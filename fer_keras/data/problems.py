"""What is done about bad data: the first fault is raised, or every fault is written down and its row left out."""

import sys

ON_ERROR = ("raise", "skip")


class DataError(ValueError):
    """Data that cannot be read as what it should be; the message names the file and, where there is one, the row."""


class Problems:
    """The faults met while reading one source.

    Args:
        on_error: `"raise"` raises a `DataError` at the first fault; `"skip"` collects them in `.messages`.

    Raises:
        ValueError: if `on_error` is anything else.

    Example:

    >>> problems = Problems("skip")
    >>> problems.add("fer2013.csv", "line 7", "Expected 2304 pixels. Received: 12.")
    >>> problems.messages
    ['fer2013.csv, line 7: Expected 2304 pixels. Received: 12.']
    """

    def __init__(self, on_error="raise"):
        if on_error not in ON_ERROR:
            raise ValueError(f"`on_error` must be one of {ON_ERROR}. Received: {on_error!r}.")
        self.on_error = on_error
        self.messages = []

    def add(self, file, where, message):
        """Raise or note one fault of `file`; `where` names the row (`"line 7"`), or is None for the file itself."""
        text = f"{file}, {where}: {message}" if where else f"{file}: {message}"
        if self.on_error == "raise":
            raise DataError(f"{text} Repair or remove it, or pass on_error='skip' to read the rest.")
        self.messages.append(text)

    def describe(self, source):
        """Return `source` with the number of skipped rows said, if there are any."""
        return f"{source}, {len(self.messages):,} skipped" if self.messages else source


def say(message):
    """Print to stderr, in a line, what a reader decided and its user should know."""
    print(f"fer_keras: {message}", file=sys.stderr)
