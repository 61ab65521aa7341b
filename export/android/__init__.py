"""Measurements on a phone over adb."""
