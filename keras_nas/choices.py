"""The names that settings choose from and that several parts know; this file imports nothing."""

from __future__ import annotations

ANY_NAME = ":NAME"
"""How one of `Choices` ends that stands for every text that begins as it does."""


class Choices(tuple):
    """Choices, of which one such as `"tfds:NAME"` stands for every text that begins with `tfds:`.

    >>> "tfds:beans" in Choices(("cifar10", "tfds:NAME"))
    True
    """

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        return super().__contains__(value) or self.family_of(value) is not None

    def family_of(self, value: object) -> str | None:
        """The choice with `:NAME` that a text belongs to; None for none."""
        head, colon, name = str(value).partition(":")
        family = head + ANY_NAME
        return family if colon and name and super().__contains__(family) else None


FETCH_TASKS = Choices(
    ("fashion_mnist", "cifar10", "imagenet2012", "super_resolution", "segmentation", "tfds:NAME")
)
"""What `keras_nas.data.fetch` can make the data of ready."""

RESOURCES = ("params", "macs", "flops", "latency_ms")
"""What a search can count, and relax for a gradient."""

BUDGETS = (*RESOURCES, "bytes", "ram")
"""What a budget may be of: besides, bytes of the .tflite and bytes of its activations' arena."""

PENALTIES = ("channels", *RESOURCES, "bytes")
"""What a penalty of channels may count of each: 1, or its price in a resource."""

FILE_FORMATS = ("float32", "float16", "dynamic_int8", "int8")
"""The formats whose files' bytes can be predicted."""

ARENA_DTYPES = ("float32", "int8")
"""The dtypes of activations whose arena can be predicted."""

FORMS_OF = {"bytes": FILE_FORMATS, "ram": ARENA_DTYPES}
"""The forms of a network that a budget may be of, by the budget; the first by default."""

LATENCY_DTYPES = ("float32", "int8")
"""The dtypes of a latency table's conditions."""

LATENCY_STATISTICS = ("median", "quartile", "min")
"""Which of a point's times a latency table takes."""
