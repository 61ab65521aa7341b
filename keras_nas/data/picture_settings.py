"""The settings of how pictures are read, which all apps share; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_nas.data.broken_pictures import SKIP, STOP
from keras_nas.data.pixels import PIXELS, STANDARDIZED, pixel_range
from keras_nas.errors import UsageError
from keras_nas.settings import check_choices, setting, settings_of


@dataclasses.dataclass(frozen=True)
class PictureSettings:
    """How pictures are read, and what a network is given of them."""

    pixels: str = setting(
        STANDARDIZED,
        "Pixels that the network wants: standardized by the data's mean and deviation, a range, or "
        "what preprocess_input of that mode or module of keras.applications makes.",
        PIXELS,
    )
    pixel_mean: tuple[float, ...] = setting(
        (),
        "With pixel_std, in place of pixels: a pixel v of 0 to 255 enters as (v - mean) / std; one "
        "number, or one for each channel.",
    )
    pixel_std: tuple[float, ...] = setting((), "See pixel_mean.")
    channels: int = setting(
        0, "Channels of one's own pictures: 3, or 1 for grey; 0 for the data set's own.", (0, 1, 3)
    )
    broken: str = setting(
        STOP, "At one of one's own pictures that cannot be read: stop, or skip it.", (STOP, SKIP)
    )

    def __post_init__(self):
        check_choices(self)
        pixel_range(self.pixels, self.pixel_mean, self.pixel_std)

    def options(self, data: str, known: frozenset[str]) -> dict[str, Any]:
        """The settings as the options of a data set.

        Args:
            data: Its name, for messages.
            known: The options that it has; see `keras_nas.data.registry.options`.

        Raises:
            UsageError: A setting was given that the data set does not have.
        """
        given = {}
        for field in settings_of(self):
            value = getattr(self, field.name)
            if field.name in known:
                given[field.name] = value
            elif value != field.default:
                raise UsageError(
                    f"`{field.name}` must be {field.default!r} for --data={data}. "
                    f"Received: {field.name}={value!r}"
                )
        return given
