"""The networks a portal can speak."""
