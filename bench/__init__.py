"""Measurements: speed, memory and quality, each figure with the conditions it was taken under."""
