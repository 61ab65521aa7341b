"""One image three times: bicubic, the model, the truth; whole and zoomed in."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_nas.data.bicubic import imresize
from keras_nas.data.image_pairs import ImagePair
from keras_nas.errors import UsageError
from keras_nas.tasks.super_resolution_evaluation import score_output
from keras_nas.tasks.super_resolution_metrics import rgb_to_y

FRAME = "#ff5a1f"


def triptych(pair: ImagePair, output: np.ndarray, label: str = "ours", zoom: int = 96) -> Figure:
    """Draws bicubic enlargement, the model's and the truth side by side.

    Above is the whole image with the place of the zoom framed, below that place, every pixel a
    square. The place is where bicubic errs most, whatever the model does there. Captions give PSNR
    (dB) and SSIM of the whole image, on luma with the border shaved.

    Args:
        pair: The image.
        output: The model's image, uint8, of the shape of `pair.high`.
        label: What the model is called.
        zoom: Pixels a side of the part that is zoomed in on; cut to the image.

    Returns:
        The figure; `keras_nas.reporting.plots.save` writes it as PNG.

    Raises:
        KerasNasError: `output` is not uint8 of the right shape, or `zoom` is under 1.
    """
    if output.dtype != np.uint8 or output.shape != pair.high.shape:
        raise UsageError(
            f"`output` must be uint8 of shape {pair.high.shape}. "
            f"Received: {output.dtype} {output.shape}"
        )
    if zoom < 1:
        raise UsageError(f"`zoom` must be 1 or more. Received: zoom={zoom}")
    bicubic = imresize(pair.low, float(pair.scale))
    score = score_output(pair, output)
    captions = (
        f"bicubic  {score.bicubic_psnr:.2f} dB / {score.bicubic_ssim:.4f}",
        f"{label}  {score.psnr:.2f} dB / {score.ssim:.4f}  ({score.gain:+.2f} dB)",
        "truth",
    )
    size = min(zoom, *pair.high.shape[:2])
    row, column = worst_place(bicubic, pair.high, size)
    height, width = pair.high.shape[:2]
    figure = Figure(figsize=(12.0, 4.6 + 4.0 * height / width), layout="constrained")
    figure.suptitle(f"{pair.name}, ×{pair.scale}")
    axes = figure.subplots(2, 3, height_ratios=(height / width, 1.0))
    for index, image in enumerate((bicubic, output, pair.high)):
        above, below = axes[0, index], axes[1, index]
        above.imshow(image)
        above.add_patch(Rectangle((column, row), size, size, fill=False, ec=FRAME, lw=1.5))
        above.set_title(captions[index], fontsize=10)
        below.imshow(image[row : row + size, column : column + size], interpolation="nearest")
        for panel in (above, below):
            panel.set_xticks([])
            panel.set_yticks([])
        below.spines[:].set_color(FRAME)
    return figure


def worst_place(image: np.ndarray, truth: np.ndarray, size: int) -> tuple[int, int]:
    """Row and column of the square of `size` pixels where luma errs most, summed in absolute value.

    Args:
        image, truth: uint8, shape (height, width, 3), both sides `size` or more.
        size: Pixels a side.
    """
    error = np.abs(np.asarray(rgb_to_y(image)) - np.asarray(rgb_to_y(truth)))[..., 0]
    sums = np.pad(error.astype(np.float64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    squares = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    row, column = np.unravel_index(np.argmax(squares), squares.shape)
    return int(row), int(column)
