"""The colours that classes have in label pictures, as a text file beside them says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from keras_nas.data.segmentation_augmentation import VOID
from keras_nas.errors import KerasNasError

FILE_NAME = "label_colors.txt"
_VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore")


@dataclasses.dataclass(frozen=True)
class LabelColors:
    """Classes by colour.

    Attributes:
        class_names: In the order of the file; a label is a place in it.
        labels: The class of each colour, red · 65536 + green · 256 + blue, `VOID` for none.
    """

    class_names: tuple[str, ...]
    labels: dict[int, int]

    def classes_of(self, colors: np.ndarray, path: Path) -> np.ndarray:
        """The classes of pixels.

        Args:
            colors: uint8 (height, width, 3).
            path: The picture's, for messages.

        Returns:
            uint8 (height, width).

        Raises:
            KerasNasError: There is a colour that no class has.
        """
        red, green, blue = np.moveaxis(colors.astype(np.int64), -1, 0)
        keys, places = np.unique((red * 256 + green) * 256 + blue, return_inverse=True)
        for key in keys.tolist():
            if key not in self.labels:
                raise KerasNasError(
                    f"The labels `{path}` must have the colours of {FILE_NAME} alone. Received: "
                    f"{key >> 16} {key >> 8 & 255} {key & 255}"
                )
        found = np.array([self.labels[key] for key in keys.tolist()], np.uint8)
        return found[places].reshape(colors.shape[:2])


def read_label_colors(folder: Path) -> LabelColors | None:
    """Reads `label_colors.txt` of a folder: a line for each class, as CamVid has it.

    ```
    64 128 64    Animal
    192 0 128    Archway
    0 0 0        Void
    ```

    Pixels of the colour of Void (or Unlabelled, Ignore) do not count.

    Returns:
        None where there is no such file.

    Raises:
        KerasNasError: It cannot be read, a line is none of this kind or has a colour again, or
            there are fewer than two classes.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KerasNasError(f"`{path}` cannot be read ({error}).") from error
    names: list[str] = []
    labels: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        color, name = _parsed(line, f"Line {number} of `{path}`")
        if color in labels:
            raise KerasNasError(
                f"Line {number} of `{path}` must have a colour of its own. Received: {line.strip()}"
            )
        labels[color] = VOID if name.lower() in _VOID_NAMES else len(names)
        if labels[color] != VOID:
            names.append(name)
    if not 2 <= len(names) <= VOID:
        raise KerasNasError(f"`{path}` must have from 2 to {VOID} classes. Received: {len(names)}")
    return LabelColors(tuple(names), labels)


def _parsed(line: str, where: str) -> tuple[int, str]:
    parts = line.split(maxsplit=3)
    numbers = [int(part) for part in parts[:3] if part.isdecimal() and int(part) < 256]
    if len(numbers) < 3 or len(parts) < 4:
        raise KerasNasError(
            f"{where} must have red, green, blue (0 to 255) and a name. Received: {line.strip()}"
        )
    return (numbers[0] * 256 + numbers[1]) * 256 + numbers[2], parts[3].strip()
