"""The plots of a run's folder."""

from __future__ import annotations

from pathlib import Path

from keras_nas.architecture import Architecture
from keras_nas.reporting.plots import channels_per_layer, gate_histograms, save
from keras_nas.search.records import read_records
from keras_nas.search.run_folder import RunFolder


def draw_run(folder: RunFolder) -> list[Path]:
    """Draws what the run's files allow into its `plots/`.

    Returns:
        The paths of the pictures: channels.png where the architecture stage is done, and gates.png
        where gates were annealed.
    """
    drawn = []
    if folder.architecture.exists():
        architecture = Architecture.load(folder.architecture)
        kept = {name: len(channels) for name, channels in architecture.kept_channels.items()}
        figure = channels_per_layer(architecture.channels, kept)
        drawn.append(save(figure, folder.plots / "channels.png"))
    records = [record for record in read_records(folder.metrics) if "histogram" in record]
    if records:
        drawn.append(save(gate_histograms(records), folder.plots / "gates.png"))
    return drawn
