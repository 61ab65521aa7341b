"""How coverage is said, what a phone's log tells of it, and the warning of more partitions."""

from __future__ import annotations

import dataclasses

import pytest

from export.accelerators.coverage import Coverage, Left, count_left, of
from export.accelerators.phone_log import phone_coverage, with_phone
from export.accelerators.splitting import note_splitting, splitting
from export.benchmark_model_log import Replaced, parse
from export.benchmark_schema import BenchmarkResult, Device, ModelFile, Runtime

RESULT = "Inference timings in us: Init: 9, First inference: 9, Warmup (avg): 9, Inference (avg): 9"


def coverage(accelerator="xnnpack", nodes=64, taken=64, partitions=1, left=()):
    return Coverage(accelerator, "somebody", nodes, taken, partitions, list(left))


def test_coverage_is_said_in_one_line():
    gathers = coverage(taken=62, partitions=2, left=[Left("GATHER", 2)])
    assert str(gathers) == "XNNPACK takes 62 of 64 nodes in 2 partitions; left: GATHER ×2"
    assert gathers.short == "62/64 in 2"
    assert str(coverage("gpu")) == "The GPU delegate takes all 64 nodes in 1 partition"
    assert coverage("gpu").short == "whole"
    why = coverage("gpu", 5, 4, 1, [Left("MEAN", 1, "not documented")])
    assert str(why).endswith("4 of 5 nodes in 1 partition; left: MEAN ×1 (not documented)")
    unknown = coverage("nnapi", 5, 4, None)
    assert (str(unknown), unknown.short) == ("NNAPI takes 4 of 5 nodes", "4/5 in ?")


def test_the_form_survives_plain_types():
    found = coverage(left=[Left("GATHER", 2, "why")])
    assert Coverage.from_dict(dataclasses.asdict(found)) == found
    assert of([found], "xnnpack") is found
    assert of([found], "gpu") is None


def test_what_is_left_is_counted_by_operation_and_reason():
    left = [("MEAN", "a"), ("GATHER", "b"), ("GATHER", "b"), ("MEAN", "c")]
    assert count_left(left) == [Left("GATHER", 2, "b"), Left("MEAN", 1, "a"), Left("MEAN", 1, "c")]


def line(taken, nodes, delegate, parts, where="subgraph 0 (main)."):
    return (
        f"VERBOSE: Replacing {taken} out of {nodes} node(s) with delegate ({delegate}) node, "
        f"yielding {parts} partitions for {where}\n"
    )


@pytest.mark.parametrize(
    ("text", "taken", "partitions"),
    [
        (line(31, 31, "TfLiteGpuDelegateV2", 1, "the whole graph."), 31, 1),
        (line(29, 65, "TfLiteGpuDelegateV2", 2), 29, 1),
        (line(29, 65, "TfLiteGpuDelegateV2", 3), 29, None),
        (
            line(29, 65, "TfLiteGpuDelegateV2", 3) + "INFO: Explicitly applied GPU delegate, and "
            "the model graph will be partially executed by the delegate w/ 2 delegate kernels.\n",
            29,
            2,
        ),
    ],
)
def test_the_phone_tells_what_its_delegate_took(text, taken, partitions):
    text += line(25, 37, "TfLiteXNNPackDelegate", 2) + RESULT
    found = phone_coverage(parse(text), "gpu")
    assert found is not None
    assert (found.taken, found.partitions, found.left) == (taken, partitions, [])
    assert "log" in found.source
    assert phone_coverage(parse(text), "nnapi") is None


def test_nnapi_and_the_delegates_of_other_subgraphs():
    text = line(7, 9, "TfLiteNnapiDelegate", 2) + line(
        1, 2, "TfLiteNnapiDelegate", 2, "subgraph 1."
    )
    log = parse(text + RESULT)
    assert log.replaced == [Replaced("TfLiteNnapiDelegate", 7, 9, 2)]
    assert str(phone_coverage(log, "nnapi")) == "NNAPI takes 7 of 9 nodes in 1 partition"


def test_the_phones_word_stands_in_place_of_the_list():
    log = parse(line(3, 4, "TfLiteGpuDelegateV2", 2) + RESULT)
    by_list, xnnpack = coverage("gpu"), coverage()
    told = with_phone([by_list, xnnpack], log, "gpu")
    assert [one.accelerator for one in told] == ["gpu", "xnnpack"]
    assert told[0].taken == 3
    assert with_phone([by_list], log, "none") == [by_list]


def result(name, macs, coverages, threads=1, weights="float32"):
    return BenchmarkResult(
        device=Device("host", "a host", "x86_64", "Linux"),
        runtime=Runtime("ai_edge_litert", "2.3.0", "xnnpack"),
        model=ModelFile(name, "0" * 64, 10),
        input_shapes=[[1, 4]],
        dtype="float32",
        threads=threads,
        warmup=0,
        runs=1,
        mean_ms=1.0,
        weights_dtype=weights,
        macs=macs,
        coverage=list(coverages),
    )


def test_fewer_macs_in_more_partitions_is_a_warning():
    cut = coverage(taken=62, partitions=3, left=[Left("GATHER", 2)])
    results = [
        result("/a/original.tflite", 100, [coverage(), coverage("gpu", partitions=2)]),
        result("/a/small.tflite", 40, [cut, coverage("gpu", partitions=2)]),
    ]
    assert splitting(results[1], results) == [
        "0.40× the macs of original.tflite, but 3 partitions of XNNPACK in place of 1 (left: "
        "GATHER ×2): between partitions values go through memory"
    ]
    assert [len(noted.notes) for noted in note_splitting(results)] == [0, 1]


def test_other_files_are_no_warning():
    original = result("o.tflite", 100, [coverage()])
    cut = coverage(partitions=3)
    others = [
        result("as_large.tflite", 100, [cut]),
        result("int8.tflite", 40, [cut], weights="int8"),
        result("threads.tflite", 40, [cut], threads=2),
        result("unknown.tflite", 40, [coverage(partitions=None), coverage("nnapi", partitions=4)]),
        result("alike.tflite", 40, [coverage()]),
    ]
    results = [original, *others]
    assert [splitting(one, results) for one in results] == [[]] * 6
