"""Which networks no other one beats, and which rows of papers stand beside them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keras_nas.reporting.block_drawings import bend_around
from keras_nas.reporting.operation_plots import kernel_size, kernels_per_layer
from keras_nas.reporting.paper_rows import paper_rows
from keras_nas.reporting.pareto import Point, front, pareto_plot
from keras_nas.reporting.quality import QUALITIES

POINTS = st.lists(
    st.builds(Point, st.just("p"), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12
)


@given(POINTS)
def test_the_front_is_what_no_point_beats(points):
    line = front(points)
    for point in line:
        assert not any(
            other.macs <= point.macs
            and other.quality >= point.quality
            and (other.macs, other.quality) != (point.macs, point.quality)
            for other in points
        )
    for point in points:
        assert any(best.macs <= point.macs and best.quality >= point.quality for best in line)


def test_a_hair_s_difference_does_not_fill_the_plot():
    (top1,) = (quality for quality in QUALITIES if quality.key == "top1")
    (axes,) = pareto_plot([Point("a", 8e6, 0.8727), Point("b", 2e7, 0.8729)], top1).axes
    low, high = axes.get_ylim()
    assert (round(low, 2), round(high, 2)) == (86.78, 87.78)
    (axes,) = pareto_plot([Point("a", 8e6, 0.5), Point("b", 2e7, 0.9)], top1).axes
    low, high = axes.get_ylim()
    assert 48 > low > 45
    assert 92 < high < 95


def test_the_rows_of_the_papers_are_those_of_the_same_data_and_network():
    rows = paper_rows("cifar10", {"resnet56_cifar"})
    assert {row.network for row in rows} == {"resnet56_cifar"}
    assert min(row.macs for row in rows) == 1.68e6
    assert {row.network for row in paper_rows("cifar10", {"my.keras"})} > {"vgg16_cifar"}
    assert paper_rows("fashion_mnist", {"resnet56_cifar"}) == []


def test_fgnas_flops_are_halved():
    rows = [row for row in paper_rows("cifar10", {"vgg19_cifar"}) if "baseline" in row.method]
    assert [row.macs for row in rows] == [398.5e6]


def test_kernel_sizes_are_read_off_names():
    names = {"conv_3x3_relu": "3×3", "sep5": "5×5", "mb_7x7_e6": "7×7", "identity": None}
    assert {name: kernel_size(name) for name in names} == names
    assert kernels_per_layer({"a": ["identity"]}) is None


def test_arrows_of_a_block_go_around_its_operations():
    inches = (1.0, 1.0)
    assert bend_around((0, 0), (2, 0), [], inches) == 0
    assert bend_around((0, 0), (2, 0), [(1, 1)], inches) == 0
    # A positive bend bows by half its share of the chord's 2 inches, to the arrow's right.
    assert bend_around((0, 0), (2, 0), [(1, 0.05)], inches) == 0.18
    assert bend_around((0, 0), (2, 0), [(1, 0)], inches) == 0.28
    assert bend_around((0, 0), (2, 0), [(1, 0), (1, -0.3)], inches) == -0.28
