"""Runs a .tflite in MediaPipe Tasks; a program of its own environment, without TensorFlow.

`python mediapipe_client.py classifier|segmenter MODEL PICTURE.npy …` prints JSON, one item a
picture: the categories' names and scores in falling order, or the mask's labels and category mask.
"""

import json
import sys

import mediapipe
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision


def classify(model, pictures):
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=model))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for picture in pictures:
            (head,) = classifier.classify(picture).classifications
            yield [[category.category_name, category.score] for category in head.categories]


def segment(model, pictures):
    options = vision.ImageSegmenterOptions(
        base_options=tasks.BaseOptions(model_asset_path=model), output_category_mask=True
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        for picture in pictures:
            mask = segmenter.segment(picture).category_mask.numpy_view()
            yield {"labels": list(segmenter.labels), "mask": np.squeeze(mask).tolist()}


def main(what, model, *paths):
    arrays = [np.load(path) for path in paths]  # Image does not copy them
    pictures = [
        mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=array) for array in arrays
    ]
    run = {"classifier": classify, "segmenter": segment}[what]
    print(json.dumps(list(run(model, pictures))))


if __name__ == "__main__":
    main(*sys.argv[1:])
