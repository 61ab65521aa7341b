from __future__ import annotations

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

import keras_nas as kn
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs import workbench
from keras_nas.runs.config import STAGES, RunConfig, load_config
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.network import model_source
from keras_nas.runs.run import run
from keras_nas.runs.stage import RunStage
from keras_nas.search import DistillConfig, DnalConfig, FgnasConfig, TrainConfig
from keras_nas.settings import unflatten
from keras_nas.training.records import read_records, write_records
from keras_nas.training.stage import Stage
from tests.training.nets import PAPER, MadeData, random_images, small_net

SETTINGS = DnalConfig(
    lambda_a=5e-3,
    delta_schedule="step",
    round_to=4,
    weights=TrainConfig(epochs=1, learning_rate=0.05),
    architecture=TrainConfig(epochs=2, learning_rate=0.1, weight_decay=0.0),
    finetune=TrainConfig(epochs=1, learning_rate=0.02),
)


@pytest.fixture(scope="module", autouse=True)
def _made_data():
    patch = pytest.MonkeyPatch()
    patch.setattr(workbench, "load_data", lambda *_, **__: MadeData())
    yield
    patch.undo()


BUILDER = {"model": "small_resnet", "model_config": '{"stage_widths": [8, 8, 8]}'}


def config(path, **changes):
    settings = {
        "run_dir": str(path), "stages": STAGES, "batch_size": 16, "deterministic": False,
        "progress": "off", "seed": 5, **BUILDER, **changes,
    }  # fmt: skip
    return unflatten(RunConfig, settings)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Most tests run a network of three convolutions from a file: quicker than a backbone."""
    path = tmp_path_factory.mktemp("model") / "net.keras"
    small_net().save(path)
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model_file):
    path = tmp_path_factory.mktemp("run")
    run(config(path, model=model_file), SETTINGS)
    return RunFolder(path)


def test_every_stage_leaves_its_files(finished):
    names = {path.name for path in finished.path.iterdir()}
    assert names == {
        "config.json", "checkpoint", "metrics.jsonl", "tensorboard", "original.keras",
        "supernet.keras", "architecture.json", "small.keras", "finetuned.keras", "results.json",
    }  # fmt: skip
    assert {path.name for path in (finished.path / "checkpoint").iterdir()} == {
        "weights", "architecture", "finetune",
    }  # fmt: skip


def test_results_tell_accuracy_costs_and_sizes(finished):
    rows = finished.read_results()["rows"]
    assert list(rows) == ["original", "gated", "pruned", "reestimated", "finetuned"]
    assert rows["pruned"]["top1"] == rows["gated"]["top1"]
    assert rows["reestimated"]["loss"] != pytest.approx(rows["pruned"]["loss"], rel=1e-3)
    assert rows["pruned"]["macs"] < rows["original"]["macs"]
    assert rows["finetuned"]["params"] == rows["pruned"]["params"]
    for row, path in (("original", finished.original), ("finetuned", finished.finetuned)):
        model = finished.load_model(path, row)
        assert rows[row]["macs"] == kn.costs.count(model).macs
        assert rows[row]["size"] == path.stat().st_size
    assert finished.read_results()["gates"]["undecided"] == 0


def test_architecture_says_where_the_model_comes_from(finished, model_file):
    architecture = kn.Architecture.load(finished.architecture)
    assert architecture.seed == 5
    assert architecture.method == "dnal"
    assert architecture.model == {"path": model_file}
    source = model_source(config("x"), MadeData())
    model = kn.models.create(source["builder"], **source["config"])
    assert model.inputs[0].shape == (None, 8, 8, 2)
    assert model.outputs[0].shape == (None, 4)
    assert model.get_layer("stem_conv").filters == 8


def test_metrics_hold_every_stage(finished):
    stages = [record["stage"] for record in read_records(finished.metrics)]
    assert stages == ["weights", "architecture", "architecture", "surgery", "finetune"]


def test_small_from_the_files_is_the_gated_network(finished):
    images = next(iter(MadeData().test))[0]
    supernet = finished.load_model(finished.supernet, "architecture")
    small = finished.load_model(finished.small, "surgery")
    expected = supernet(images, training=False).numpy()
    np.testing.assert_allclose(small(images), expected, atol=1e-4 * np.ptp(expected))


def test_finetuning_begins_with_the_reestimated_network(finished, tmp_path):
    for path in (finished.small, finished.architecture):
        shutil.copy(path, tmp_path)
    still = dataclasses.replace(SETTINGS, finetune=TrainConfig(epochs=0))
    run(dataclasses.replace(config(tmp_path), stages=("finetune",)), still)
    rows = RunFolder(tmp_path).read_results()["rows"]
    reestimated = finished.read_results()["rows"]["reestimated"]
    assert rows["finetuned"]["loss"] == pytest.approx(reestimated["loss"], rel=1e-5)


DISTILLED = dataclasses.replace(
    SETTINGS,
    finetune=TrainConfig(epochs=2, learning_rate=0.02),
    finetune_distill=DistillConfig(weight=0.5),
)


def finetune_of(finished, path, settings=DISTILLED, **changes):
    """Finetunes what another run found, in a folder of its own."""
    for file in (finished.small, finished.architecture, finished.original):
        shutil.copy(file, path)
    run(dataclasses.replace(config(path, **changes), stages=("finetune",)), settings)
    return [r for r in read_records(RunFolder(path).metrics) if r["stage"] == "finetune"]


def test_finetuning_learns_from_the_runs_original_or_from_a_file(finished, tmp_path):
    folders = [tmp_path / name for name in ("own", "same", "other")]
    for folder in folders:
        folder.mkdir()
    own = finetune_of(finished, folders[0])
    same = finetune_of(finished, folders[1], teacher=str(finished.original))
    other = finetune_of(finished, folders[2], teacher=str(finished.finetuned))
    losses = [[record["distill_loss"] for record in records] for records in (own, same, other)]
    assert losses[0] == losses[1]
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)


def test_a_killed_finetuning_with_a_teacher_resumes_to_the_same(finished, tmp_path, monkeypatch):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    unbroken.mkdir()
    killed.mkdir()
    finetune_of(finished, unbroken)

    def deadly(self, epoch, step, steps):
        if (epoch, step) == (1, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "before_step", deadly)
        with pytest.raises(KeyboardInterrupt):
            finetune_of(finished, killed, checkpoint_every=1)
    finetune_of(finished, killed, checkpoint_every=1, resume=True)
    models = [
        RunFolder(path).load_model(RunFolder(path).finetuned, "") for path in (unbroken, killed)
    ]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_teacher_lacks_is_said_before_any_training(finished, tmp_path):
    wide = tmp_path / "wide.keras"
    small_net(classes=6).save(wide)
    with pytest.raises(UsageError, match="gives 6 classes, and the data has 4"):
        finetune_of(finished, tmp_path, teacher=str(wide))
    with pytest.raises(UsageError, match="`teacher` is learned from with"):
        finetune_of(finished, tmp_path, SETTINGS, teacher=str(wide))
    (tmp_path / "original.keras").unlink()
    alone = dataclasses.replace(config(tmp_path), stages=("finetune",))
    with pytest.raises(KerasNasError, match=r"original\.keras does not exist: run the stage"):
        run(alone, DISTILLED)
    assert not (tmp_path / "checkpoint").exists()


def test_a_stage_runs_alone_from_files(finished, tmp_path):
    for path in (finished.supernet, finished.architecture):
        shutil.copy(path, tmp_path)
    run(dataclasses.replace(config(tmp_path), stages=("surgery", "finetune")), SETTINGS)
    results = RunFolder(tmp_path).read_results()["rows"]
    assert results["pruned"]["top1"] == finished.read_results()["rows"]["pruned"]["top1"]
    assert "finetuned" in results


@pytest.mark.parametrize(
    ("stage", "missing"),
    [("architecture", "weights"), ("surgery", "architecture"), ("finetune", "surgery")],
)
def test_a_missing_input_names_the_stage_that_writes_it(tmp_path, stage, missing):
    with pytest.raises(KerasNasError, match=f"--stages={missing}"):
        run(dataclasses.replace(config(tmp_path), stages=(stage,)), SETTINGS)


def test_a_run_is_not_overwritten_unasked(finished, model_file):
    before = finished.config.read_bytes()
    with pytest.raises(KerasNasError, match="--resume"):
        run(config(finished.path, model=model_file, label_smoothing=0.1), SETTINGS)
    assert finished.config.read_bytes() == before


def test_resume_of_a_finished_run_changes_nothing(finished, model_file):
    architecture = finished.architecture.read_text()
    rows = finished.read_results()["rows"]
    run(config(finished.path, model=model_file, resume=True), SETTINGS)
    assert finished.architecture.read_text() == architecture
    assert finished.read_results()["rows"] == rows


def test_resume_refuses_a_changed_setting_by_name(finished, model_file):
    before = finished.config.read_bytes()
    changed = dataclasses.replace(SETTINGS, lambda_a=1.0)
    with pytest.raises(KerasNasError, match=r"`lambda_a` was 0.005 .* is 1.0 now"):
        run(config(finished.path, model=model_file, resume=True), changed)
    assert finished.config.read_bytes() == before


def test_resume_allows_what_decides_nothing(finished, model_file):
    again = config(
        finished.path, model=model_file, resume=True, checkpoint_every=7, tensorboard=False
    )
    run(dataclasses.replace(again, stages=("weights",)), SETTINGS)
    assert len(read_records(finished.metrics)) == 5


def test_a_resumed_stage_counts_the_seconds_of_its_earlier_legs(finished, model_file, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(finished.path, folder.path)
    results = folder.read_results()
    before = dict(results["seconds"])
    del results["seconds"]["architecture"]  # as if killed at its end
    folder.results.write_text(json.dumps(results))
    records = read_records(folder.metrics)
    for record in records:
        record["seconds"] = 1000.0
    write_records(folder.metrics, "architecture", records[1:3])
    again = config(folder.path, model=model_file, resume=True)
    run(dataclasses.replace(again, stages=("surgery", "architecture")), SETTINGS)
    after = folder.read_results()["seconds"]
    assert after["weights"] == before["weights"]
    assert after["surgery"] >= before["surgery"]
    assert 2000 < after["architecture"] < 2200


def test_load_config_reads_a_run_back(finished):
    read, settings = load_config(str(finished.path), finetune_epochs=9, overwrite=True)
    assert (read.batch_size, read.seed, read.session.overwrite) == (16, 5, True)
    assert settings == dataclasses.replace(
        SETTINGS, finetune=dataclasses.replace(SETTINGS.finetune, epochs=9)
    )


def test_load_config_of_no_run_is_an_error(tmp_path):
    with pytest.raises(KerasNasError, match="holds no run"):
        load_config(str(tmp_path))


def test_mixed_precision_policy_does_not_outlive_the_run(tmp_path):
    import keras

    half = config(tmp_path, mixed_precision="mixed_bfloat16")
    run(dataclasses.replace(half, stages=("weights",)), SETTINGS)
    assert keras.config.dtype_policy().name == "float32"
    model = RunFolder(tmp_path).load_model(RunFolder(tmp_path).original, "weights")
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method='magic'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"keep": 0}, "`keep` must be 1 or more. Received: keep=0"),
        ({"mixed_precision": "int8"}, "mixed_precision='int8'"),
        ({"stages": ("weights", "dream")}, "'dream'"),
        ({"cutout_stages": ("surgery",)}, "`cutout_stages` must be of .* Received: 'surgery'"),
        ({"finetune_batch_size": -1}, "`finetune_batch_size` must be 0 or more"),
    ],
)
def test_wrong_values_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        unflatten(RunConfig, {"run_dir": "x", **changes})


def tiny(input_shape=(8, 8, 2), num_classes=4):
    """A network of the zoo that is traced in no time."""
    return small_net(num_classes)


@pytest.fixture(scope="module")
def with_baseline(tmp_path_factory):
    """FGNAS on a widened network, with a baseline, and batches of its own in each stage."""
    path, asked = tmp_path_factory.mktemp("baseline"), []

    def load(config, settings, stage=""):
        asked.append((stage, config.batch_size_of(stage)))
        data = MadeData()
        data.train = random_images(64, batch=config.batch_size_of(stage))
        return data

    settings = FgnasConfig(
        **PAPER, kernels=(1,), weights=TrainConfig(epochs=1), search=TrainConfig(epochs=4),
        finetune=TrainConfig(epochs=1), target_flops="0.9x", lambda_r=1e-5, gate_learning_rate=0.3,
    )  # fmt: skip
    changes = {"baseline_batch_size": 8, "architecture_batch_size": 32, "finetune_batch_size": 4}
    asking = config(
        path, method="fgnas", baseline_epochs=2, model="tiny", model_config="{}", **changes
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kn.models.registry._BUILDERS, "tiny", tiny)
        patch.setattr(workbench, "load_data", load)
        run(asking, settings)
        first = RunFolder(path).read_results()
        again = dataclasses.replace(asking.session, resume=True)
        run(dataclasses.replace(asking, session=again), settings)
    return RunFolder(path), first, asked


def test_the_baseline_is_the_network_without_gates_trained_by_itself(with_baseline):
    folder, results, _ = with_baseline
    rows = results["rows"]
    assert list(rows) == ["original", "baseline", "gated", "pruned", "reestimated", "finetuned"]
    own = tiny()
    assert rows["baseline"]["macs"] == kn.costs.count(own).macs
    assert rows["original"]["macs"] > rows["baseline"]["macs"]  # further operations
    baseline = folder.load_model(folder.baseline, "baseline")
    assert [layer.name for layer in baseline.layers] == [layer.name for layer in own.layers]
    assert rows["baseline"]["file"] == "baseline.keras"
    records = read_records(folder.metrics)
    assert [r["epoch"] for r in records if r["stage"] == "baseline"] == [1, 2]
    assert folder.read_results()["rows"]["baseline"] == rows["baseline"]  # resumed, not trained


def test_each_stage_has_its_own_batches(with_baseline):
    folder, _, asked = with_baseline
    steps = {record["stage"]: record.get("steps") for record in read_records(folder.metrics)}
    assert (steps["weights"], steps["baseline"], steps["finetune"]) == (4, 8, 16)
    assert asked[:5] == [
        ("", 16), ("baseline", 8), ("architecture", 32), ("surgery", 16), ("finetune", 4),
    ]  # fmt: skip


def test_a_network_from_a_file_is_widened_as_a_trained_one(tmp_path, model_file):
    still = TrainConfig(epochs=1, learning_rate=0.0, weight_decay=0.0)
    settings = FgnasConfig(kernels=(1,), weights=still, search=still)
    weights = dataclasses.replace(
        config(tmp_path, model=model_file, method="fgnas"), stages=("weights",)
    )
    run(weights, settings)
    supernet = RunFolder(tmp_path).load_model(RunFolder(tmp_path).supernet, "weights")
    assert supernet.get_layer("a_bn").gamma.numpy() == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_model_config_must_be_a_json_object(tmp_path, text):
    with pytest.raises(UsageError, match="model_config"):
        run(dataclasses.replace(config(tmp_path), model_config=text), SETTINGS)


def test_run_dir_is_needed():
    with pytest.raises(UsageError, match="--run_dir"):
        run(RunConfig(), SETTINGS)


def test_records_of_a_stage_are_replaced_in_place(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for stage, count in (("a", 2), ("b", 1), ("a", 3)):
        write_records(path, stage, [{"stage": stage, "epoch": e} for e in range(count)])
    assert [(r["stage"], r["epoch"]) for r in read_records(path)] == [
        ("a", 0), ("a", 1), ("a", 2), ("b", 0),
    ]  # fmt: skip
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 4


def test_overwriting_the_first_stage_forgets_the_old_numbers(tmp_path, model_file):
    folder = RunFolder(tmp_path)
    folder.update_results(rows={"finetuned": {"top1": 0.99}})
    write_records(folder.metrics, "finetune", [{"stage": "finetune", "epoch": 1}])
    again = config(tmp_path, model=model_file, overwrite=True)
    run(dataclasses.replace(again, stages=("weights",)), SETTINGS)
    assert list(folder.read_results()["rows"]) == ["original"]
    assert [record["stage"] for record in read_records(folder.metrics)] == ["weights"]


class Drawing(RunStage):
    """A stage of an app's own, which stands behind the search's."""

    name = "export"

    def reads(self, folder):
        return (folder.small,)

    def run(self, bench):
        policy = keras.config.dtype_policy().name
        small = bench.folder.load_model(bench.folder.small, "surgery")
        bench.folder.update_results(
            drawn={"policy": policy, "params": kn.costs.count(small).params}
        )


def test_a_further_stage_follows_under_the_processs_own_policy(finished, model_file, tmp_path):
    path = shutil.copytree(finished.path, tmp_path / "run")
    changes = {"model": model_file, "mixed_precision": "mixed_bfloat16", "overwrite": True}
    asking = dataclasses.replace(config(path, **changes), stages=("export",))
    results = run(asking, SETTINGS, [Drawing()])
    assert results["drawn"]["policy"] == "float32"
    assert results["drawn"]["params"] == results["rows"]["pruned"]["params"]


def test_a_further_stage_misses_its_files_before_anything_is_trained(tmp_path, model_file):
    asking = dataclasses.replace(config(tmp_path / "run", model=model_file), stages=("export",))
    with pytest.raises(KerasNasError, match="--stages=surgery"):
        run(asking, SETTINGS, [Drawing()])
    assert not (tmp_path / "run").exists()


def test_epochs_that_the_search_does_not_need_are_finetuned_by_a_stage_alone(tmp_path, model_file):
    settings = dataclasses.replace(
        SETTINGS,
        gates_start="identity",
        start_logit=50.0,
        stop_decided=True,
        architecture=TrainConfig(epochs=2, learning_rate=0.0, weight_decay=0.0),
        total_epochs=4,
    )
    path = tmp_path / "run"
    run(config(path, model=model_file, stages=STAGES[:-1]), settings)
    shutil.copytree(path, tmp_path / "bare")
    run(config(path, model=model_file, stages=("finetune",)), settings)
    stages = [record["stage"] for record in read_records(path / "metrics.jsonl")]
    assert stages == ["weights", "architecture", "surgery", *["finetune"] * 2]
    (tmp_path / "bare" / "metrics.jsonl").unlink()
    with pytest.raises(KerasNasError, match="needs the epochs of stage 'architecture'"):
        run(config(tmp_path / "bare", model=model_file, stages=("finetune",)), settings)
