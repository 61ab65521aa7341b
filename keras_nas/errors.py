"""The errors that a user can mend."""

from __future__ import annotations


class KerasNasError(ValueError):
    """A mistake in what the user gave: a model, a file, data; see `UsageError` for arguments.

    The message is one clear line that says what is wrong, where, and what to do
    about it. The apps print it without a traceback and end with exit code 1.
    It is a `ValueError`, so callers of the library may catch either.

    Example:

    ```python
    raise KerasNasError(f"{path} is no .tflite file. Export the model again.")
    ```
    """


class UsageError(KerasNasError):
    """An argument, a setting or a flag that is not allowed, or that does not go with another.

    The message names it and says what is allowed and what was received. The apps end with exit
    code 2.
    """
