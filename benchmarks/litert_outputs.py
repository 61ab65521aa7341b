"""Runs one .tflite on saved inputs; a program of its own that another machine's Python can run.

    python litert_outputs.py MODEL INPUTS.npy OUTPUTS.npy

INPUTS holds real numbers, one sample a row. They are quantised by the file's own scales where its
input is an integer, and OUTPUTS are the outputs as they come, integers where the file has such.
"""

import platform
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(model: str, inputs: str, outputs: str) -> None:
    interpreter = Interpreter(model)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for sample in np.load(inputs):
        interpreter.set_tensor(source["index"], quantize(sample[None], source))
        interpreter.invoke()
        results.append(interpreter.get_tensor(target["index"])[0].copy())
    np.save(outputs, np.stack(results))
    print(platform.machine())


def quantize(sample: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero_point = detail["quantization"]
    if not scale:
        return sample.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    rounded = np.round(sample / scale) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(detail["dtype"])


if __name__ == "__main__":
    main(*sys.argv[1:])
