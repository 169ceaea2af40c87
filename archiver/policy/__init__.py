"""Marks, exclusion, retention, holds, destruction."""
