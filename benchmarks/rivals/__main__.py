r"""What is found, against what people would use instead, at equal macs and equal epochs.

    python -m benchmarks.rivals --folder=runs/rivals            (hours on two cores)
    python -m benchmarks.rivals --quick --folder=runs/rivals_quick            (minutes)

    python -m benchmarks.rivals --networks=mlperf_resnet8 --data=class_folders --data_dir=cifar \
        --model_file=mlperf_tiny_resnet8_cifar10.h5 --folder=runs/rivals_mlperf
    python -m benchmarks.rivals --networks=edsr --test_dirs=Set5,Set14 --folder=runs/rivals_edsr
    python -m benchmarks.rivals --networks=camvid --data_dir=camvid --folder=runs/rivals_camvid

Trains each network once a seed, then lets every entrant take it to every target. `mlperf_resnet8`
starts from what others trained, and its epochs are the finetuning on the data. Whatever stands in
the folder is not done again, so a command that was stopped goes on, and cells may be played by
several commands one after the other: tables and plots have all of these networks that stands there.
Prints a table of the task's metric with its spread (top-1, PSNR, mean IoU), and of the .tflite
files' milliseconds (those of a network timed in turns), size and size compressed; writes
results.json, and for each network a plot against macs and one against milliseconds. The tables end
with how far ours are ahead: of the rivals with as many macs, and of what rivals have in the same
time, read off the line between their networks. A star marks a network whose macs are more than 2 %
off the target: it counts on neither side, as does who lacks a seed that another has.
`tfmot_sparsity` always has one, since zeros in kernels save no macs: its target is the share of the
params left.
Sony's toolkit takes part as `mct` where `--mct_python` names an environment that has it; see
benchmarks/rivals/mct_script.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from apps.main import load_tensorflow
from apps.main import run as run_app
from benchmarks.flag_checks import check_names
from keras_nas.errors import UsageError
from keras_nas.files import atomic_write_text

_FOLDER = flags.DEFINE_string("folder", "runs/rivals", "Where networks and results stand.")
_NETWORKS = flags.DEFINE_list("networks", ["small_resnet", "resnet20", "mobilenet"], "Networks.")
_DATA = flags.DEFINE_string("data", None, "Data set; by default that of the first network.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data stands.")
_MODEL_FILE = flags.DEFINE_string("model_file", None, "The trained file that mlperf_resnet8 is.")
_TEST_DIRS = flags.DEFINE_list(
    "test_dirs", [], "Folders of pictures to measure super-resolution on, beside the data's own."
)
_ENTRANTS = flags.DEFINE_list("entrants", [], "Entrants; all by default.")
_TARGETS = flags.DEFINE_list("targets", ["0.5", "0.3", "0.15"], "Shares of the macs.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
_EXAMPLES = flags.DEFINE_integer("train_examples", 6000, "Images to learn from.", lower_bound=64)
_SIZE = flags.DEFINE_integer(
    "image_size", None, "The side of pictures, where not that of each network.", lower_bound=1
)
_WEIGHTS = flags.DEFINE_integer("weights_epochs", 12, "Epochs of the full network.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 8, "Epochs that follow, all together.", lower_bound=2)
_DISTILL = flags.DEFINE_float("distill_weight", 0.0, "Weight of the full network's soft targets.")
_MCT = flags.DEFINE_string(
    "mct_python", None, "Python of the environment of the entrant mct; see rivals/mct_script.py."
)
_TWICE = flags.DEFINE_bool("twice", True, "Train the full network for twice its epochs too.")
_MEASURE = flags.DEFINE_bool("measure", True, "Measure the .tflite files.")
_QUICK = flags.DEFINE_bool("quick", False, "One network, target and seed, few images and epochs.")

QUICK: dict[str, Any] = {"train_examples": 2000, "weights_epochs": 4, "epochs": 4}


def main() -> None:
    load_tensorflow()
    from benchmarks.rivals.contest import Cell, Contest, play
    from benchmarks.rivals.entrants import ENTRANTS, REFERENCES
    from benchmarks.rivals.networks import NETWORKS
    from benchmarks.rivals.results import row_text

    check_names("networks", _NETWORKS.value, NETWORKS)
    contest = Contest(
        Path(_FOLDER.value),
        data=_DATA.value or NETWORKS[_NETWORKS.value[0]].data,
        data_dir=_DATA_DIR.value,
        model_file=_MODEL_FILE.value,
        test_dirs=tuple(_TEST_DIRS.value),
        train_examples=_EXAMPLES.value,
        image_size=_SIZE.value,
        weights_epochs=_WEIGHTS.value,
        epochs=_EPOCHS.value,
        distill_weight=_DISTILL.value,
        mct_python=_MCT.value,
    )
    left_out = REFERENCES if _MCT.value else (*REFERENCES, "mct")
    names = _ENTRANTS.value or [name for name in ENTRANTS if name not in left_out]
    networks, targets, seeds = _NETWORKS.value, _targets(), [int(seed) for seed in _SEEDS.value]
    if _QUICK.value:
        contest = dataclasses.replace(contest, **QUICK)
        networks, targets, seeds = networks[:1], targets[:1], seeds[:1]
    check_names("entrants", names, ENTRANTS)
    contest.check(networks)
    contest.claim(networks)
    cells = [
        Cell(network, name, target, seed)
        for network, seed in itertools.product(networks, seeds)
        for name, target in [
            *((name, 1.0) for name in REFERENCES if _TWICE.value or name != "full_twice"),
            *((name, target) for target in targets for name in names),
        ]
        if name not in NETWORKS[network].without
    ]
    for number, cell in enumerate(cells, start=1):
        row = play(contest, cell, ENTRANTS[cell.entrant])
        print(
            f"{number}/{len(cells)}  {cell.name}  {row_text(row)}  {row['share']:.3f}x macs",
            file=sys.stderr,
            flush=True,
        )
    rows = contest.played(networks)
    if _MEASURE.value:
        from benchmarks.rivals.timing import measure_all

        measure_all(contest, rows)
    _write(contest.folder, networks, rows)


def _targets() -> list[float]:
    targets = [float(target) for target in _TARGETS.value]
    if not all(0 < target < 1 for target in targets):
        raise UsageError(f"`targets` must be shares between 0 and 1. Received: {_TARGETS.value}")
    return targets


def _write(folder: Path, networks: list[str], rows: list[dict[str, Any]]) -> None:
    from benchmarks.rivals import results
    from keras_nas.reporting.plots import save

    atomic_write_text(folder / "results.json", json.dumps(rows, indent=1))
    console = Console()
    of_metrics = {name: results.standings(rows, name) for name in results.metrics_of(rows)}
    for metric, found in of_metrics.items():
        for network, against in itertools.product(networks, ("macs", "latency_ms")):
            if any(each.network == network and getattr(each, against) for each in found):
                save(
                    results.plot(found, network, against),
                    folder / f"{network}_{metric}_{against}.png",
                )
        console.print(f"{results.quality_of(metric).label}:")
        print("\n".join(results.references(found)))
        console.print(results.results_table(found))
    found = next(iter(of_metrics.values()))
    for name, what in results.MEASURED.items():
        if any(getattr(each, name) for each in found):
            console.print(f"{what}:")
            console.print(results.results_table(found, name))
    print(folder / "results.json")


if __name__ == "__main__":
    run_app(main)
