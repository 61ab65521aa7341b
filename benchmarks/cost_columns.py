"""The cost columns of the papers' tables that need no training, counted and compared.

    python -m benchmarks.cost_columns

prints each baseline row: the printed value, ours, and the difference. It ends with exit code 1 if
one is outside its tolerance: 0.5 % for DNAL, 1 % for FGNAS and DSO-NAS. Rows that cannot be reached
from what the paper says are shown with the reason, and do not decide. It takes about 30 s on two
cores.

What is counted: macs are the multiply-adds of convolutions, Dense layers and matrix products, at
batch 1; biases, BatchNormalization, activations and pooling count 0. DNAL and DSO-NAS print macs
under the name "FLOPs", FGNAS prints flops = 2 macs. Params are kernels, biases, and the scales and
offsets of BatchNormalization, without its moving statistics.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import keras

import keras_nas as kn

DNAL, FGNAS, DSO = "DNAL", "FGNAS", "DSO-NAS"
TOLERANCES = {DNAL: 0.005, FGNAS: 0.01, DSO: 0.01}
SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
LINE = "{:8}{:>5}  {:29}{:7}{:>12}{:>15}{:>9}  {}"

HD_INPUT = (360, 640, 3)
NETWORKS: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...] | None]] = {
    "VGG16 (CIFAR)": (kn.models.vgg16_cifar, None),
    "VGG19 (CIFAR)": (kn.models.vgg19_cifar, None),
    "ResNet-56 (CIFAR)": (kn.models.resnet56_cifar, None),
    "ResNet-20 (CIFAR)": (kn.models.resnet20_cifar, None),
    "ResNet-18 (CIFAR)": (kn.models.resnet18_cifar, None),
    "DenseNet-40 (CIFAR)": (kn.models.densenet40_cifar, None),
    "MobileNetV2 (CIFAR)": (kn.models.mobilenet_v2_cifar, None),
    "EfficientNet-B0 (10 classes)": (lambda: kn.models.efficientnet_b0(num_classes=10), None),
    "VGG16 (ImageNet)": (kn.models.vgg16, None),
    "ResNet-50 (ImageNet)": (kn.models.resnet50, None),
    "MobileNetV2 (ImageNet)": (kn.models.mobilenet_v2, None),
    "ProxylessNAS supernet": (kn.models.proxyless, None),
    "EDSR-baseline x2": (kn.models.edsr, HD_INPUT),
    "EDSR x2": (lambda: kn.models.edsr(filters=256, blocks=32, residual_scale=0.1), HD_INPUT),
    "MobileNet": (lambda: keras.applications.MobileNet(weights=None), None),
    "NASNet-A": (lambda: keras.applications.NASNetMobile(weights=None), None),
}


@dataclass(frozen=True)
class Row:
    """One number of a paper.

    Attributes:
        paper, table: Where it is printed.
        network: A name of `NETWORKS`.
        column: The attribute of `Costs` that the paper's column means.
        printed: The number as it is printed, None where the paper has none.
        unit: "", "K", "M" or "G".
        reason: Why the number cannot be reached; such a row does not decide the exit code.
    """

    paper: str
    table: str
    network: str
    column: str
    printed: str | None
    unit: str
    reason: str = ""


ROWS = (
    Row(DNAL, "I", "VGG16 (CIFAR)", "macs", "313.47", "M"),
    Row(DNAL, "I", "VGG16 (CIFAR)", "params", "14.99", "M"),
    Row(DNAL, "II", "ResNet-56 (CIFAR)", "macs", "125.49", "M"),
    Row(DNAL, "II", "ResNet-56 (CIFAR)", "params", "0.85", "M"),
    Row(DNAL, "III", "MobileNetV2 (CIFAR)", "macs", "91.17", "M"),
    Row(DNAL, "III", "MobileNetV2 (CIFAR)", "params", "2.30", "M"),
    Row(DNAL, "IV", "VGG16 (ImageNet)", "macs", "15.47", "G"),
    Row(DNAL, "IV", "VGG16 (ImageNet)", "params", "138.37", "M"),
    Row(DNAL, "V", "ResNet-50 (ImageNet)", "macs", "4.09", "G"),
    Row(DNAL, "V", "ResNet-50 (ImageNet)", "params", "25.55", "M"),
    Row(DNAL, "VI", "MobileNetV2 (ImageNet)", "macs", "300.79", "M"),
    Row(DNAL, "VI", "MobileNetV2 (ImageNet)", "params", "3.50", "M"),
    Row(DNAL, "VII", "ProxylessNAS supernet", "params", "16.0", "M"),
    Row(FGNAS, "3", "EfficientNet-B0 (10 classes)", "params", "4.0", "M"),
    Row(
        FGNAS, "4", "MobileNetV2 (ImageNet)", "params", "3.4", "M",
        "the figure of MobileNetV2's own paper, whose network has 3.50 M (DNAL prints 3.50)",
    ),
    Row(FGNAS, "4", "MobileNetV2 (ImageNet)", "flops", "600", "M"),
    Row(FGNAS, "5, 6", "VGG16 (CIFAR)", "flops", "627", "M"),
    Row(FGNAS, "6", "VGG19 (CIFAR)", "flops", "797", "M"),
    Row(
        FGNAS, "6", "ResNet-18 (CIFAR)", "flops", "26.0", "G",
        "the paper names no input size: 1.11 G at 32x32, 54.43 G (27.22 G macs) at 224x224",
    ),
    Row(FGNAS, "6", "ResNet-20 (CIFAR)", "flops", "81", "M"),
    Row(FGNAS, "6", "DenseNet-40 (CIFAR)", "flops", "566", "M"),
    Row(FGNAS, "8", "EDSR x2", "params", "40,712", "K"),
    Row(FGNAS, "8", "EDSR x2", "flops", "18,769.5", "G"),
    Row(FGNAS, "-", "EDSR-baseline x2", "params", None, "K"),
    Row(FGNAS, "-", "EDSR-baseline x2", "flops", None, "G"),
    Row(DSO, "2", "MobileNet", "params", "4.2", "M"),
    Row(DSO, "2", "MobileNet", "macs", "569", "M"),
    Row(DSO, "2", "NASNet-A", "params", "5.3", "M"),
    Row(DSO, "2", "NASNet-A", "macs", "564", "M"),
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A row with our count, in the row's unit.

    Attributes:
        row: What is printed.
        counted: What we count.
    """

    row: Row
    counted: float

    @property
    def difference(self) -> float | None:
        """(counted − printed) / printed; None where nothing is printed."""
        if self.row.printed is None:
            return None
        return self.counted / float(self.row.printed.replace(",", "")) - 1.0

    @property
    def failed(self) -> bool:
        """Whether it is outside the paper's tolerance, and no reason is known."""
        if self.difference is None or self.row.reason:
            return False
        return abs(self.difference) > TOLERANCES[self.row.paper]

    def __str__(self):
        row = self.row
        printed = "-" if row.printed is None else f"{row.printed} {row.unit}"
        difference = "" if self.difference is None else f"{self.difference:+z.2%}"
        verdict = "OUTSIDE" if self.failed else f"not reached: {row.reason}" if row.reason else ""
        counted = f"{self.counted:,.2f} {row.unit}"
        cells = (row.paper, row.table, row.network, row.column, printed, counted, difference)
        return LINE.format(*cells, verdict).rstrip()


def compare(rows: Iterable[Row] = ROWS) -> Iterator[Comparison]:
    """Counts the network of each row; each network is built once, rows of one network in a row."""
    for row in rows:
        yield Comparison(row, getattr(_costs(row.network), row.column) / SCALES[row.unit])


@functools.cache
def _costs(network: str) -> kn.costs.Costs:
    build, input_shapes = NETWORKS[network]
    costs = kn.costs.count(build(), input_shapes=input_shapes)
    keras.utils.clear_session()
    return costs


def main() -> int:
    """Prints the comparison; 1 if a row failed."""
    print(
        LINE.format("paper", "table", "network", "column", "printed", "ours", "diff.", "").rstrip()
    )
    failed = 0
    for comparison in compare():
        print(comparison, flush=True)
        failed += comparison.failed
    if failed:
        print(f"{failed} rows are outside their tolerance.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
