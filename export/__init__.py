"""From any Keras model to a measured .tflite; knows nothing of the search."""
