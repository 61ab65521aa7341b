"""Everything that a run can know beforehand ends it before any stage, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import os
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from apps.tflite_stages import tflite_stages
from keras_nas.costs import Condition, LatencyTable
from keras_nas.costs.latency_fit import Point
from keras_nas.data.segmentation import SegmentationData
from keras_nas.data.super_resolution_sets import SuperResolutionData
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import check_output_folder
from keras_nas.gates import find
from keras_nas.models import DsoSpace
from keras_nas.runs import workbench
from keras_nas.runs.config import STAGES, RunConfig
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.preflight import check_fits
from keras_nas.runs.run import run
from keras_nas.search import DnalConfig, DsoConfig, FgnasConfig, TrainConfig
from keras_nas.search.dso.method import Dso
from keras_nas.search.method import Context
from keras_nas.search.registry import make_method
from keras_nas.settings import unflatten
from keras_nas.tasks import Classification
from keras_nas.training import loop as loop_module
from tests.training.nets import MadeData, small_net


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch):
    def trained(self):
        raise AssertionError("a stage has begun")

    monkeypatch.setattr(loop_module._Run, "run", trained)


@pytest.fixture
def made_data(monkeypatch):
    monkeypatch.setattr(workbench, "load_data", lambda *_, **__: MadeData())


@pytest.fixture(scope="module")
def net_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.keras"
    small_net().save(path)
    return str(path)


def config(path, **changes):
    settings = {"model": "small_resnet", "batch_size": 16, "progress": "off", **changes}
    fixed = {"run_dir": str(path), "stages": STAGES, "deterministic": False}
    return unflatten(RunConfig, {**fixed, **settings})


def refused(error, message, path, settings=None, further=(), **changes):
    """Runs a search that must be refused, in one line and without a trace in `path`."""
    before = sorted(os.walk(path.parent)) if path.parent.is_dir() else None
    with pytest.raises(error, match=message) as caught:
        run(config(path, **changes), settings or DnalConfig(), further)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error
    assert before is None or sorted(os.walk(path.parent)) == before


def image_net(shape=(8, 8, 2), classes=4, dtype="float32", outputs=1, inputs=1):
    """A classifier of images of another kind than `MadeData`'s, where arguments say so."""
    images = [keras.Input(shape, dtype=dtype) for _ in range(inputs)]
    x = layers.Rescaling(1.0)(images[0])
    for image in images[1:]:
        x = layers.Add()([x, image])
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    heads = [layers.Dense(classes)(x) for _ in range(outputs)]
    return keras.Model(images, heads[0] if outputs == 1 else heads)


MISFITS = [
    ({"classes": 3}, r"gives 3 classes, and the data has 4"),
    ({"classes": 1000}, r"gives 1000 classes, and the data has 4"),
    ({"shape": (16, 16, 2)}, r"takes inputs of 16×16×2, and .* 8×8×2 \(--image_size=16 resizes"),
    ({"shape": (8, 16, 2)}, r"takes inputs of 8×16×2, and the data has 8×8×2\.$"),
    ({"shape": (8, 8, 3)}, r"takes inputs of 8×8×3, and the data has 8×8×2\.$"),
    ({"shape": (None, None, 1)}, r"takes inputs of any×any×1, and the data has 8×8×2"),
    ({"dtype": "uint8"}, r"takes uint8 inputs"),
    ({"inputs": 2}, r"has 2 inputs"),
    ({"outputs": 2}, r"Classification needs a model with one output"),
]


@pytest.mark.parametrize(("changes", "message"), MISFITS)
def test_a_model_that_does_not_fit_the_data_is_refused_by_shapes(
    tmp_path, made_data, changes, message
):
    image_net(**changes).save(tmp_path / "net.keras")
    path = tmp_path / "run"
    refused(UsageError, message, path, model=str(tmp_path / "net.keras"))


def test_open_sizes_and_one_output_for_two_classes_fit():
    check_fits(image_net((None, None, 2)), MadeData(), "quadrants")
    two = MadeData()
    two.num_classes = 2
    check_fits(image_net(classes=2), two, "halves")
    with pytest.raises(UsageError, match="gives 4 classes, and the data has 2"):
        check_fits(image_net(classes=4), two, "halves")


