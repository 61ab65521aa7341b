"""How much each channel is worth, without a search: scores, budgets, the start of a search."""

from keras_nas.importance.branches import Branch, Shortened, removable, shorten
from keras_nas.importance.budget import Budget, Latency
from keras_nas.importance.criteria import criteria, random, register, score
from keras_nas.importance.gammas import gamma
from keras_nas.importance.kernel_norms import l1, l2
from keras_nas.importance.prune import prune
from keras_nas.importance.pruning_steps import prune_in_steps, shares
from keras_nas.importance.start_logits import start_logits
from keras_nas.importance.taylor import taylor
from keras_nas.surgery.gate_groups import Group, tied_groups

__all__ = [
    "Branch",
    "Budget",
    "Group",
    "Latency",
    "Shortened",
    "criteria",
    "gamma",
    "l1",
    "l2",
    "prune",
    "prune_in_steps",
    "random",
    "register",
    "removable",
    "score",
    "shares",
    "shorten",
    "start_logits",
    "taylor",
    "tied_groups",
]
