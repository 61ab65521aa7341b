"""Patches, whole images, folder layouts and DIV2K in tensorflow-datasets' own files."""

from __future__ import annotations

import itertools

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from keras_nas.data.bicubic import imresize
from keras_nas.data.image_pairs import find_pair_files, make_pair
from keras_nas.data.images import list_images, read_image
from keras_nas.data.super_resolution import (
    PatchConfig,
    div2k_pairs,
    folder_pairs,
    orient,
    training_patches,
    whole_images,
)
from keras_nas.errors import KerasNasError


def random_image(height, width, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.asarray(
        PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
    )


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
    return path


@pytest.fixture(scope="module")
def pairs():
    shapes = [(40, 56), (64, 48), (33, 70)]
    return [make_pair(f"p{i}", random_image(*shape, i), 2) for i, shape in enumerate(shapes)]


CONFIG = PatchConfig(patch_size=24, batch_size=5, steps_per_epoch=4, seed=3)


def batches(dataset):
    return [(low.numpy(), high.numpy()) for low, high in dataset]


def places(image, patch):
    """Where `patch` is found in `image`, in any of the 8 orientations."""
    size = patch.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
    windows = np.moveaxis(windows, 2, -1)
    return {
        (row, column, orientation)
        for orientation in range(8)
        for row, column in np.argwhere(
            (windows == orient(patch, orientation)).all(axis=(2, 3, 4))
        ).tolist()
    }


def test_patches_are_the_same_places_of_both_images(pairs):
    seen = set()
    for low, high in batches(training_patches(pairs, CONFIG).epoch(0)):
        assert low.shape == (5, 12, 12, 3)
        assert high.shape == (5, 24, 24, 3)
        for low_patch, high_patch in zip(low * 255, high * 255, strict=True):
            for index, pair in enumerate(pairs):
                in_low = places(pair.low, np.round(low_patch).astype(np.uint8))
                in_high = places(pair.high, np.round(high_patch).astype(np.uint8))
                both = {(2 * r, 2 * c, o) for r, c, o in in_low} & in_high
                if in_high:
                    assert both == in_high
                    seen.add((index, next(iter(both))[2]))
    assert {index for index, _ in seen} == {0, 1, 2}
    assert len({orientation for _, orientation in seen}) >= 5


def test_epoch_is_a_function_of_the_seed_and_its_number(pairs):
    first = batches(training_patches(pairs, CONFIG).epoch(2))
    again = batches(training_patches(pairs, CONFIG).epoch(2))
    np.testing.assert_equal(first, again)
    other_epoch = batches(training_patches(pairs, CONFIG).epoch(3))
    other_seed = batches(training_patches(pairs, PatchConfig(24, 5, 4, seed=4)).epoch(2))
    for other in (other_epoch, other_seed):
        assert any((a[1] != b[1]).any() for a, b in zip(first, other, strict=True))
    assert any((a[1] != b[1]).any() for a, b in itertools.pairwise(first))


def test_epoch_may_start_in_its_middle(pairs):
    data = training_patches(pairs, CONFIG)
    np.testing.assert_equal(batches(data.epoch(1, start=3)), batches(data.epoch(1))[3:])
    assert data.steps_per_epoch == 4
    assert int(data.epoch(0).cardinality()) == 4


def test_plain_iteration_brings_new_patches_in_each_pass(pairs):
    data = training_patches(pairs, CONFIG)
    passes = [batches(data) for _ in range(2)]
    assert [len(steps) for steps in passes] == [4, 4]
    assert (passes[0][0][1] != passes[1][0][1]).any()
    assert data.element_spec == data.epoch(0).element_spec


def test_patches_without_augmentation_are_upright(pairs):
    config = PatchConfig(patch_size=24, batch_size=8, steps_per_epoch=1, augment=False)
    for _, high in batches(training_patches(pairs, config).epoch(0)):
        for patch in np.round(high * 255).astype(np.uint8):
            assert any(o == 0 for pair in pairs for _, _, o in places(pair.high, patch))


def test_low_patch_is_the_high_patch_made_smaller(pairs):
    config = PatchConfig(patch_size=24, batch_size=16, steps_per_epoch=1, augment=False)
    low, high = (
        np.round(255 * x).astype(np.uint8)
        for x in batches(training_patches(pairs, config).epoch(0))[0]
    )
    for low_patch, high_patch in zip(low, high, strict=True):
        inside = slice(2, -2)  # the kernel looks 3.5 high-resolution pixels past the border
        made = imresize(high_patch, 0.5)
        np.testing.assert_array_equal(made[inside, inside], low_patch[inside, inside])


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_values_are_in_the_models_range(pairs, value_range):
    config = PatchConfig(24, 8, 1, value_range=value_range)
    low, high = batches(training_patches(pairs, config).epoch(0))[0]
    assert low.dtype == high.dtype == np.float32
    assert 0 <= high.min() < 0.2 * value_range
    assert 0.8 * value_range < high.max() <= value_range
    _, whole = batches(whole_images(pairs, value_range))[0]
    np.testing.assert_allclose(whole[0] * (255 / value_range), pairs[0].high, atol=1e-4)


def test_patches_under_a_strategy(pairs):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = strategy.experimental_distribute_dataset(training_patches(pairs, CONFIG).epoch(0))
    plain = batches(training_patches(pairs, CONFIG).epoch(0))
    for step, expected in zip(dataset, plain, strict=True):
        np.testing.assert_equal(tuple(tensor.numpy() for tensor in step), expected)


def test_orientations_are_the_eight_symmetries_of_the_square():
    square = np.arange(9).reshape(3, 3, 1)
    seen = {orient(square, orientation).tobytes() for orientation in range(8)}
    assert len(seen) == 8
    np.testing.assert_array_equal(orient(square, 0), square)
    np.testing.assert_array_equal(orient(square, 4), square[:, ::-1])


def test_whole_images_come_in_order_and_whole(pairs):
    images = batches(whole_images(pairs))
    assert [high.shape[1:3] for _, high in images] == [(40, 56), (64, 48), (32, 70)]
    assert [low.shape[1:3] for low, _ in images] == [(20, 28), (32, 24), (16, 35)]
    assert int(whole_images(pairs).cardinality()) == 3


def test_cropped_images_are_the_centres_of_both(pairs):
    low, high = batches(whole_images(pairs, 255.0, crop=32))[2]
    np.testing.assert_allclose(high[0], pairs[2].high[:, 18:50], atol=1e-4)
    np.testing.assert_allclose(low[0], pairs[2].low[:, 9:25], atol=1e-4)
    with pytest.raises(KerasNasError, match="`crop` must be a multiple of the scale 2"):
        whole_images(pairs, crop=31)


def test_folder_of_images_of_every_kind(tmp_path):
    image = random_image(21, 30)
    save(tmp_path / "b.png", image)
    save(tmp_path / "a.JPG", image)
    save(tmp_path / "grey.bmp", image[..., 0])
    save(tmp_path / "clear.png", np.dstack([image, image[..., 0]]))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    read = folder_pairs(tmp_path, scale=2)
    assert [pair.name for pair in read] == ["a", "b", "clear", "grey"]
    for pair in read:
        assert pair.high.shape == (20, 30, 3)
        np.testing.assert_array_equal(pair.low, imresize(pair.high, 0.5))
    np.testing.assert_array_equal(read[1].high, image[:20])
    np.testing.assert_array_equal(read[2].high, image[:20])
    np.testing.assert_array_equal(read[3].high, np.repeat(image[:20, :, :1], 3, axis=-1))


def test_photographs_are_made_smaller_first(tmp_path):
    image = random_image(43, 61)
    save(tmp_path / "a.png", image)
    (pair,) = folder_pairs(tmp_path, scale=2, shrink=2)
    expected = imresize(image[:42, :60], 0.5)[:20, :30]
    np.testing.assert_array_equal(pair.high, expected)
    np.testing.assert_array_equal(pair.low, imresize(expected, 0.5))


@pytest.mark.parametrize(
    ("high", "low", "folder"),
    [
        ("Set5/HR/baby.png", "Set5/LR_bicubic/X2/babyx2.png", "Set5"),
        ("Urban100/image_SRF_2/baby_SRF_2_HR.png", "Urban100/image_SRF_2/baby_SRF_2_LR.png",
         "Urban100"),
        ("DIV2K_valid_HR/baby.png", "DIV2K_valid_LR_bicubic/X2/babyx2.png", "DIV2K_valid_HR"),
    ],
)  # fmt: skip
def test_layouts_of_the_benchmarks(tmp_path, high, low, folder):
    image = random_image(31, 40)
    given = np.full((15, 20, 3), 7, np.uint8)
    save(tmp_path / high, image)
    save(tmp_path / low, given)
    (pair,) = folder_pairs(tmp_path / folder, scale=2)
    assert pair.name.startswith("baby")
    np.testing.assert_array_equal(pair.high, image[:30])
    np.testing.assert_array_equal(pair.low, given)


def test_benchmark_without_low_resolution_gets_bicubic(tmp_path):
    save(tmp_path / "Set14" / "HR" / "zebra.png", random_image(30, 40))
    (pair,) = folder_pairs(tmp_path / "Set14", scale=2)
    np.testing.assert_array_equal(pair.low, imresize(random_image(30, 40), 0.5))


def test_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(KerasNasError, match=r"No folder of images at .*nowhere"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(KerasNasError, match=f"No image in `{tmp_path}`"):
        folder_pairs(tmp_path)


def test_damaged_images_are_named(tmp_path):
    whole = save(tmp_path / "whole.png", random_image(64, 64)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("this is no image")
    for name in ("cut.png", "text.jpg"):
        with pytest.raises(KerasNasError, match=rf"Image `.*{name}` cannot be read"):
            read_image(tmp_path / name)
    with pytest.raises(KerasNasError, match=r"cut\.png"):
        folder_pairs(tmp_path)


def test_image_of_sixteen_bits_is_refused_by_name(tmp_path):
    save(tmp_path / "deep.png", np.full((8, 8), 40000, np.uint16))
    with pytest.raises(KerasNasError, match=r"deep\.png` must have 8 bits a channel"):
        read_image(tmp_path / "deep.png")


def test_missing_low_resolution_image_is_named(tmp_path):
    save(tmp_path / "HR" / "a.png", random_image(20, 20))
    save(tmp_path / "HR" / "b.png", random_image(20, 20))
    save(tmp_path / "LR_bicubic" / "X2" / "ax2.png", random_image(10, 10))
    with pytest.raises(KerasNasError, match=r"b\.png` has no low-resolution one.*`bx2`"):
        find_pair_files(tmp_path, 2)


def test_low_resolution_image_of_another_size_is_named():
    with pytest.raises(KerasNasError, match="of `x` must be 2 times smaller"):
        make_pair("x", random_image(20, 20), 2, random_image(9, 10))
    with pytest.raises(KerasNasError, match="`shrink` must be 1"):
        make_pair("x", random_image(20, 20), 2, random_image(10, 10), shrink=2)


def test_too_small_images_are_named(tmp_path):
    save(tmp_path / "tiny.png", np.zeros((1, 30, 3), np.uint8))
    with pytest.raises(KerasNasError, match="Image `tiny` must have 2 pixels or more a side"):
        folder_pairs(tmp_path)
    small = [make_pair("small", random_image(40, 95), 2)]
    with pytest.raises(KerasNasError, match=r"`small` must have 96 pixels or more a side.*94×40"):
        training_patches(small)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 0}, "`patch_size` must be 1 or more"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be 1 or more"),
        ({"value_range": 2.0}, "`value_range` must be 1 or 255"),
        ({"seed": -1}, "`seed` must be 0 or more"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(KerasNasError, match=message):
        PatchConfig(**options)


def test_patch_size_must_fit_the_scale(pairs):
    with pytest.raises(KerasNasError, match="`patch_size` must be a multiple of the scale 2"):
        training_patches(pairs, PatchConfig(patch_size=25))


def test_images_of_two_scales_or_none_are_refused(pairs):
    other = make_pair("other", random_image(36, 36), 3)
    with pytest.raises(KerasNasError, match=r"4 images of scales \[2, 3\]"):
        training_patches([*pairs, other], CONFIG)
    with pytest.raises(KerasNasError, match="0 images"):
        whole_images([])


def test_images_decoded_on_disk_equal_those_in_memory(tmp_path):
    for seed in range(2):
        save(tmp_path / "images" / f"{seed}.png", random_image(40, 50, seed))
    plain = folder_pairs(tmp_path / "images")
    cache = tmp_path / "cache"
    for _ in range(2):
        cached = folder_pairs(tmp_path / "images", cache_dir=cache)
        assert all(isinstance(pair.high, np.memmap) for pair in cached)
        for a, b in zip(plain, cached, strict=True):
            assert a.name == b.name
            np.testing.assert_array_equal(a.low, b.low)
            np.testing.assert_array_equal(a.high, b.high)
    expected = batches(training_patches(plain, CONFIG).epoch(0))
    np.testing.assert_equal(batches(training_patches(cached, CONFIG).epoch(0)), expected)


def test_cache_is_used_again_and_made_anew_when_an_image_changes(tmp_path):
    path = save(tmp_path / "images" / "a.png", random_image(40, 50))
    cache = tmp_path / "cache"
    folder_pairs(path.parent, cache_dir=cache)
    written = (cache / "index.json").stat().st_mtime_ns
    folder_pairs(path.parent, cache_dir=cache)
    assert (cache / "index.json").stat().st_mtime_ns == written
    save(path, random_image(40, 50, seed=9))
    (pair,) = folder_pairs(path.parent, cache_dir=cache)
    np.testing.assert_array_equal(pair.high, random_image(40, 50, seed=9))


def test_failed_cache_leaves_the_one_before_and_foreign_folders_alone(tmp_path):
    path = save(tmp_path / "images" / "a.png", random_image(40, 50))
    cache = tmp_path / "cache"
    folder_pairs(path.parent, cache_dir=cache)
    before = {file.name: file.read_bytes() for file in cache.iterdir()}
    (path.parent / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(KerasNasError, match="broken"):
        folder_pairs(path.parent, cache_dir=cache)
    assert {file.name: file.read_bytes() for file in cache.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    (path.parent / "broken.png").unlink()
    with pytest.raises(FileExistsError, match="no image cache"):
        folder_pairs(path.parent, cache_dir=path.parent)
    assert path.exists()


@pytest.fixture(scope="module")
def div2k(tmp_path_factory):
    """DIV2K ×2 as tensorflow-datasets stores it, of four small images."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    def examples(seeds, odd=0):
        for key, seed in enumerate(seeds):
            high = random_image(48 + odd, 64, seed)
            yield key, {"hr": high, "lr": imresize(high[:48], 0.5)}

    builder = tfds.builder("div2k/bicubic_x2", data_dir=folder)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="div2k",
        config="bicubic_x2",
        version=str(builder.version),
        features=builder.info.features,
        split_datasets={"train": examples(range(3)), "validation": examples([3], odd=1)},
        data_dir=folder,
        disable_shuffling=True,
    )
    return folder


def test_div2k_through_tensorflow_datasets(div2k):
    train = div2k_pairs("train", 2, div2k)
    assert [pair.name for pair in train] == ["train/0000", "train/0001", "train/0002"]
    for seed, pair in enumerate(train):
        np.testing.assert_array_equal(pair.high, random_image(48, 64, seed))
        np.testing.assert_array_equal(pair.low, imresize(pair.high, 0.5))
    (validation,) = div2k_pairs("validation", 2, div2k)
    assert validation.high.shape == (48, 64, 3)
    assert len(div2k_pairs("train[:2]", 2, div2k)) == 2
    low, high = next(iter(training_patches(train, CONFIG).epoch(0)))
    assert low.shape == (5, 12, 12, 3)
    assert high.shape == (5, 24, 24, 3)


def test_div2k_decoded_on_disk(div2k, tmp_path):
    cached = div2k_pairs("train", 2, div2k, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(cached[1].high, random_image(48, 64, 1))


def test_div2k_that_is_missing_says_how_to_get_it(div2k, tmp_path):
    with pytest.raises(KerasNasError, match=r"div2k/bicubic_x2.* is not prepared"):
        div2k_pairs("train", 2, tmp_path)
    with pytest.raises(KerasNasError, match=r"`split` must be one of \['train', 'validation'\]"):
        div2k_pairs("test", 2, div2k)
    with pytest.raises(KerasNasError, match="`scale` must be 2, 3 or 4 for DIV2K"):
        div2k_pairs("train", 5, div2k)
