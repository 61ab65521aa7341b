from __future__ import annotations

import pytest
from rich.console import Console

from keras_nas.reporting.run_tables import networks_table
from keras_nas.reporting.summary import findings
from keras_nas.reporting.tables import format_cell, format_count, results_table

ORIGINAL = {"top1": 0.8729, "params": 174970, "macs": 20183936, "size": 892209}
ROWS = {
    "original": ORIGINAL,
    "pruned": {"top1": 0.3692, "params": 48500, "macs": 7670000, "size": 386000},
    "finetuned": {"top1": 0.8638, "params": 48500, "macs": 7670000, "size": 386000},
    "original.tflite": {"top1": 0.8729, "size": 707000, "latency_ms": 0.206},
    "small_dynamic_int8.tflite": {"top1": 0.8638, "size": 67000, "latency_ms": 0.0551},
}


def shown(rows, width=80):
    console = Console(width=width, record=True, force_terminal=False)
    console.print(results_table(rows))
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "text"), [(950, "950"), (46210, "46.2 k"), (312.4e6, "312 M"), (15.47e9, "15.5 G")]
)
def test_counts_have_three_digits(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("top1", "36.92"),
        ("params", "48.5 k (0.28×)"),
        ("macs", "7.67 M (0.38×)"),
        ("size", "0.39 MB"),
        ("latency_ms", ""),
    ],
)
def test_cells_stand_beside_the_original(name, text):
    assert format_cell(name, ROWS["pruned"], ORIGINAL) == text


def test_the_whole_table_fits_80_columns():
    text = shown(ROWS)
    for part in ("original.tflite", "small int8.tflite", "0.38×", "0.206", "0.055", "median ms"):
        assert part in text
    assert "…" not in text
    rows = [line for line in text.splitlines() if line.strip()]
    assert len(rows) == 2 + len(ROWS)


def test_columns_that_no_row_has_are_left_out():
    text = shown({"original": ORIGINAL})
    assert "median ms" not in text
    assert "PSNR" not in text


def test_super_resolution_shows_psnr_and_ssim():
    text = shown({"bicubic": {"psnr_y": 31.234, "ssim_y": 0.91234}})
    assert "31.23" in text
    assert "0.9123" in text


def test_names_stay_whole_beside_two_metrics():
    costs = {"params": 54_400, "macs": 12_900_000_000, "size": 350_000}
    rows = {
        "original": {"psnr_y": 39.54, "ssim_y": 0.9476, **costs},
        "small_dynamic_int8.tflite": {"psnr_y": 39.59, "size": 80_000, "latency_ms": 126.467},
    }
    text = shown(rows)
    assert "small int8.tflite" in text
    assert "…" not in text


def test_the_console_leaves_the_second_metrics_to_the_page():
    text = shown({"original": {"top1": 0.87, "top5": 0.99, "miou": 0.5, "pixel_accuracy": 0.9}})
    assert "top-1 %" in text
    assert "mean IoU" in text
    assert "99.00" not in text
    assert "90.00" not in text


def test_findings_say_what_was_gained():
    rows = {**ROWS, "gated": {"top1": 0.3692}, "reestimated": {"top1": 0.8012}}
    records = [
        {"delta": 10.0, "undecided": 12, "channels": 560},
        {"delta": 1e4, "undecided": 0, "channels": 560},
    ]
    text = "\n".join(findings({"rows": rows, "speedup": 1.43}, records))
    assert "560 (further than 1e-3 from 0 and 1) by δ: 10: 12, 1e+04: 0" in text
    assert "after surgery (36.92) equals" in text
    assert "top-1 with its statistics estimated anew: 80.12." in text
    assert "0.38× the MACs, top-1 0.91 points below" in text
    assert "1.43× as fast" in text


def test_findings_warn_of_files_that_are_cut_in_more_partitions():
    lines = findings({"splitting": ["small.tflite: 0.4× the macs, but 3 partitions"]}, [])
    assert lines == ["Warning: small.tflite: 0.4× the macs, but 3 partitions."]


def test_findings_do_not_hide_a_surgery_that_differs():
    rows = {**ROWS, "gated": {"top1": 0.40}}
    (line, _) = findings({"rows": rows}, [])
    assert "differs from" in line


def test_findings_have_each_metric_s_unit_and_digits():
    costs = {"macs": 100}
    rows = {
        "original": {"psnr_y": 39.5, "ssim_y": 0.95, **costs},
        "finetuned": {"psnr_y": 39.625, "ssim_y": 0.9, **costs},
    }
    assert findings({"rows": rows}, []) == [
        "After finetuning: 1.00× the MACs, PSNR (Y) 0.12 dB above the original's."
    ]
    only_ssim = {name: {"ssim_y": row["ssim_y"], **costs} for name, row in rows.items()}
    assert findings({"rows": only_ssim}, []) == [
        "After finetuning: 1.00× the MACs, SSIM (Y) 0.0500 below the original's."
    ]


def test_a_trained_baseline_is_what_the_others_are_compared_with():
    rows = {
        "original": {"top1": 0.9, "macs": 600, "params": 60},
        "baseline": {"top1": 0.94, "macs": 200, "params": 20},
        "finetuned": {"top1": 0.93, "macs": 100, "params": 5},
    }
    assert findings({"rows": rows}, []) == [
        "After finetuning: 0.50× the MACs, top-1 1.00 points below the baseline's."
    ]
    cells = {row[0]: row[1:] for row in networks_table(rows).rows}
    assert cells["baseline"] == ["trained by itself", "94.00", "20 (1.00×)", "200 (1.00×)"]
    assert cells["finetuned"][2:] == ["5 (0.25×)", "100 (0.50×)"]
    text = shown(rows)
    assert "3.00×" in text
    assert "0.25×" in text


def test_findings_hold_the_budget_against_what_was_measured():
    records = [
        {"stage": "architecture", "resource": 0.3, "target_latency_ms": 0.2},
        {"stage": "architecture", "resource": 0.198, "target_latency_ms": 0.2},
    ]
    assert findings({}, records) == [
        "Budget: 0.2 ms at most; 0.198 ms are left by the latency table."
    ]
    assert findings({"rows": {"small.tflite": {"latency_ms": 0.21}}}, records) == [
        "Budget: 0.2 ms at most; 0.198 ms are left by the latency table; "
        "small.tflite takes 0.21 ms here, 5.0 % over budget."
    ]
    counted = [{"stage": "architecture", "resource": 20_345_678.0, "target_flops": 20_370_000.0}]
    assert findings({}, counted) == [
        "Budget: 20,370,000 flops at most; the search left 20,345,678."
    ]


def test_findings_of_a_run_that_has_not_begun():
    assert findings({}, []) == []


def test_findings_set_the_found_network_beside_random_ones():
    rows = {
        "original": {"top1": 0.8, "macs": 2000},
        "finetuned": {"top1": 0.825, "macs": 1000},
        "random_1": {"top1": 0.81, "macs": 1002},
        "random_2": {"top1": 0.826, "macs": 998},
    }
    assert findings({"rows": rows}, [])[-1] == (
        "The found network's top-1 %: 82.50 at 1,000 MACs. The mean of 2 random networks of its "
        "space, trained as it was: 81.80 (81.00 to 82.60) at 998 to 1,002 MACs."
    )
