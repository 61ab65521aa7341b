"""Loading models from files, those of Keras 2 too."""

from keras_nas.loading.model_file import load_model

__all__ = ["load_model"]
