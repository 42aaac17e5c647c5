"""The data room: readers, cache, audit, FER+ votes."""

from fer_keras.data.audit import Audit, audit, mean_faces
from fer_keras.data.class_folders import load_folder
from fer_keras.data.dataset import DataError, FaceDataset, concatenate
from fer_keras.data.ferplus import ferplus_targets, join_ferplus, soft_targets
from fer_keras.data.load import load_faces, load_fer4, load_fer7, load_ferplus
from fer_keras.data.other_sets import load_ckplus, load_rafdb

__all__ = ["Audit", "DataError", "FaceDataset", "audit", "concatenate", "ferplus_targets", "join_ferplus"]
__all__ += ["load_ckplus", "load_faces", "load_fer4", "load_fer7", "load_ferplus", "load_folder", "load_rafdb"]
__all__ += ["mean_faces", "soft_targets"]
