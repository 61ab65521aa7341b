"""The errors that a user can mend."""

from __future__ import annotations


class KerasNasError(ValueError):
    """A mistake in what the user gave: an argument, a model, a file.

    The message is one clear line that says what is wrong, where, and what to do
    about it. The apps print it without a traceback and end with exit code 1.
    It is a `ValueError`, so callers of the library may catch either.

    Example:

    ```python
    raise KerasNasError(
        f"`round_to` must be 1, 2, 4, 8 or 16. Received: round_to={round_to}"
    )
    ```
    """


class UsageError(KerasNasError):
    """A mistake in the command itself: a flag's value, or flags that do not go together.

    The apps end with exit code 2.
    """