def test_a_model_of_other_axes_is_refused():
    inputs = keras.Input((128,))
    model = keras.Model(inputs, layers.Dense(4)(inputs))
    with pytest.raises(UsageError, match=r"takes inputs of 128, and the data has 8×8×2"):
        check_fits(model, MadeData(), "quadrants")


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_model_that_was_never_built_is_refused(tmp_path, made_data):
    keras.Sequential([layers.Dense(4)]).save(tmp_path / "net.keras")
    message = "saved before it was built"
    refused(UsageError, message, tmp_path / "run", model=str(tmp_path / "net.keras"))


def segmentation_data(classes=3, size=(8, 8)):
    train = tf.data.Dataset.from_tensors(
        (np.zeros((2, *size, 2), "float32"), np.zeros((2, *size), "uint8"))
    )
    fields = dict.fromkeys((f.name for f in dataclasses.fields(SegmentationData)), None)
    return SegmentationData(
        **{**fields, "train": train, "num_classes": classes, "image_shape": (*size, 2)}
    )


@pytest.mark.parametrize(
    ("classes", "stride", "shape", "message"),
    [
        (3, 1, (8, 8, 2), None),
        (3, 1, (None, None, 2), None),
        (4, 1, (8, 8, 2), "gives 4 classes, and the data has 3"),
        (3, 2, (8, 8, 2), "classes for 4×4 pixels, and the data has them for 8×8"),
        (3, 2, (None, None, 2), "classes for 4×4 pixels, and the data has them for 8×8"),
    ],
)
def test_segmentation_needs_a_class_for_each_pixel(classes, stride, shape, message):
    inputs = keras.Input(shape)
    outputs = layers.Conv2D(classes, 3, stride, padding="same")(inputs)
    model = keras.Model(inputs, outputs)
    if message is None:
        check_fits(model, segmentation_data(), "brains")
        return
    with pytest.raises(UsageError, match=message):
        check_fits(model, segmentation_data(), "brains")


def enlarging(shape, channels=3, scale=2):
    inputs = keras.Input(shape)
    x = layers.Conv2D(channels, 3, padding="same")(inputs)
    return keras.Model(inputs, layers.UpSampling2D(scale)(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: enlarging((None, None, 3)), None),
        (lambda: enlarging((24, 24, 3)), r"takes images of 24×24×3 alone"),
        (lambda: enlarging((32, 32, 3)), r"takes inputs of 32×32×3, and the data has 24×24×3\.$"),
        (lambda: enlarging((None, None, 1)), r"takes inputs of any×any×1"),
        (lambda: enlarging((None, None, 3), scale=3), r"`scale` must be that of the network, 3"),
        (lambda: image_net((None, None, 3)), r"Super-resolution needs a model from"),
    ],
)
def test_super_resolution_needs_a_network_of_open_size_and_the_scale(model, message):
    train = tf.data.Dataset.from_tensors(
        (np.zeros((2, 24, 24, 3), "float32"), np.zeros((2, 48, 48, 3), "float32"))
    )
    pairs = [types.SimpleNamespace(low=np.zeros((*size, 3))) for size in ((24, 24), (30, 20))]
    data = SuperResolutionData("images", train, None, None, pairs, pairs, 2, 1.0)
    if message is None:
        check_fits(model(), data, "images")
        return
    with pytest.raises(KerasNasError, match=message):
        check_fits(model(), data, "images")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "resnet20"}, UsageError, r"a .keras or .h5 file, or one of .*did you mean"),
        ({"model": "net.tflite"}, UsageError, r"a .keras or .h5 file, or one of"),
        ({"model": "saved_model/"}, UsageError, r"a .keras or .h5 file, or one of"),
        ({"model": "missing.keras"}, KerasNasError, r"missing.keras, which does not exist"),
        ({"model": "missing.h5"}, KerasNasError, r"missing.h5, which does not exist"),
        ({"model": "edsr"}, UsageError, r"'edsr' does not take .*: it is a network of another"),
        ({"model_config": '{"widths": 3}'}, KerasNasError, r"`config` of model 'small_resnet'"),
        ({"model_config": '{"num_classes": "x"}'}, UsageError, r"'small_resnet' cannot be built"),
        ({"model_config": '{"stage_widths": 3}'}, KerasNasError, r"`stage_widths` must be nested"),
        ({"label_smoothing": 1.5}, UsageError, r"`label_smoothing` must be below 1"),
    ],
)
def test_a_model_that_is_none_is_refused(tmp_path, made_data, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        run(config(tmp_path / "run", **changes), DnalConfig())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("pattern", ["conv9_*", ""])
def test_a_layer_pattern_that_fits_nothing_is_refused(tmp_path, made_data, net_file, pattern):
    message = "pattern .* fits no convolution or Dense layer"
    for name in ("include", "exclude"):
        for settings in (DnalConfig, FgnasConfig):
            refused(
                KerasNasError, message, tmp_path / "run", settings(**{name: (pattern,)}),
                model=net_file, method="dnal" if settings is DnalConfig else "fgnas",
            )  # fmt: skip


# --- the target -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_macs": "0.001x"}, r"`target_macs` must be [\d,]+ or more: .* with every gate"),
        ({"target_flops": 10.0}, r"`target_flops` must be [\d,]+ or more"),
        ({"target_params": 1}, r"`target_params` must be [\d,]+ or more"),
        ({"target_macs": 1e15}, r"`target_macs` must be [\d,]+ or less, what all of"),
        ({"target_macs": "0.5x", "search": TrainConfig(epochs=0)}, r"needs `search_epochs` of 1"),
    ],
)
def test_a_target_out_of_reach_is_refused_before_the_weights(
    tmp_path, made_data, net_file, settings, message
):
    chosen = FgnasConfig(order="conv_bn_gate_relu", **settings)
    refused(UsageError, message, tmp_path / "run", chosen, method="fgnas", model=net_file)


