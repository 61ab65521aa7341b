"""Rebuilding a gated network as the small one, exactly."""

from keras_nas.surgery.build import build, make_plan, unknown_layers
from keras_nas.surgery.prediction import plan_costs, predict_costs
from keras_nas.surgery.rescue import rescue

__all__ = ["build", "make_plan", "plan_costs", "predict_costs", "rescue", "unknown_layers"]
