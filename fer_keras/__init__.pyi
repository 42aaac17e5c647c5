"""What `fer_keras` offers, for editors and type checkers: each name from the module that defines it."""

from fer_keras.data.audit import audit as audit
from fer_keras.data.class_folders import load_folder as load_folder
from fer_keras.data.dataset import FaceDataset as FaceDataset
from fer_keras.data.dataset import concatenate as concatenate
from fer_keras.data.load import load_faces as load_faces
from fer_keras.data.load import load_fer4 as load_fer4
from fer_keras.data.load import load_fer7 as load_fer7
from fer_keras.data.load import load_ferplus as load_ferplus
from fer_keras.data.other_sets import load_ckplus as load_ckplus
from fer_keras.data.other_sets import load_rafdb as load_rafdb
from fer_keras.data.synthetic_faces import make_faces as make_faces
from fer_keras.evaluation.explain import explain as explain
from fer_keras.models import MODELS as MODELS
from fer_keras.models import build as build
from fer_keras.models.transfer import fine_tune as fine_tune
from fer_keras.models.weights import Network as Network
from fer_keras.models.weights import load as load
from fer_keras.paths import profile as profile
from fer_keras.paths import reduce as reduce
from fer_keras.recipes import RECIPES as RECIPES
from fer_keras.recipes import find_recipe as find_recipe
from fer_keras.recognition.annotate import annotate as annotate
from fer_keras.recognition.export import export as export
from fer_keras.recognition.folders import recognize_folder as recognize_folder
from fer_keras.recognition.ray_folders import recognize_on_ray as recognize_on_ray
from fer_keras.recognition.recognizer import Face as Face
from fer_keras.recognition.recognizer import Recognizer as Recognizer
from fer_keras.recognition.recognizer import recognize as recognize
from fer_keras.recognition.video import recognize_video as recognize_video
from fer_keras.training.scoring import evaluate as evaluate
from fer_keras.training.scoring import load_network as load_network
from fer_keras.training.trainer import fit as fit

__version__: str
__all__: list[str]
