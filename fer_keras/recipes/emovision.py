"""EmoVision's networks (A): seven classes at 48x48."""

from fer_keras.recipes.recipe import Recipe

SOURCE = "Chon, Han and Yoo, EmoVision"
# The text gives no optimiser: these are ours.
SEVEN = {
    "system": "A",
    "data": "fer7",
    "batch_size": 64,
    "epochs": 50,
    "reduce_factor": 0.5,
    "reduce_patience_epochs": 3,
    "stop_patience_epochs": 8,
    "final": True,
    "published_split": "test",
    "published_source": SOURCE,
}
HED = SEVEN | {
    "model": "vgg16",
    "model_options": (("output_layer", "block4_pool"),),
    "weights": "hed",
    "note": "VGG16's weights saw ImageNet, then edges (HED on BSDS500).",
}

RECIPES = (
    Recipe(name="emovision-baseline", title="EmoVision baseline", model="emovision-baseline", published=24.71, **SEVEN),
    Recipe(
        name="emovision-eyes",
        title="EmoVision, eyes and brows",
        model="emovision-baseline",
        model_options=(("crop", (8, 24, 4, 4)),),
        published=27.47,
        **SEVEN,
    ),
    Recipe(
        name="emovision-vgg-draft", title="EmoVision VGG, draft", model="emovision-vgg-draft", published=41.54, **SEVEN
    ),
    Recipe(name="emovision-vgg", title="EmoVision VGG", model="emovision-vgg", published=52.08, **SEVEN),
    Recipe(name="emovision-vgg@frozen", title="VGG16, frozen", model="vgg16", weights="imagenet", **SEVEN),
    Recipe(
        name="emovision-vgg@finetuned",
        title="VGG16, last block fine-tuned",
        model="vgg16",
        start_recipe="emovision-vgg@frozen",
        trainable_from="block5_conv1",
        learning_rate=1e-5,
        note="Named in the text, without a figure.",
        **SEVEN,
    ),
    Recipe(
        name="ferplus-vgg13",
        title="VGG13 on FER+",
        system="A",
        model="ferplus-vgg13",
        data="ferplus8",
        targets="votes",
        batch_size=32,
        epochs=100,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="cosine",
        monitor="val_accuracy",
        flip=True,
        rotation_degrees=20.0,
        shift_fraction=0.08,
        zoom=(0.95, 1.05),
        final=True,
        published=84.0,
        published_split="test of FER+, as EmoVision cites it",
        published_source="Barsoum, Zhang, Canton Ferrer and Zhang, 2016",
        note="EmoVision's reference. Prepared for accelerators. The schedule is ours.",
    ),
    Recipe(
        name="emovision-vgg@hed-frozen",
        title="VGG16 (HED) to block 4, frozen",
        **HED | {"final": False},
    ),
    Recipe(
        name="emovision-vgg@hed",
        title="VGG16 (HED) to block 4, block 4 fine-tuned",
        start_recipe="emovision-vgg@hed-frozen",
        trainable_from="block4_conv1",
        learning_rate=1e-5,
        flip=True,
        **HED | {"epochs": 12},
    ),
)
