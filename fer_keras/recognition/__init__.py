"""From a picture to named faces: read, detect, crop, name, draw. Nothing is imported until it is used."""
