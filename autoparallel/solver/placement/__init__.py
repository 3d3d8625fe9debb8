"""Experts on ranks: copies and slots for every layer, near a proven bound."""
