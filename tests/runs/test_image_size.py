"""Which size of pictures suits a network."""

import pytest

from keras_nas.runs.preflight import image_size_for


@pytest.mark.parametrize(
    ("shape", "task", "size"),
    [
        ((None, 32, 32, 3), "classification", 32),
        ((None, 48, 64, 3), "classification", 0),  # squares are all that image_size makes there
        ((None, 48, 64, 3), "segmentation", 64),
        ((None, None, None, 3), "segmentation", 0),
        ((None, 640), "classification", 0),
    ],
)
def test_the_image_size_that_gives_a_shape(shape, task, size):
    assert image_size_for(shape, task) == size
