"""Coverage, indicators, reports."""
