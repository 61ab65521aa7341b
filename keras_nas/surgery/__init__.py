"""Rebuilding a gated network as the small one, exactly."""

from keras_nas.surgery.build import build, make_plan, unknown_layers
from keras_nas.surgery.dependence import Dependence
from keras_nas.surgery.prediction import plan_costs, predict_costs
from keras_nas.surgery.rescue import rescue, rescued

__all__ = [
    "Dependence",
    "build",
    "make_plan",
    "plan_costs",
    "predict_costs",
    "rescue",
    "rescued",
    "unknown_layers",
]
