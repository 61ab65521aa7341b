"""The table of a super-resolution evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from keras_nas.tasks.super_resolution_evaluation import ImageScore, mean_score


def score_table(scores: Sequence[ImageScore]) -> Table:
    """A row an image and their mean: PSNR (dB) and SSIM of bicubic and the model, and the gain.

    Raises:
        KerasNasError: There are no scores.
    """
    table = Table(header_style="bold")
    table.add_column("image")
    for column in ("bicubic dB / SSIM", "model dB / SSIM", "gain dB"):
        table.add_column(column, justify="right", no_wrap=True)
    for score in (*scores, mean_score(scores)):
        table.add_row(
            score.name,
            f"{score.bicubic_psnr:.2f} / {score.bicubic_ssim:.4f}",
            f"{score.psnr:.2f} / {score.ssim:.4f}",
            f"{score.gain:+.2f}",
        )
    return table
