"""The contest's networks: those that others trained, and those of other tasks."""

from __future__ import annotations

import types

import keras
import numpy as np
import PIL.Image
import pytest

import keras_nas as kn
from benchmarks.rivals.contest import Cell, Contest, Start, play
from benchmarks.rivals.entrants import ENTRANTS
from benchmarks.rivals.networks import NETWORKS
from benchmarks.rivals.scores import of_any_size
from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate

FEW = {"train_examples": 32, "batch_size": 16, "weights_epochs": 1, "epochs": 1}


def save_noise(folder, count, size, seed=0):
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 256, (*size, 3)).astype("uint8")
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def trained_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(8, 3, padding="same", kernel_regularizer="l2", name="conv"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.save(tmp_path / "trained.keras")
    return tmp_path / "trained.keras"


@pytest.fixture
def contest_of_file(tmp_path, trained_file):
    for number, name in enumerate(("cat", "dog")):
        save_noise(tmp_path / "photos" / "train" / name, 20, (8, 8), number)
        save_noise(tmp_path / "photos" / "test" / name, 4, (8, 8), 2 + number)
    return Contest(
        tmp_path / "contest", data="class_folders", data_dir=str(tmp_path / "photos"),
        model_file=str(trained_file), **FEW,
    )  # fmt: skip


def test_a_trained_file_starts_as_it_was_on_the_pixels_it_knows(contest_of_file, trained_file):
    start = Start(contest_of_file, "mlperf_resnet8", 0)
    images, _ = next(iter(start.data.test))
    pixels = start.data.normalization.undo(images.numpy()).astype("float32")
    full = start.fresh()
    np.testing.assert_allclose(
        full(images), kn.load_model(trained_file)(pixels), rtol=1e-4, atol=1e-5
    )
    assert full.losses == []
    assert not start.task.from_logits


def test_a_trained_file_is_finetuned_and_halved(contest_of_file, trained_file):
    row = play(contest_of_file, Cell("mlperf_resnet8", "l1", 0.5, 0), ENTRANTS["l1"])
    assert row["fair"]
    assert 0 <= row["top1"] <= 1
    before, after = (
        kn.load_model(path).get_layer("conv").get_weights()[0]
        for path in (trained_file, *(contest_of_file.folder / "trained").iterdir())
    )
    assert 0 < np.abs(after - before).max() < 0.1


def test_a_trained_file_must_be_given_and_fit(contest_of_file, tmp_path):
    def of_file(path):
        changed = Contest(
            tmp_path,
            data="class_folders",
            data_dir=contest_of_file.data_dir,
            model_file=path,
            **FEW,
        )
        return Start(changed, "mlperf_resnet8", 0)

    with pytest.raises(UsageError, match="`model_file` must name"):
        of_file(None)
    other = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    other.save(tmp_path / "other.keras")
    with pytest.raises(UsageError, match=r"network for 2 classes.*to 3 classes"):
        of_file(str(tmp_path / "other.keras"))


def test_networks_must_be_for_the_datas_task(tmp_path):
    Contest(tmp_path, data="photographs", test_dirs=("Set5",)).check(["edsr"])
    with pytest.raises(UsageError, match=r"for super_resolution, as .*'small_vgg', for class"):
        Contest(tmp_path, data="photographs").check(["edsr", "small_vgg"])
    with pytest.raises(UsageError, match="`test_dirs` must be empty for classification"):
        Contest(tmp_path, test_dirs=("Set5",)).check(["small_vgg"])


@pytest.mark.parametrize("name", ["l1", pytest.param("tfmot_sparsity", marks=pytest.mark.slow)])
def test_super_resolution_is_played_by_psnr_also_on_other_pictures(tmp_path, name):
    save_noise(tmp_path / "photos", 5, (60, 64))
    save_noise(tmp_path / "Set1", 1, (40, 48))
    contest = Contest(
        tmp_path / "contest", data="folder", data_dir=str(tmp_path / "photos"),
        test_dirs=(str(tmp_path / "Set1"),), **FEW,
    )  # fmt: skip
    cell = Cell("edsr", name, 0.5, 0)
    row = play(contest, cell, ENTRANTS[name])
    assert row["fair"] == (name == "l1")
    assert {"psnr_y", "psnr_y_Set1"} <= row.keys()
    network = kn.load_model(contest.cell_path(cell))
    assert of_any_size(network)(np.zeros((1, 20, 30, 3), "float32")).shape == (1, 40, 60, 3)
    assert row["nonzero_params"] < 0.6 * kn.costs.count(Start(contest, "edsr", 0).fresh()).params


def test_segmentation_is_played_by_its_mean_iou(tmp_path):
    for part, count in (("train", 8), ("test", 2)):
        save_noise(tmp_path / "scenes" / part / "images", count, (24, 32))
        (tmp_path / "scenes" / part / "labels").mkdir()
        for number in range(count):
            labels = np.arange(24 * 32).reshape(24, 32) // 256
            PIL.Image.fromarray(labels.astype("uint8")).save(
                tmp_path / "scenes" / part / "labels" / f"{number}.png"
            )
    contest = Contest(
        tmp_path / "contest", data="segmentation_folders", data_dir=str(tmp_path / "scenes"), **FEW
    )
    start = Start(contest, "camvid", 0)
    inputs = keras.Input(start.data.image_shape)
    outputs = keras.layers.Conv2D(3, 1, kernel_initializer="zeros", bias_initializer="ones")(inputs)
    # All three classes tie, which the first of them wins: a third of the pixels, and a third of it.
    assert start.scores(keras.Model(inputs, outputs)) == {"miou": pytest.approx(1 / 9, rel=0.01)}
    assert start.fresh().output_shape[1:] == (180, 240, 3)


def test_an_application_takes_the_datas_pictures_and_can_be_gated():
    data = types.SimpleNamespace(image_shape=(28, 28, 1), num_classes=10)
    model = NETWORKS["mobilenetv2_64"].build(data, None)
    assert model.input_shape == (None, 28, 28, 1)
    assert model.output_shape == (None, 10)
    assert len(gates.find(gates.insert(model, ScaledSigmoidGate))) == 52
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {norm.momentum for norm in norms} == {0.9}
