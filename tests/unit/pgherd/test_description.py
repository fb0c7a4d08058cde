# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The description as a file that changes: what is taken, what is refused, and that neither is ever missed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pgherd.description import UNREADABLE, DescriptionWatch, Told, digest, digest_of, parse_told, read
from pgherd.errors import PgherdError
from pgherd.render.conf_cluster import text
from world import CLUSTER

OTHER = replace(CLUSTER, sync_standbys=2)
TEXT, OTHER_TEXT = text(CLUSTER), text(OTHER)


class OnDisk:
    """A description on disk and who watches it."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, []  # type: ignore[var-annotated]
        self.put(TEXT)
        self.watch = DescriptionWatch(str(path), self.said.append)

    def put(self, content: str) -> None:
        """Replace the file as host_files does."""
        new = self.path.with_suffix(".new")
        new.write_text(content)
        os.replace(new, self.path)


@pytest.fixture
def told(tmp_path: Path) -> OnDisk:
    return OnDisk(tmp_path / "cluster.json")


def test_reader_and_writer_mean_the_same(told: OnDisk) -> None:
    assert told.watch.by.cluster == CLUSTER
    assert told.watch.told == Told(digest(TEXT.encode())) == Told(digest_of(str(told.path)))
    assert read(str(told.path)) == told.watch.by
    assert digest(TEXT.encode()) != digest(OTHER_TEXT.encode())


def test_it_is_gone_by_when_it_is_taken_and_not_before(told: OnDisk) -> None:
    assert told.watch.look() is None
    told.put(OTHER_TEXT)
    found = told.watch.look()
    assert found is not None
    assert found.cluster == OTHER
    told.watch.wait(found, "promote")
    assert told.watch.look() == found, "it is found again for as long as it is not taken"
    assert told.watch.told == Told(digest(TEXT.encode()), waits="promote")
    told.watch.wait(found, "promote")
    assert len(told.said) == 1
    told.watch.take(found)
    assert told.watch.told == Told(digest(OTHER_TEXT.encode()))
    assert told.watch.look() is None


@pytest.mark.parametrize(
    ("what", "content", "said"),
    [
        ("half of it", TEXT[: len(TEXT) // 2], "does not describe a cluster"),
        ("nothing", "", "does not describe a cluster"),
        ("no text", "\udcff", "does not describe a cluster"),
        ("a list", "[]", "does not describe a cluster"),
        ("nodes that are none", json.dumps({**CLUSTER.to_dict(), "nodes": [1]}), "does not describe a cluster"),
        ("options that are none", json.dumps({**CLUSTER.to_dict(), "options": [1]}), "does not describe a cluster"),
        ("a newer release's", json.dumps({**CLUSTER.to_dict(), "schema": 99}), "its schema is 99"),
        ("gone", None, "No such file"),
    ],
)
def test_the_old_one_stays_in_force(told: OnDisk, what: str, content: str | None, said: str) -> None:
    if content is None:
        told.path.unlink()
    else:
        new = told.path.with_suffix(".new")
        new.write_bytes(content.encode(errors="surrogateescape"))
        os.replace(new, told.path)
    assert (told.watch.look(), told.watch.look(), told.watch.look()) == (None, None, None)
    assert told.watch.by.cluster == CLUSTER
    refused = UNREADABLE if content is None else digest(told.path.read_bytes())
    assert told.watch.told == Told(digest(TEXT.encode()), refused=refused)
    (line,) = told.said
    assert said in line
    assert line.startswith(f"description: goes by {digest(TEXT.encode())} still: ")
    # The same again, or a good one.
    told.put(TEXT)
    assert told.watch.look() is None
    assert told.watch.told == Told(digest(TEXT.encode()))
    told.put(OTHER_TEXT)
    assert told.watch.look() is not None


def test_what_its_parts_refuse_is_not_tried_again(told: OnDisk) -> None:
    told.put(OTHER_TEXT)
    found = told.watch.look()
    assert found is not None
    told.watch.refuse(found, ValueError("no such host"))
    assert told.watch.look() is None
    assert told.watch.told.refused == found.digest
    told.put(TEXT.replace("demo", "other"))
    assert told.watch.look() is not None


def test_what_was_refused_is_tried_again_when_that_is_asked_for(told: OnDisk) -> None:
    told.put(OTHER_TEXT)
    found = told.watch.look()
    assert found is not None
    told.watch.again()
    told.watch.refuse(found, OSError("too many open files"))
    assert told.watch.look() is None
    told.watch.again()
    assert told.watch.look() == found
    told.watch.take(found)
    told.watch.again()
    assert told.watch.look() is None


def test_one_that_is_written_while_another_is_taken_is_not_missed(told: OnDisk) -> None:
    told.put(OTHER_TEXT)
    found = told.watch.look()
    assert found is not None
    assert told.watch.still()
    told.put(TEXT.replace("demo", "other"))
    assert not told.watch.still()
    told.watch.take(found)
    newest = told.watch.look()
    assert newest is not None
    assert newest.cluster.name == "other"


def test_no_description_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PgherdError, match="The site playbook writes it"):
        DescriptionWatch(str(tmp_path / "none"), print)


@pytest.mark.parametrize(
    "told",
    [
        Told("0" * 16),
        Told("0" * 16, refused="1" * 16),
        Told("0" * 16, refused=UNREADABLE),
        Told("0" * 16, waits="elect, promote"),
        Told("0" * 16, "1" * 16, "a look of barman"),
    ],
)
def test_what_it_says_of_itself_is_read_again(told: Told) -> None:
    assert parse_told(told.line()) == told


@pytest.mark.parametrize("line", ["", "running", "goes by description", "goes by description 12"])
def test_an_agent_of_an_earlier_release_says_nothing(line: str) -> None:
    assert parse_told(line) is None
