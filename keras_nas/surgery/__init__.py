"""Rebuilding a gated network as the small one, exactly."""

from keras_nas.surgery.build import build, make_plan, unknown_layers

__all__ = ["build", "make_plan", "unknown_layers"]
