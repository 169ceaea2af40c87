"""Exports: one module per format, registered here by a line."""

from __future__ import annotations

from archiver.export.html import Html
from archiver.export.jsonl import Jsonl
from archiver.export.transcript import Exporter, ExportError, Sink, Transcript

EXPORTERS: dict[str, Exporter] = {exporter.name: exporter for exporter in (Html(), Jsonl())}

__all__ = ["EXPORTERS", "ExportError", "Exporter", "Sink", "Transcript"]
