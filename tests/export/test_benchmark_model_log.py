"""The parser of `benchmark_model`'s output, on published logs of each of its forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.benchmark_model_log import (
    BenchmarkModelError,
    Replaced,
    RunStatistics,
    TypeTime,
    parse,
    parse_profile,
)

LOGS = Path(__file__).parent / "benchmark_model_logs"


def read(name: str) -> str:
    return (LOGS / name).read_text()


def test_reads_the_result_the_runs_and_the_memory():
    log = parse(read("percentiles.txt"))
    assert (log.init_ms, log.first_ms, log.warmup_mean_ms) == (6.395, 2.761, 3.24358)
    assert log.mean_ms == 2.94227
    assert log.inference == RunStatistics(
        337, 2.94227, 2.881, 2.703, 2.605, 20.356, 1.19, 2.647, 2.781, 3.169
    )
    assert log.warmup is not None
    assert (log.warmup.count, log.warmup.median_ms) == (153, 2.761)
    assert (log.memory_init_mb, log.memory_overall_mb) == (39.4531, 40.8281)
    assert log.peak_memory_mb is None
    assert log.delegation is None
    assert log.profile.operations == []


def test_runs_without_percentiles_have_no_median():
    log = parse(read("peak_memory_2020.txt"))
    assert log.inference == RunStatistics(
        50, 33.2094, 32.891, 33.978, 32.641, 34.005, 0.45, None, None, None
    )
    assert (log.memory_init_mb, log.memory_overall_mb) == (0.0, 12.8672)


def test_a_single_run_is_its_own_mean_and_median():
    log = parse(read("logcat_brief.txt"))
    assert log.warmup is not None
    assert log.inference is not None
    assert (log.warmup.count, log.warmup.mean_ms, log.warmup.min_ms) == (1, 2732.148, 2732.148)
    assert log.warmup.median_ms == 2732.148
    assert (log.inference.mean_ms, log.inference.p95_ms) == (2719.85, 3025.403)
    assert log.mean_ms == 2719.85
    assert log.memory_overall_mb == 337


def test_reads_the_form_before_2019():
    log = parse(read("before_2019.txt"))
    assert (log.mean_ms, log.init_ms, log.warmup_mean_ms) == pytest.approx(
        (66.7676, 9.933, 76.6059)
    )
    assert log.first_ms is None
    assert log.inference is not None
    assert log.inference.count == 15


def test_reads_the_peak_from_periodic_monitoring():
    text = read("percentiles.txt") + (
        "INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.2383\n"
        "INFO: Memory status at the end of exeution:\nINFO: - VmRSS              : 13 MB\n"
    )
    assert parse(text).peak_memory_mb == 93.2383


def test_reads_tables_with_start_times_and_leaves_the_initialisation_out():
    log = parse(read("start_column.txt"))
    assert [op.type for op in log.profile.operations] == ["CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX"]
    conv = log.profile.operations[0]
    assert conv.name == "[MobilenetV1/MobilenetV1/Conv2d_0/Relu6]:0"
    assert (conv.avg_ms, conv.times_called) == (60.957, 1)
    assert conv.share == pytest.approx(60.957 / (60.957 + 49.870 + 0.233))
    assert log.profile.types[0] == TypeTime("CONV_2D", 15, 2651.853, pytest.approx(0.89897))
    assert len(log.profile.types) == 3
    assert log.inference is not None
    assert log.inference.count == 50  # not the line "Timings (microseconds): count=50 …"


def test_reads_rows_of_the_delegate_and_counts_every_call():
    profile = parse(read("delegate_rows.txt")).profile
    assert [op.type for op in profile.operations] == [
        "QUANTIZE",
        "Convolution (NHWC, QC8) IGEMM",
        "Convolution (NHWC, QC8) DWConv",
        "Add (ND, QS8)",
        "TFLite_Detection_PostProcess",
    ]
    depthwise = profile.operations[2]
    assert depthwise.avg_ms == pytest.approx(13 * 0.051)
    assert profile.operations[4].name.endswith("StatefulPartitionedCall:0]:266")
    assert sum(op.share for op in profile.operations) == pytest.approx(1)
    assert [t.type for t in profile.types] == [
        "Convolution (NHWC, QC8) GEMM",
        "Convolution (NHWC, QC8) DWConv",
    ]


def test_reads_csv_with_start_times():
    profile = parse_profile(read("profile_start.csv"))
    assert len(profile.operations) == 5
    assert profile.operations[3].avg_ms == 0.000406285
    assert profile.operations[4].name == "[Identity]:11"
    assert profile.types == []


def test_reads_csv_without_start_times_and_commas_in_types_and_names():
    profile = parse_profile(
        "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
        "============================== Run Order ==============================\n"
        "node type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
        "Convolution (NHWC, F32) IGEMM, 0.25, 0.25, 25%, 25%, 0, 1, Delegate/Conv (NHWC, F32):0\n"
        "Fully Connected (NC, F32) GEMM, 0.7, 0.375, 75%, 100%, 0, 2, [a, b]:1\n\n"
        "============================== Summary by node type ==============================\n"
        "node type, count, avg_ms, avg %, cdf %, mem KB, times called\n"
        "Fully Connected (NC, F32) GEMM, 1, 0.75, 75%, 75%, 0, 2\n"
    )
    first, second = profile.operations
    assert (first.type, first.name) == (
        "Convolution (NHWC, F32) IGEMM",
        "Delegate/Conv (NHWC, F32):0",
    )
    assert (second.type, second.name) == ("Fully Connected (NC, F32) GEMM", "[a, b]:1")
    assert (second.avg_ms, second.share) == (0.75, 0.75)
    assert profile.types == [TypeTime("Fully Connected (NC, F32) GEMM", 1, 0.75, 0.75)]


def test_a_delegates_own_table_takes_the_place_of_its_line():
    header = (
        "\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]"
        "\t  [mem KB]\t[times called]\t[Name]\n"
    )

    def row(kind: str, ms: float, name: str) -> str:
        return f"\t{kind:>24}\t 0.000\t {ms}\t {ms}\t 1.0%\t 1.0%\t 0.000\t 1\t{name}\n"

    order = "============================== Run Order ==============================\n"
    profile = parse_profile(
        "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
        + order
        + header
        + row("CAST", 1.0, "[cast]:0")
        + row("TfLiteXNNPackDelegate", 8.0, "[out]:9")
        + row("SOFTMAX", 1.0, "[probabilities]:2")
        + "\nDelegate internal: \n"
        + order
        + header
        + row("Convolution (NHWC, F32) GEMM", 6.0, "Convolution (NHWC, F32) GEMM:0")
        + row("Add (ND, F32)", 2.0, "Add (ND, F32):1")
    )
    assert [op.type for op in profile.operations] == [
        "CAST",
        "Convolution (NHWC, F32) GEMM",
        "Add (ND, F32)",
        "SOFTMAX",
    ]
    assert [op.share for op in profile.operations] == pytest.approx([0.1, 0.6, 0.2, 0.1])


@pytest.mark.parametrize(
    ("line", "delegation"),
    [
        (
            "Explicitly applied GPU delegate, and the model graph will be completely executed by "
            "the delegate.",
            "complete",
        ),
        (
            "Explicitly applied XNNPACK delegate, and the model graph will be partially executed "
            "by the delegate w/ 3 delegate kernels.",
            "partial",
        ),
        (
            "Though NNAPI delegate is explicitly applied, the model graph will not be executed by "
            "the delegate.",
            "none",
        ),
    ],
)
def test_tells_how_much_the_delegate_took(line: str, delegation: str):
    log = parse(f"INFO: {line}\n" + read("percentiles.txt"))
    assert log.delegation == delegation
    assert log.kernels == (3 if delegation == "partial" else None)


def test_logcats_threadtime_prefix_is_taken_off():
    text = read("logcat_threadtime.txt") + (
        "05-31 10:31:14.000 21767 21767 I tflite  : count=50 first=4 curr=4 min=4 avg=4 std=0\n"
        "05-31 10:31:14.000 21767 21767 I tflite  : Inference timings in us: Init: 1, First "
        "inference: 2, Warmup (avg): 3, Inference (avg): 4\n"
    )
    log = parse(text)
    assert (log.delegation, log.mean_ms) == ("none", 0.004)
    assert log.inference is not None
    assert log.inference.count == 50


def test_reads_what_a_delegate_took():
    log = parse(read("logcat_brief.txt"))
    assert log.replaced == [Replaced("TfLiteXNNPackDelegate", 1036, 1097, 23)]
    assert parse(read("percentiles.txt")).replaced == []


def test_a_failed_run_says_why():
    with pytest.raises(BenchmarkModelError, match=r"Failed to apply XNNPACK delegate\.$"):
        parse(read("xnnpack_failed.txt"))


def test_an_empty_log_is_an_error():
    with pytest.raises(BenchmarkModelError, match="it printed nothing"):
        parse("\n")


@given(st.text(max_size=400))
def test_any_text_is_refused_without_another_error(text: str):
    assert parse_profile(text).operations == []
    with pytest.raises(BenchmarkModelError, match="gave no result"):
        parse(text)


@given(st.integers(0, 60))
def test_a_log_cut_short_gives_no_wrong_profile(lines: int):
    whole = parse_profile(read("start_column.txt")).operations
    cut = parse_profile("\n".join(read("start_column.txt").splitlines()[:lines])).operations
    assert [op.name for op in cut] == [op.name for op in whole][: len(cut)]
