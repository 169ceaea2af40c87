"""The pure event path, or that of webhooks, under libFuzzer: what reaches code that nothing reached before is bent further.

`python -m tests.fuzz.guided [events|webhooks] [--runs N] [--seed N]`, with atheris. Ends with exit code 1 at the first input that
raises, and prints it.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.hostile import Hostile, real_events, real_page

KINDS = 16  # the first byte: a room version from 1 to 13, or a page


def seeds(folder: Path) -> None:
    """Real events in every room version, and a page, as libFuzzer wants them: a file each."""
    for number, event in enumerate(real_events()):
        (folder / f"event-{number}").write_bytes(bytes([number % 14]) + json.dumps(event).encode())
    page = real_page()
    for room in page["rooms"]["join"].values():
        for part in ("state", "timeline"):
            room[part]["events"] = room[part]["events"][:2]
    (folder / "page").write_bytes(bytes([KINDS - 1]) + json.dumps(page).encode())


def webhook_seeds(folder: Path) -> None:
    """A delivery of every documented kind."""
    from tests.fuzz.whatsapp import bodies

    for number, body in enumerate(bodies()):
        (folder / f"delivery-{number}").write_bytes(json.dumps(body).encode())


def fuzz_events(arguments: list[str]) -> None:
    """Become libFuzzer, over events and pages."""
    import atheris

    with atheris.instrument_imports(include=["archiver"]):
        from archiver.ledger.canonical import HostileJson, parse_object
        from tests.fuzz.pure import take_event, take_page

    hostile = Hostile(random.Random(0))

    def one(raw: bytes) -> None:
        kind, raw = (raw[0] % KINDS, raw[1:]) if raw else (0, raw)
        if kind >= 14:
            take_page(raw)
            return
        try:
            event = parse_object(raw)
        except HostileJson:
            return
        take_event(event, str(kind))

    def bend(raw: bytes, size: int, seed: int) -> bytes:
        """Now as JSON, now as bytes."""
        if seed % 4:
            try:
                bent = hostile.bent(json.loads(raw[1:]), seed)
                return (raw[:1] + json.dumps(bent).encode())[:size]
            except (ValueError, RecursionError):
                pass
        return atheris.Mutate(raw, size)

    atheris.Setup(arguments, one, custom_mutator=bend)
    atheris.Fuzz()


def fuzz_webhooks(arguments: list[str]) -> None:
    """Become libFuzzer, over webhook deliveries."""
    import atheris

    with atheris.instrument_imports(include=["bridge.network"]):
        from tests.fuzz.whatsapp import take

    hostile = Hostile(random.Random(0))

    def bend(raw: bytes, size: int, seed: int) -> bytes:
        if seed % 4:
            try:
                return json.dumps(hostile.bent(json.loads(raw), seed)).encode()[:size]
            except (ValueError, RecursionError):
                pass
        return atheris.Mutate(raw, size)

    atheris.Setup(arguments, take, custom_mutator=bend)
    atheris.Fuzz()


PATHS: dict[str, tuple[Callable[[Path], None], Callable[[list[str]], None]]] = {
    "events": (seeds, fuzz_events),
    "webhooks": (webhook_seeds, fuzz_webhooks),
}


def main() -> int:
    """Run libFuzzer in a process of its own; it ends its process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    parser.add_argument("path", nargs="?", choices=list(PATHS), default="events")
    parser.add_argument("--runs", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1 + secrets.randbelow(10**6))
    told = parser.parse_args()
    try:
        import atheris  # noqa: F401 - whether it is there
    except ImportError:
        print("The guided fuzzer is skipped: there is no atheris for this machine.")
        return 0
    print(f"--seed {told.seed} --runs {told.runs}", flush=True)
    with tempfile.TemporaryDirectory(prefix="griffier-guided-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        PATHS[told.path][0](corpus)
        options = [
            f"-atheris_runs={told.runs}", f"-seed={told.seed}", "-max_len=16384", "-timeout=30", "-rss_limit_mb=4096",
            f"-artifact_prefix={folder}/found-", "-reduce_inputs=0",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", "libfuzzer", told.path, *options, str(corpus)], check=False
        )
        for found in sorted(Path(folder).glob("found-*")):
            print(f"{found.name}: {found.read_bytes()!r}")
    print(f"{told.runs} runs without a crash." if done.returncode == 0 else "It found something.")
    return min(done.returncode, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["libfuzzer"]:
        PATHS[sys.argv[2]][1]([sys.argv[0], *sys.argv[3:]])
    sys.exit(main())
