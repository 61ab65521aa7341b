"""Runs a .tflite in tflite-support's Task Library; a program of its own environment.

`python task_library_client.py classifier|segmenter MODEL PICTURE.npy …` prints JSON as
mediapipe_client.py does.
"""

import json
import sys

import numpy as np
from tflite_support.task import core, processor, vision


def classify(model, pictures):
    options = vision.ImageClassifierOptions(
        base_options=core.BaseOptions(file_name=model),
        classification_options=processor.ClassificationOptions(),
    )
    classifier = vision.ImageClassifier.create_from_options(options)
    for picture in pictures:
        (head,) = classifier.classify(picture).classifications
        yield [[category.category_name, category.score] for category in head.categories]


def segment(model, pictures):
    options = vision.ImageSegmenterOptions(
        base_options=core.BaseOptions(file_name=model),
        segmentation_options=processor.SegmentationOptions(
            output_type=processor.OutputType.CATEGORY_MASK
        ),
    )
    segmenter = vision.ImageSegmenter.create_from_options(options)
    for picture in pictures:
        (found,) = segmenter.segment(picture).segmentations
        mask = np.asarray(found.category_mask)
        yield {
            "labels": [label.category_name for label in found.colored_labels],
            "mask": mask.tolist(),
        }


def main(what, model, *paths):
    arrays = [np.load(path) for path in paths]  # TensorImage does not copy them
    pictures = [vision.TensorImage.create_from_array(array) for array in arrays]
    run = {"classifier": classify, "segmenter": segment}[what]
    print(json.dumps(list(run(model, pictures))))


if __name__ == "__main__":
    main(*sys.argv[1:])
