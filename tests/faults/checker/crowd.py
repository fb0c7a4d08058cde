# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Hundreds of slow clients of the agents' ports, and a load balancer that asks them beside.

    python -m faults.checker.crowd < told.json

Told is {"targets": {name: address}, "port": 8765, "sources": [address, ...], "ca": file, "into": file} with "clients", how
many are to come to each target, or without: then it asks each for /primary, as a balancer does. Ends on SIGTERM. Into the
file goes a line of JSON for each answer, or each second for how many are held.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from faults.checker.workload import end_with_parent

EVERY = 1.0  # seconds between a balancer's questions to one target, and between two bytes of a slow client
GIVE_UP = 3.0  # seconds that a balancer waits for all of an answer
AGAIN = 5.0  # seconds after which a slow client that was hung up on is back
# What a slow client sends, byte by byte; b"" before it: nothing, ever. The last kind has shaken hands first.
KINDS = (b"", b"\x16\x03\x01\x20\x00" + b"\0" * 8000, b"GET /primary HTTP/1.1\r\nX: " + b"x" * 8000)
SHAKES = 2  # the kind that does


@dataclass(frozen=True)
class Answer:
    """What a balancer that asks from *source* heard of a target: HTTP's status, 0 for none, *seconds* after it asked at *at*
    (monotonic)."""

    source: str
    target: str
    at: float
    seconds: float
    status: int
    why: str = ""


def answers(lines: Iterable[str]) -> list[Answer]:
    """What was heard, in order of time."""
    return sorted((Answer(**json.loads(line)) for line in lines if line.endswith("\n")), key=lambda one: one.at)


def misses(found: Sequence[Answer], limit: float) -> int:
    """How often in a row one target did not answer within *limit* seconds, at worst: a balancer that counts so far takes it
    for dead."""
    worst = now = 0
    for one in found:
        now = now + 1 if not one.status or one.seconds > limit else 0
        worst = max(worst, now)
    return worst


async def ask(target: str, address: str, told: dict[str, Any], source: str) -> Answer:
    """One question, over a connection of its own."""
    began = time.monotonic()
    try:
        status, why = await asyncio.wait_for(_status(target, address, told, source), GIVE_UP), ""
    except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
        status, why = 0, f"{type(error).__name__}: {error}"
    return Answer(source, target, began, round(time.monotonic() - began, 4), status, why)


async def _status(target: str, address: str, told: dict[str, Any], source: str) -> int:
    context = ssl.create_default_context(cafile=told["ca"])
    where = {"server_hostname": target, "local_addr": (source, 0) if source else None}
    reader, writer = await asyncio.open_connection(address, told["port"], ssl=context, **where)
    try:
        writer.write(b"GET /primary HTTP/1.0\r\n\r\n")
        said = await reader.read(-1)
        return int(said.split(b" ", 2)[1]) if said.endswith(b"\n") else 0
    finally:
        writer.transport.abort()


async def balancer(target: str, told: dict[str, Any], source: str, stop: asyncio.Event, into: Any) -> None:
    """Ask one target again and again."""
    while not stop.is_set():
        found = await ask(target, told["targets"][target], told, source)
        into.write(json.dumps(asdict(found)) + "\n")
        into.flush()
        await _pause(max(0.0, EVERY - found.seconds), stop)


@cache
def careless() -> ssl.SSLContext:
    """TLS that checks nothing, of one who wants nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def slow(address: str, told: dict[str, Any], source: str, number: int, held: Counter[str]) -> None:
    """One slow client, that comes again and again."""
    kind = number % len(KINDS)
    how: dict[str, Any] = {"ssl": careless()} if kind == SHAKES else {}
    await asyncio.sleep(random.random() * EVERY)  # they do not come at one moment
    while True:
        with suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(address, told["port"], local_addr=(source, 0), **how), GIVE_UP
            )
            held[address] += 1
            try:
                await _trickle(reader, writer, KINDS[kind])
            finally:
                held[address] -= 1
                writer.transport.abort()
        await asyncio.sleep(AGAIN)


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes) -> None:
    sent = 0
    while True:
        writer.write(said[sent : sent + 1])
        sent += 1
        try:
            if not await asyncio.wait_for(reader.read(1024), EVERY):
                return
        except asyncio.TimeoutError:  # not hung up on
            continue


async def run(told: dict[str, Any]) -> None:
    """Until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    targets: dict[str, str] = told["targets"]
    sources = told["sources"]
    held: Counter[str] = Counter()
    with Path(told["into"]).open("a", encoding="utf-8") as into:
        running = [asyncio.create_task(end_with_parent(stop))]
        if told.get("clients"):
            for address in targets.values():
                for number in range(told["clients"]):
                    source = sources[number % len(sources)]
                    running.append(asyncio.create_task(slow(address, told, source, number, held)))
        else:
            running += [
                asyncio.create_task(balancer(target, told, source, stop, into))
                for target in targets
                for source in sources
            ]
        while not stop.is_set():
            if told.get("clients"):
                into.write(json.dumps({target: held[address] for target, address in targets.items()}) + "\n")
                into.flush()
            await _pause(1.0, stop)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def main() -> int:
    """The command line: the JSON object on standard input."""
    told = json.load(sys.stdin)
    _many_files()
    asyncio.run(run(told))
    return 0


def _many_files() -> None:
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
