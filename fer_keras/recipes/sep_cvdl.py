"""SEP-CVDL's networks (E): six classes of FER+, at 64x64 inside the network."""

from fer_keras.recipes.recipe import Recipe

# The report's own defaults; it trains on RAF-DB and CK+, which are given out on request only.
SIX = {
    "system": "E",
    "data": "ferplus6",
    "batch_size": 32,
    "epochs": 30,
    "stop_patience_epochs": 5,
    "flip": True,
    "final": True,
    "published_split": "test, RAF-DB",
    "published_source": "Jaschkowitz, Kawka, Mohammadi and Wang, SEP-CVDL",
    "note": "Trained on the six classes of FER+, in place of RAF-DB and CK+.",
}

RECIPES = (
    Recipe(name="sep-baseline", title="SEP baseline", model="sep-baseline", published=75.2, **SIX),
    Recipe(name="sep-se", title="SEP with squeeze-and-excitation", model="sep-se", published=79.9, **SIX),
    Recipe(name="sep-se-residual", title="SEP with residual blocks", model="sep-se-residual", published=78.9, **SIX),
    Recipe(name="resnet18", title="ResNet-18", model="resnet18", published=79.8, **SIX),
)
