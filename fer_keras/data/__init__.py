"""The data room: readers, cache, audit, FER+ votes."""

from fer_keras.data.audit import Audit, audit, mean_faces
from fer_keras.data.ck_plus import load_ckplus
from fer_keras.data.class_folders import load_folder
from fer_keras.data.dataset import DataError, FaceDataset, concatenate
from fer_keras.data.ferplus import join_ferplus
from fer_keras.data.raf_db import load_rafdb
from fer_keras.data.readers import load_faces, load_fer4, load_fer7, load_ferplus
from fer_keras.data.votes import ferplus_targets, soft_targets

__all__ = [
    "Audit",
    "DataError",
    "FaceDataset",
    "audit",
    "concatenate",
    "ferplus_targets",
    "join_ferplus",
    "load_ckplus",
    "load_faces",
    "load_fer4",
    "load_fer7",
    "load_ferplus",
    "load_folder",
    "load_rafdb",
    "mean_faces",
    "soft_targets",
]
