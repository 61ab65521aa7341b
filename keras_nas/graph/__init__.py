"""Reading functional models, and copying them."""

from keras_nas.graph.ir import Graph, Node, Value
from keras_nas.graph.read import read

__all__ = ["Graph", "Node", "Value", "read"]
