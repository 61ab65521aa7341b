"""What the methods with a gate on every channel share: surgery's settings, and finetuning."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import keras

from keras_nas import gates, surgery
from keras_nas.architecture import Architecture
from keras_nas.layers import Gate
from keras_nas.search.method import Method
from keras_nas.settings import flatten


class GatedMethod(Method):
    """A method that puts gates into the user's network and finetunes what surgery leaves of it.

    Its configuration has `order`, `include`, `exclude`, `round_to`, `align` and `finetune`.
    """

    @property
    @abc.abstractmethod
    def gate(self) -> type[Gate]:
        """The kind of its gates."""

    def make_supernet(self, model, from_file=False):
        """The gated copy of `model`, gates off; `model` itself if it was born with gates."""
        born_with_gates = any(isinstance(gate, self.gate) for gate in gates.find(model))
        supernet = model if born_with_gates else self.put_gates(model, from_file)
        gates.set_mode(supernet, "off")
        return supernet

    def put_gates(self, model: keras.Model, from_file: bool = False) -> keras.Model:
        """A gated copy of a network that has no gates."""
        return gates.insert(
            model,
            self.gate,
            order=self.config.order,
            include=list(self.config.include) or None,
            exclude=list(self.config.exclude) or None,
        )

    def architecture(
        self,
        supernet: keras.Model,
        seed: int | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Architecture:
        """What the hard gates keep; they are set to it where `round_to` changes their masks."""
        architecture = Architecture.from_gates(
            supernet,
            method=self.name,
            source=source,
            settings=flatten(self.config),
            seed=seed,
            round_to=self.config.round_to,
            align=self.config.align,
        )
        if self.config.round_to > 1:
            gates.apply(supernet, architecture)
        return architecture

    def rebuild(self, supernet, architecture):
        return surgery.build(supernet, architecture, align=self.config.align)

    def original(self, supernet):
        return surgery.build(supernet, None)

    def finetune(self, small, context, name="finetune"):
        """Trains the small network's weights, which are the gated one's; nothing for 0 epochs."""
        return self.train(name, small, self.config.finetune, context)
