"""FGNAS: straight-through gates under a budget."""
