"""Robots as typed data with explicit numbers, one file each."""
