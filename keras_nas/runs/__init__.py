"""A search in a folder: its settings, its data, its files, and sweeps over many."""
