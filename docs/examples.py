"""For the documentation's site: doctests below `Example:` become the section that mkdocstrings knows, and the comment
beside a field of a class what the site says of it."""

import itertools
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
        if obj.is_attribute and obj.parent.is_class and not obj.docstring and (comment := beside(obj)):
            # Outside of code, Markdown would take brackets for a link.
            comment = re.sub(r"(`[^`]*`)|\[", lambda found: found[1] or r"\[", comment)
            obj.docstring = griffe.Docstring(comment, lineno=obj.lineno, parent=obj)


def beside(field: griffe.Object) -> str:
    """The comment at the end of a field's line, or in the lines above it."""
    line, above = field.lines[-1], field.parent.lines[: field.lineno - field.parent.lineno]
    if "  # " in line:
        return line.partition("  # ")[2]
    found = itertools.takewhile(lambda each: each.lstrip().startswith("# "), reversed(above))
    return " ".join(each.strip().removeprefix("# ") for each in reversed(list(found)))
