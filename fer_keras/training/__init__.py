"""Training: recipes to recorded runs."""

from fer_keras.training.trainer import fit, load_network

__all__ = ["fit", "load_network"]
