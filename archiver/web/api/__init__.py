"""The same abilities as the pages, as JSON under `/api/v1`: one module per subject, each declaring its operations."""
