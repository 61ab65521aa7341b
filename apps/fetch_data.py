"""Fetches the data of a task, and says what stands where.

python -m apps.fetch_data --task=fashion_mnist
"""

from __future__ import annotations

from absl import flags

from apps.main import load_tensorflow, run
from keras_nas.choices import FETCH_TASKS

_TASK = flags.DEFINE_enum("task", None, FETCH_TASKS, "What the data is for.", required=True)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Where to put it; $KERAS_NAS_DATA or ~/.cache/keras_nas where not given."
)


def main() -> None:
    load_tensorflow()
    from keras_nas.data.fetch import fetch

    for fetched in fetch(_TASK.value, _DATA_DIR.value):
        print(fetched, flush=True)


if __name__ == "__main__":
    run(main)
