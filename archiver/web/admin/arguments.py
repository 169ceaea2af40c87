"""The options of `griffier official`. Apart from what it does: every command of the command line loads them."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `griffier official`."""
    parser.add_argument("do", choices=("list", "add", "end", "import"))
    parser.add_argument("which", nargs="?", help="with end: the function's id, as list shows it; with import: the CSV file")
    parser.add_argument("--name", help="with add: the official's name")
    parser.add_argument("--matrix-id", help="with add: the Matrix account in this function")
    parser.add_argument("--function", help="with add")
    parser.add_argument("--unit", help="with add: the part of the organisation")
    parser.add_argument("--sole", action="store_true", help="with add: one person at a time holds this function")
    parser.add_argument("--from", dest="from_day", help="with add: the first day, as 2026-03-31")
    parser.add_argument("--until", dest="until_day", help="with add and end: the last day")
    parser.add_argument("--reason", default="", help="kept with the change")
    parser.add_argument("--confirm", action="store_true", help="with import: do it; without, only what it would change is shown")
