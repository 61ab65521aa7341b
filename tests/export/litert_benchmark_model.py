"""A `benchmark_model` for tests: runs the model in LiteRT and prints as TensorFlow's tool does.

A test puts a `#!` line with its own Python before this text and pushes it to the fake phone.
"""

import argparse
import resource
import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--graph", required=True)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--num_runs", type=int, default=50)
    parser.add_argument("--warmup_runs", type=int, default=1)
    parser.add_argument("--use_xnnpack", default="true")
    options = parser.parse_args()
    print(f"INFO: STARTING!\nINFO: Graph: [{options.graph}]")
    start = time.perf_counter()
    try:
        interpreter = Interpreter(options.graph, num_threads=options.num_threads)
        interpreter.allocate_tensors()
    except ValueError as error:
        print(f"ERROR: Failed to load the model: {error}\nERROR: Benchmarking failed.")
        return 1
    init = round(1e6 * (time.perf_counter() - start))
    for detail in interpreter.get_input_details():
        zeros = np.zeros(detail["shape"], detail["dtype"])
        interpreter.set_tensor(detail["index"], zeros)
    warmup = runs(interpreter, max(1, options.warmup_runs))
    measured = runs(interpreter, options.num_runs)
    print(
        f"INFO: Inference timings in us: Init: {init}, First inference: {warmup[0]}, "
        f"Warmup (avg): {statistics.fmean(warmup):g}, "
        f"Inference (avg): {statistics.fmean(measured):g}"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        "INFO: Memory footprint delta from the start of the tool (MB): "
        f"init={peak / 2:g} overall={peak:g}"
    )
    return 0


def runs(interpreter: Interpreter, number: int) -> list[int]:
    times = []
    for _ in range(number):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(round(1e6 * (time.perf_counter() - start)))
    low, middle, high = np.percentile(times, (5, 50, 95), method="nearest")
    print(
        f"INFO: count={number} first={times[0]} curr={times[-1]} min={min(times)} "
        f"max={max(times)} avg={statistics.fmean(times):g} std={statistics.pstdev(times):.0f} "
        f"p5={low} median={middle} p95={high}\n"
    )
    return times


if __name__ == "__main__":
    sys.exit(main())
