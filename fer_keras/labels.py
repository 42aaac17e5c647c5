"""Class names, their order and their colours: the one place that knows them.

FER-2013 numbers its classes in the order of `FER7`, which is not alphabetical; a directory reader's order is.
Every reader of this package remaps to the order given here.
"""

FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER6 = FER7[:6]
FER4 = ("happy", "sad", "surprise", "neutral")
FERPLUS8 = (*FER7, "contempt")

SPLITS = ("train", "validation", "test")
USAGE_TO_SPLIT = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}

# The ten columns of FER+ (Barsoum et al., 2016), in the order of its file. "NF" is "not a face".
FERPLUS_VOTES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
FERPLUS_TO_CLASS = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "contempt",
}

# Colour-blind safe (Okabe and Ito, 2008).
COLOURS = {
    "angry": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happy": "#E69F00",
    "sad": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#595959",
    "contempt": "#F0E442",
}
