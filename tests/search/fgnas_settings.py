"""FGNAS' settings as the paper has them, where the defaults differ."""

from __future__ import annotations

PAPER = {"start": "even", "min_share": 0.0, "lambda_unit": "one", "steer": "none"}
