"""Rebuilding a gated network as the small one, exactly."""

from keras_nas.surgery.build import build, make_plan, unknown_layers
from keras_nas.surgery.dependence import Dependence
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.prediction import plan_costs, planned_graph, predict_costs
from keras_nas.surgery.rescue import rescue, rescued
from keras_nas.surgery.rounding import Rounding
from keras_nas.surgery.rules import register_rule
from keras_nas.surgery.rules.base import Rule, SameChannels
from keras_nas.surgery.streams import streams

__all__ = [
    "Dependence",
    "Plan",
    "Rounding",
    "Rule",
    "SameChannels",
    "build",
    "make_plan",
    "plan_costs",
    "planned_graph",
    "predict_costs",
    "register_rule",
    "rescue",
    "rescued",
    "streams",
    "unknown_layers",
]
