"""For the documentation's site: doctests below `Example:` become the indented section that mkdocstrings knows."""

import re
import textwrap
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:\n\n(.*)\Z", re.DOTALL | re.MULTILINE)


class Examples(griffe.Extension):
    """Indent the examples of every docstring below a heading `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            text = EXAMPLE.sub(lambda match: "Examples:\n" + textwrap.indent(match[1], "    "), obj.docstring.value)
            obj.docstring.value = text
