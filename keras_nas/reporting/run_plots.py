"""The plots of a run's folder."""

from __future__ import annotations

from pathlib import Path

from keras_nas.architecture import Architecture
from keras_nas.reporting.curves import held_out_curves
from keras_nas.reporting.plots import channels_per_layer, gate_histograms, save
from keras_nas.runs.folder import RunFolder
from keras_nas.training.records import read_records


def draw_run(folder: RunFolder) -> list[Path]:
    """Draws what the run's files allow into its `plots/`.

    Returns:
        The paths of the images: channels.png where the architecture stage is done, gates.png
        where gates were annealed, and curves.png where there is held-out data.
    """
    drawn = []
    if folder.architecture.exists():
        architecture = Architecture.load(folder.architecture)
        kept = {name: len(channels) for name, channels in architecture.kept_channels.items()}
        figure = channels_per_layer(architecture.channels, kept)
        drawn.append(save(figure, folder.plots / "channels.png"))
    records = read_records(folder.metrics)
    annealed = [record for record in records if "histogram" in record]
    if annealed:
        drawn.append(save(gate_histograms(annealed), folder.plots / "gates.png"))
    curves = held_out_curves(records)
    if curves is not None:
        drawn.append(save(curves, folder.plots / "curves.png"))
    return drawn
