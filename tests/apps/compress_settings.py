"""Settings of apps.compress for the model and pictures of `trained_place`."""

from __future__ import annotations

from apps.compress_config import CompressAppConfig
from keras_nas.compression.config import CompressConfig
from keras_nas.training.session import SessionSettings


def settings(place, **changes):
    return CompressAppConfig(
        **{
            "model": str(place / "model.keras"),
            "data": str(place / "photos"),
            "output": str(place / "small"),
            "budget": CompressConfig(target_macs="0.5x", target_bytes="int8:0.9x", epochs=2),
            "batch_size": 16,
            "session": SessionSettings(progress="off"),
            **changes,
        }
    )
