"""Prints the losses of 20 steps of each stage of DNAL, FGNAS and DSO as JSON.

Run by test_distribution.py:

    python -m tests.search.replica_losses none|mirrored|multi_worker
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import tensorflow as tf

from keras_nas import gates
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.models import DsoSpace
from keras_nas.runs.environment import make_strategy
from keras_nas.search import DnalConfig, FgnasConfig, Session, TrainConfig, run_stage
from keras_nas.search.dnal_fading import FadingStage
from keras_nas.search.dnal_stages import GateStage, JointStage
from keras_nas.search.dso.config import DsoConfig
from keras_nas.search.dso.edge_gammas import fixed_gammas
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_stage import EdgeStage
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.trainer import TrainStage
from tests.training.nets import PAPER, random_images, small_net

TRAINING = TrainConfig(epochs=4, learning_rate=0.05, weight_decay=1e-3)


def synchronised(model: keras.Model) -> keras.Model:
    """The model with new weights and a BatchNormalization that sees the global batch."""

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=clone)


def losses(strategy: tf.distribute.Strategy) -> dict[str, list[float]]:
    data = random_images(78, 16)  # the last batch of an epoch has 14 examples
    found = {}
    kinds = {"weights": None, "architecture": GateStage, "joint": JointStage, "fading": FadingStage}
    for name, kind in kinds.items():
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = synchronised(small_net())
            task = Classification.of(model)
            if kind is None:
                stage = TrainStage("weights", model, data, None, task, TRAINING)
            else:
                model = gates.insert(model, ScaledSigmoidGate)
                none = TrainConfig(epochs=0)
                target = {"target_macs": "0.5x", "penalty": "macs"} if name == "fading" else {}
                config = DnalConfig(
                    lambda_a=1e-3, delta_max=10.0, weights=none, architecture=TRAINING,
                    finetune=TRAINING, **target,
                )  # fmt: skip
                stage = kind(model, data, None, task, config)
            records = run_stage(stage, Session(progress="off"))
            evaluated = Evaluator(model, task, data)()
        found[name] = [record["loss"] for record in records]
        found[f"{name}_metrics"] = [record["top1"] for record in records]
        found[f"{name}_evaluated"] = [evaluated["loss"], evaluated["top1"]]
    return found | ste_losses(strategy) | edge_losses(strategy)


def ste_losses(strategy: tf.distribute.Strategy) -> dict[str, list[float]]:
    """FGNAS' steps: with this λ, 14 of the 24 gates close in the third epoch, all that may."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = gates.insert(synchronised(small_net()), STEGate)
        stage = FgnasStage(
            model, random_images(78, 16), None, Classification.of(model),
            FgnasConfig(**PAPER, gate_learning_rate=0.01, lambda_r=3e-5, search=TRAINING),
        )  # fmt: skip
        records = run_stage(stage, Session(progress="off"))
        copies = [strategy.experimental_local_results(logits.value) for logits in stage.logits]
    assert all((copy.numpy() == group[0].numpy()).all() for group in copies for copy in group)
    return {
        "ste": [record["loss"] for record in records],
        "ste_kept": [record["kept"] for record in records],
        "ste_gaps": [float(gap) for gate in stage.gates for gap in gate.scores()],
    }


def edge_losses(strategy: tf.distribute.Strategy) -> dict[str, list[float]]:
    """DSO's alternating steps; the edges' scales, the same on each replica, beside the losses.

    With max poolings at a learning rate of 0.05 the losses of one and of two replicas are 4e-5
    apart in float32 and 1e-15 in float64 (of average poolings 1e-5 in float32): it is rounding,
    which the switches of max and ReLU amplify. So this net has average poolings and a rate of 0.02.
    """
    keras.utils.set_random_seed(0)
    space = DsoSpace((8, 8, 2), 4, stage_widths=(4,), stage_blocks=(1,), levels=2,
                     operations=("sep3", "avg3"))  # fmt: skip
    with strategy.scope():
        supernet = synchronised(space.supernet())
        graph = EdgeGraph(supernet)
        training = dataclasses.replace(TRAINING, learning_rate=0.02)
        config = DsoConfig(gamma=0.05, architecture=training, patience=0)
        stage = EdgeStage(
            supernet, random_images(94, 16, seed=1), random_images(94, 16, seed=2), None,
            Classification.of(supernet), config, graph, fixed_gammas(graph, config.gamma),
        )  # fmt: skip
        records = run_stage(stage, Session(progress="off"))
        scales = [strategy.experimental_local_results(scale.value) for scale in stage.scales]
    replicas = [[float(copy[0]) for copy in copies] for copies in scales]
    assert all(len(set(copies)) == 1 for copies in replicas), replicas
    return {
        "edges": [record["loss"] for record in records],
        "edges_edge_loss": [record["edge_loss"] for record in records],
        "edges_live": [record["live_edges"] for record in records],
        "edges_scales": [copies[0] for copies in replicas],
    }


if __name__ == "__main__":
    print(json.dumps(losses(make_strategy(sys.argv[1], 2))))
