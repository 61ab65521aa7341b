"""What the BUILD file of a folder of tests holds."""

load("@rules_python//python:defs.bzl", "py_library", "py_test")

COMMON = [
    "//keras_nas",
    "@pypi//hypothesis",
    "@pypi//keras",
    "@pypi//numpy",
    "@pypi//pytest",
    "@pypi//tensorflow",
]

def test_folder(deps = [], test_deps = [], exclude = []):
    """A py_test for each test_*.py, and one py_library, named after the folder, of the rest.

    Args:
        deps: what the tests and the library need beside COMMON and //tests.
        test_deps: what the tests alone need.
        exclude: tests that are left out.
    """
    folder = native.package_name()
    name = folder.split("/")[-1]
    shared = COMMON + deps + ([] if folder == "tests" else ["//tests"])
    py_library(
        name = name,
        srcs = native.glob(["*.py"], exclude = ["test_*.py"], allow_empty = True),
        visibility = ["//tests:__subpackages__"],
        deps = shared,
    )
    for test in native.glob(["test_*.py"], exclude = exclude):
        py_test(
            name = test[:-len(".py")],
            size = "large",
            srcs = [test, "//tests:bazel_main.py"],
            args = [folder + "/" + test],
            data = ["//apps:flagfiles", "//:pyproject.toml"] +
                   native.glob(["*/**"], exclude = ["**/__pycache__/**"], allow_empty = True),
            main = "//tests:bazel_main.py",
            deps = [":" + name] + shared + test_deps,
        )
