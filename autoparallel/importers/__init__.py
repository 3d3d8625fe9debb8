"""Existing launch commands and configurations of serving engines, read as plans."""
