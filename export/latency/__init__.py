"""Latencies of single operations, for tables that searches read."""
