"""An image-to-image model on an image of any size, tile by tile, with the untiled result.

Each window holds a tile and, around it, as many pixels of context as the model looks; only what
the whole window decides is kept. At the image's border the window ends where the image does, so
the model's own padding does there what it does on the whole image.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.tasks.receptive_field import receptive_radius


class TiledInference:
    """Runs a model on images tile by tile.

    The result equals that of the model on the whole image to float rounding. All windows of a
    image have one size, and a Keras model's graph is traced once for images of every size.

    Example:

    ```python
    enlarge = TiledInference(model, tile=128)
    high = enlarge(low)                      # (510, 640, 3) float32 -> (1020, 1280, 3) float32
    ```

    Args:
        model: From (batch, h, w, c) to (batch, scale·h, scale·w, c'): a Keras model, or a function
            on NumPy arrays of batch 1, such as one that runs a .tflite.
        tile: Pixels a side of a tile, at the input; a window is this plus twice `overlap`. Ignored
            where the size of the windows is fixed.
        overlap: Pixels of context on each side, at the input; by default the Keras model's
            receptive radius, read off its graph. A smaller one gives seams. Needed for a function.
        window: (height, width) that every window must have; by default the Keras model's own input
            size where it has one.

    Raises:
        KerasNasError: `tile` or `overlap` is out of its range, the model's receptive radius is not
            known, or leaves nothing of a fixed window.
    """

    def __init__(
        self,
        model: keras.Model | Callable[[np.ndarray], np.ndarray],
        tile: int = 192,
        overlap: int | None = None,
        window: tuple[int | None, int | None] | None = None,
    ):
        if tile < 1:
            raise UsageError(f"`tile` must be 1 or more. Received: tile={tile}")
        if overlap is not None and overlap < 0:
            raise UsageError(f"`overlap` must be 0 or more. Received: overlap={overlap}")
        if isinstance(model, keras.Model):
            overlap = receptive_radius(model) if overlap is None else overlap
            window = window or model.input_shape[1:3]
            self._run = _traced(model)
        elif overlap is None:
            raise UsageError("`overlap` must be given for a function. Received: None")
        else:
            self._run = model
        self.overlap = overlap
        sizes = window or (None, None)
        self._window = tuple(size or tile + 2 * overlap for size in sizes)
        self._fixed = tuple(size is not None for size in sizes)
        for size in self._window:
            if size <= 2 * overlap:
                raise KerasNasError(
                    "The windows must be larger than twice the overlap. "
                    f"Received: a window of {size} pixels and overlap={overlap}"
                )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Runs the model on one image.

        Args:
            image: Shape (height, width, channels), in the model's range of values.

        Returns:
            float32, shape (scale · height, scale · width, channels').

        Raises:
            KerasNasError: The image is smaller than the fixed size of the model, or the model
                does not enlarge by a whole number.
        """
        columns = self._windows(image.shape[1], axis=1)
        strips = []
        for row in self._windows(image.shape[0], axis=0):
            tiles = [self._tile(image, row, column) for column in columns]
            strips.append(np.concatenate(tiles, axis=1))
        return np.concatenate(strips, axis=0)

    def _tile(self, image: np.ndarray, row: _Window, column: _Window) -> np.ndarray:
        window = np.asarray(image[row.start : row.end, column.start : column.end], np.float32)
        output = np.asarray(self._run(window[np.newaxis]))[0]
        scale = _scale(window.shape, output.shape)
        return output[row.kept(scale), column.kept(scale)]

    def _windows(self, length: int, axis: int) -> list[_Window]:
        size = self._window[axis]
        if length < size:
            if self._fixed[axis]:
                raise KerasNasError(
                    f"The image must have {size} pixels or more along axis {axis}, the model's "
                    f"fixed size. Received: {length}"
                )
            size = length
        step = max(size - 2 * self.overlap, 1)
        starts = [*range(0, length - size, step), length - size]
        windows: list[_Window] = []
        for start in starts:
            end = start + size
            keep_from = windows[-1].keep_to if windows else 0
            keep_to = length if end == length else end - self.overlap
            windows.append(_Window(start, end, keep_from, keep_to))
        return windows


class _Window:
    """Pixels `start` … `end` of an axis are given to the model, `keep_from` … `keep_to` kept."""

    def __init__(self, start: int, end: int, keep_from: int, keep_to: int):
        self.start, self.end, self.keep_from, self.keep_to = start, end, keep_from, keep_to

    def kept(self, scale: int) -> slice:
        """What is kept of the window's output."""
        return slice(scale * (self.keep_from - self.start), scale * (self.keep_to - self.start))


def _traced(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    signature = [tf.TensorSpec((1, None, None, model.input_shape[3]), tf.float32)]
    return tf.function(lambda x: model(x, training=False), input_signature=signature)


def _scale(window: tuple[int, ...], output: tuple[int, ...]) -> int:
    scale, rest = divmod(output[0], window[0])
    if rest or scale < 1 or output[1] != scale * window[1]:
        raise KerasNasError(
            "Tiled inference needs a model that enlarges by a whole number. "
            f"Received: {output[:2]} from {window[:2]}"
        )
    return scale
