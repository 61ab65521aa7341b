"""Benchmarks can be imported side by side, as the tests do, whatever they call their flags."""

from __future__ import annotations

import importlib
import pkgutil

from absl import flags

import benchmarks


def test_importing_a_benchmark_defines_no_flag():
    for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
        importlib.import_module(module.name)
    owners = flags.FLAGS.flags_by_module_dict()
    assert [name for name in owners if name.startswith("benchmarks")] == []
