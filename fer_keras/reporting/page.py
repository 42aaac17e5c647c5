"""The report as one HTML file that needs nothing beside it."""

import base64
import html
import re

from fer_keras import paths
from fer_keras.reporting.files import write_changed

STYLE = """
body { max-width: 54rem; margin: 2.5rem auto; padding: 0 1.2rem; color: #222; background: #fff;
       font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1, h2, h3 { line-height: 1.25; margin: 2em 0 .6em; }
h1 { margin-top: 0; }
img { max-width: 100%; height: auto; display: block; margin: 1em auto; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .86em; margin: 1em 0; }
th, td { padding: .35em .7em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
code, pre { background: #f4f4f4; border-radius: 4px; font-size: .9em; }
code { padding: .1em .3em; }
pre { padding: .8em; overflow-x: auto; }
a { color: #0072b2; }
blockquote { border-left: 3px solid #ccc; margin-left: 0; padding-left: 1em; color: #555; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
IMAGE = re.compile(r'(<img [^>]*?src=")([^"]+)(")')


def write_page():
    """Write `reports/report.html` from `reports/report.md`, figures inside; return its path.

    Raises:
        ValueError: if the report is not there, or shows a figure that is not.
    """
    path = paths.project() / "reports" / "report.md"
    if not path.is_file():
        raise ValueError(f"Expected the report at {path}. Received: no such file.")
    target = path.with_suffix(".html")
    write_changed(target, page(path.read_text(encoding="utf-8"), path.parent))
    return target


def page(text, folder):
    """Return a Markdown document as one HTML page with its pictures inside.

    Args:
        text: str, Markdown.
        folder: `Path` that the pictures' paths start from.
    """
    from markdown import markdown

    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    title = re.search(r"^#\s+(.+)$", text, re.MULTILINE)
    body = markdown(text, extensions=["tables", "fenced_code", "toc", "sane_lists"], output_format="html")
    body = IMAGE.sub(lambda match: match[1] + embedded(match[2], folder) + match[3], body)
    return PAGE.format(title=html.escape(title[1] if title else "Report"), style=STYLE, body=body)


def embedded(source, folder):
    """Return a picture as a data URL; one that already is or lies on the web is left as it is."""
    if source.startswith(("data:", "http://", "https://")):
        return source
    path = folder / source
    if not path.is_file():
        raise ValueError(f"The report shows {source!r}, which is not there. Expected: a figure at {path}.")
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
