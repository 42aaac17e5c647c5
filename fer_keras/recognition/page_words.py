"""What the page says, as HTML: the faces with all their probabilities, what went wrong, the small print."""

import html
import re

from fer_keras.recognition.annotate import colour
from fer_keras.recognition.recognizer import UNCERTAIN

HEADING = (
    "<h1>Facial expressions</h1>"
    "<p>Give a picture, or take one with the camera. It stays on the machine that runs this page, and is deleted.</p>"
)
ASK = "Click a face, or choose its number: where does the network look?"
NOT_A_FEELING = "A face is not a feeling."
STYLE = """
#told .faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
#told .face { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .8rem 1rem; }
#told h2 { font-size: 1.05rem; margin: 0 0 .4rem; }
#told .swatch { display: inline-block; width: .8em; height: .8em; margin-right: .45em; border: 1px solid #888; }
#told table { width: 100%; border: 0; border-collapse: collapse; margin: 0; }
#told tr, #told th, #told td { border: 0; padding: .12rem 0; background: none; font-weight: normal; text-align: left; }
#told th { width: 5.2rem; }
#told td.share { width: 3.4rem; text-align: right; font-variant-numeric: tabular-nums; }
#told .bar { border: 1px solid var(--border-color-primary); height: .8rem; border-radius: 2px; overflow: hidden; }
#told .bar div { height: 100%; }
#told .note { margin: .4rem 0 0; font-size: .85rem; }
.problem { border-left: 4px solid #D55E00; padding: .4rem .8rem; }
#small-print p { margin: .3rem 0; font-size: .8rem; }
"""


def faces(found, recognizer):
    """Return what is said of the faces of a picture; of no picture, nothing.

    Args:
        found: what is `page.Shown`, or None.
        recognizer: the `Recognizer`.
    """
    if found is None:
        return ""
    if not found.faces:
        return "<p class='none'>No face found.</p>"
    parts = [face(number, each, recognizer.min_confidence) for number, each in enumerate(found.faces, start=1)]
    return f"<div class='faces'>{''.join(parts)}</div>"


def face(number, found, min_confidence):
    """Return what is said of one face: its number, emotion and confidence, and a bar for each class."""
    known = found.emotion != UNCERTAIN
    confidence = f", {found.confidence:.0%}" if known else ""
    likeliest = max(found.probabilities, key=found.probabilities.get)
    note = (
        ""
        if known
        else f"<p class='note'>No class reaches {min_confidence:.0%}; the likeliest is {tidy(likeliest)}.</p>"
    )
    return (
        f"<section class='face'><h2><span class='swatch' style='background: {colour(found.emotion)}'></span>"
        f"Face {number}: {tidy(found.emotion)}{confidence}</h2>"
        f"<table>{''.join(bar(*pair) for pair in found.probabilities.items())}</table>{note}</section>"
    )


def bar(name, share):
    """Return the row of a class: its name, a bar as long as its probability, and that in words."""
    length = f"width: {share:.1%}; background: {colour(name)}"
    return (
        f"<tr><th scope='row'>{tidy(name)}</th><td><div class='bar'><div style='{length}'></div></div></td>"
        f"<td class='share'>{share:.1%}</td></tr>"
    )


def problem(error):
    """Return what is said where a picture could not be read; of a file, not where it lies."""
    gone = isinstance(error, OSError)
    said = "It is gone: give it again." if gone else re.sub("cannot identify .*", "another kind of file.", str(error))
    return f"<p class='problem'>This picture cannot be read. {tidy(said)}</p>"


def explained(index, found):
    """Return what is said below an explained face."""
    likeliest = max(found.probabilities, key=found.probabilities.get)
    return (
        f"<p>Face {index + 1}: the brighter a place, the more it speaks for “{tidy(likeliest)}” (Grad-CAM). "
        "The map is coarse: read it as a region, not as a feature.</p>"
    )


def unexplained(error):
    """Return what is said where a face could not be explained."""
    if isinstance(error, ImportError):
        return (
            "<p class='problem'>To show where the network looks, Keras and a backend must be installed: "
            f"pip install 'fer_keras[tensorflow]'. ({tidy(error)})</p>"
        )
    return f"<p class='problem'>This network cannot be explained here. {tidy(error)}</p>"


def small_print(recognizer):
    """Return what one must know of the network before one believes it, from its card."""
    network, card = recognizer.network, recognizer.network.card
    uncertain = f"Below {recognizer.min_confidence:.0%}, a face is called uncertain."
    sentences = [NOT_A_FEELING, str(card.get("limits", "")), uncertain]
    facts = f"Network {network.name}; {accuracy(card)}; temperature {network.temperature:g}."
    return f"<p>{tidy(' '.join(filter(None, sentences)))}</p><p>{tidy(facts)}</p>"


def accuracy(card):
    """Return how often a network is right on its test split, in words."""
    scores = card.get("metrics", {}).get("test")
    if not scores:
        return "its accuracy on a test split is not recorded"
    return (
        f"right on {scores['accuracy']:.1%} of {scores['num_images']:,} test faces of "
        f"{card.get('data', {}).get('source', 'its data')} "
        f"(95% interval {scores['accuracy_low']:.1%} to {scores['accuracy_high']:.1%})"
    )


def tidy(words):
    """Return words as HTML."""
    return html.escape(str(words))