@pytest.mark.parametrize("target", ["1.5x", "0x", "-0.5x", -3.0, "half", "0.5X", "50%", "nan"])
def test_a_target_that_is_no_number_or_share_is_refused(target):
    with pytest.raises(UsageError, match="or a share of the full network's as"):
        FgnasConfig(target_macs=target)


def test_rounding_counts_in_what_can_be_reached(tmp_path, made_data, net_file):
    """Of 8 channels in each gate, rounding to 8 leaves all or none."""
    target = {"target_params": "0.3x"}
    with pytest.raises(AssertionError, match="a stage has begun"):
        run(config(tmp_path / "a", method="fgnas", model=net_file), FgnasConfig(**target))
    refused(
        UsageError, "`target_params` must be", tmp_path / "run",
        FgnasConfig(**target, round_to=8), method="fgnas", model=net_file,
    )  # fmt: skip


def test_a_check_leaves_the_supernet_and_the_random_numbers_as_they_were():
    model = small_net()
    method = make_method("fgnas", FgnasConfig(target_macs="0.5x"))
    supernet = method.make_supernet(model)
    before = [np.copy(v) for v in supernet.variables]
    modes = [gate.mode for gate in find(supernet)]
    state = np.random.get_state()[1].copy()
    method.check(supernet, Context(Classification.of(model), MadeData().train))
    assert [gate.mode for gate in find(supernet)] == modes
    for variable, value in zip(supernet.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


# --- the latency table ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables that are damaged, are none, and lack the conditions of the networks here."""
    folder = tmp_path_factory.mktemp("tables")
    condition = Condition("conv", 99, 99, (3, 3), (1, 1), 1)
    LatencyTable("host", "litert", {condition: [Point(2, 2, 100, 1.0)]}).save(folder / "other.json")
    (folder / "torn.json").write_text('{"device": "host"')
    (folder / "alien.json").write_text("[]")
    (folder / "folder.json").mkdir()
    return folder


TABLES = [
    ("missing.json", r"(`latency_table` must be a file|Cannot read).*missing.json"),
    ("folder.json", r"(`latency_table` must be a file|Cannot read).*folder.json"),
    ("torn.json", r"Cannot read the latency table .*torn.json"),
    ("alien.json", r"alien.json is no latency table: at the top"),
    ("other.json", r"The latency table of host \(litert\) has no "),
]


@pytest.mark.parametrize(("name", "message"), TABLES)
def test_a_latency_table_is_read_before_the_weights(
    tmp_path, made_data, net_file, tables, name, message
):
    settings = FgnasConfig(target_latency_ms="0.5x", latency_table=str(tables / name))
    refused(KerasNasError, message, tmp_path / "run", settings, method="fgnas", model=net_file)


@pytest.fixture(scope="module")
def supernet():
    space = DsoSpace(
        stage_widths=(4, 8), stage_blocks=(1, 1), levels=1, input_shape=(8, 8, 2), num_classes=4
    )
    return space.supernet()


WHOLE_BATCHES = (
    MadeData()
    .train.unbatch()
    .apply(tf.data.experimental.assert_cardinality(64))
    .batch(16, drop_remainder=True)
)


def dso_context(supernet, structure=WHOLE_BATCHES):
    return Context(Classification.of(supernet), WHOLE_BATCHES, structure_data=structure)


@pytest.mark.parametrize(("name", "message"), TABLES)
def test_dso_reads_its_latency_table_before_the_weights(supernet, tables, name, message):
    settings = DsoConfig(adaptive="latency", latency_table=str(tables / name))
    with pytest.raises(KerasNasError, match=message):
        Dso(settings).check(supernet, dso_context(supernet))


@pytest.mark.parametrize(
    ("settings", "structure", "message"),
    [
        ({}, None, "give `structure_data`"),
        ({"split_ratio": "9:1"}, WHOLE_BATCHES, "`split_ratio` 9:1 leaves no step"),
        ({"target_macs": "0.5x"}, WHOLE_BATCHES, "`target_macs` needs widths that can be solved"),
        ({"random_networks": 2}, WHOLE_BATCHES, "`random_networks` can be drawn in the spaces"),
    ],
)
def test_what_dso_needs_at_its_end_is_asked_for_at_its_start(
    supernet, settings, structure, message
):
    with pytest.raises(UsageError, match=message):
        Dso(DsoConfig(**settings)).check(supernet, dso_context(supernet, structure))


def test_dso_without_edges_is_refused(tmp_path, made_data, net_file):
    settings = DsoConfig(split=False)
    refused(KerasNasError, "ScaledEdge", tmp_path / "run", settings, method="dso", model=net_file)


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, made_data):
    (tmp_path / "file").write_text("in the way")
    for path, reason in (
        (tmp_path / "file", "Not a directory"),
        (tmp_path / "file" / "run", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\0b", "null byte"),
    ):
        refused(KerasNasError, f"`run_dir` must be a folder .*{reason}", path)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.fixture
def _without_privileges():
    """Nobody's rights, where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("_without_privileges")
def test_a_folder_without_permission_is_refused():
    with pytest.raises(KerasNasError, match=r"`output_dir` must be .*Permission denied"):
        check_output_folder("/root_owned/run", "output_dir")


@pytest.mark.parametrize(
    ("stages", "missing"),
    [
        (("weights", "surgery"), "architecture"),
        (("weights", "architecture", "finetune"), "surgery"),
        (("weights", "export"), "surgery"),
        (("weights", "architecture", "surgery", "benchmark"), "export"),
        (("architecture", "surgery", "finetune"), "weights"),
    ],
)
def test_a_gap_between_stages_is_found_first(tmp_path, made_data, stages, missing):
    refused(
        KerasNasError, f"--stages={missing}", tmp_path / "run", stages=stages,
        further=tflite_stages(),
    )  # fmt: skip


@pytest.fixture
def begun(tmp_path, made_data, net_file):
    """The folder of a run whose weights were to be trained."""
    with pytest.raises(AssertionError, match="a stage has begun"):
        run(config(tmp_path / "run", model=net_file), DnalConfig())
    return RunFolder(tmp_path / "run")


def test_resuming_with_other_settings_names_the_first_that_matters(begun, net_file):
    folder = begun.path
    for settings, message, changes in (
        (FgnasConfig(), r"`method` was 'dnal' .* is 'fgnas' now", {"method": "fgnas"}),
        (DnalConfig(), r"`model` was .* is 'small_vgg' now", {"model": "small_vgg"}),
        (DnalConfig(lambda_a=1.0), r"`lambda_a` was 0.0001 .* is 1.0 now", {}),
    ):
        refused(
            KerasNasError,
            message,
            folder,
            settings,
            **{"model": net_file, "resume": True} | changes,
        )


@pytest.mark.parametrize("content", ["{", "[]", '{"run": {}}'])
def test_a_damaged_config_is_said(begun, net_file, content):
    begun.config.write_text(content)
    message = "config.json( is no config.json|: it is not JSON)"
    refused(KerasNasError, message, begun.path, model=net_file, resume=True)
    assert begun.config.read_text() == content


def test_a_refused_run_that_overwrites_loses_nothing(begun, net_file, tmp_path):
    begun.update_results(rows={"finetuned": {"top1": 0.9}})
    before = {path: path.read_bytes() for path in (begun.results, begun.config)}
    image_net(classes=9).save(tmp_path / "nine.keras")
    refused(
        UsageError, "gives 9 classes", begun.path, model=str(tmp_path / "nine.keras"),
        overwrite=True,
    )  # fmt: skip
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads(before[begun.results])["rows"]


# --- data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 301}, UsageError, r"at most the number of training examples, 300"),
        ({"train_examples": 10**6}, UsageError, r"`train_examples` must be from 1 to the 54000"),
        ({"validation_share": 1e-6}, KerasNasError, r"leave no part empty"),
        ({"data_dir": "/no/such/folder"}, KerasNasError, r"/no/such/folder, which does not exist"),
        ({"data_dir": __file__}, KerasNasError, r"test_preflight.py, which is a file"),
        ({"data_dir": os.path.dirname(__file__)}, KerasNasError, r"Fashion-MNIST is not in"),
        ({"cutout": 8, "augment": False}, UsageError, r"`cutout` needs `augment`"),
        ({"data": "synthetic_segmentation", "cutout": 8}, UsageError, r"`cutout` must be 0"),
        ({"data": "imagenet2012", "cutout": 8}, UsageError, r"`cutout` must be 0"),
        ({"pixels": "torch"}, UsageError, r"`pixels` 'torch' is for pictures of 3 channels"),
        (
            {"data": "photographs", "train_examples": 0, "pixels": "0..1"},
            UsageError,
            r"`pixels` must be 'standardized' for --data=photographs. Received: pixels='0..1'",
        ),
    ],
)
def test_data_that_cannot_be_had_so_is_refused(tmp_path, changes, error, message):
    changes = {"data": "fashion_mnist", "train_examples": 300, **changes}
    refused(error, message, tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_share": 1.0}, "`validation_share` must be below 1"),
        ({"validation_share": -0.1}, "`validation_share` must be 0 or more"),
        ({"seed": -1}, "`seed` must be 0 or more"),
        ({"scale": 1}, "`scale` must be 2 or more"),
        ({"patch_size": 0}, "`patch_size` must be 1 or more"),
        ({"stages": ()}, "`stages` must be one or more"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"data": "mnist"}, "`data` must be one of"),
        ({"pixels": "0-1"}, "`pixels` must be one of"),
        ({"pixel_mean": (0.5,)}, "`pixel_mean` and `pixel_std` must be given together"),
    ],
)
def test_settings_that_no_run_can_have_are_usage_errors(changes, message):
    with pytest.raises(UsageError, match=message):
        config("x", **changes)


def test_a_nested_setting_is_named_with_its_flags_beginning():
    with pytest.raises(UsageError, match=r"settings `weights_…`: `epochs` must be 0 or more"):
        unflatten(DnalConfig, {"weights_epochs": -1})


def test_boundaries_that_fall_are_refused_at_once():
    with pytest.raises(UsageError, match="`boundaries` must rise"):
        TrainConfig(schedule="piecewise", boundaries=(80.0, 30.0))
