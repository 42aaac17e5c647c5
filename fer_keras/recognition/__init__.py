"""From a picture to faces with their expressions: read, detect, crop, predict, draw; imported when it is used."""
