# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The note on a data directory: kept through restarts and rewinds, another one after each copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pgherd.data import incarnation
from pgherd.data.incarnation import again, current, emptying, following, known, place, replaced, settle, taken
from pgherd.errors import PgherdError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory, as far as it matters here."""
    return made(tmp_path / "data")


def made(path: Path) -> Path:
    (path / "global").mkdir(parents=True)
    (path / "global/pg_control").write_bytes(b"control")
    return path


def copied(data: Path) -> None:
    """Another copy in its place; the first one stays beside it, so that no inode is given again."""
    aside = data.with_name(f"{data.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    data.rename(aside)
    shutil.copytree(aside, data)


def emptied(data: Path) -> None:
    """Another copy in its place, the first one gone; the second name beside the note keeps its inode from being given again."""
    copied(data)
    shutil.rmtree(data.with_name(f"{data.name}.old"))


def test_it_is_kept(data: Path, incarnation_note: Path) -> None:
    first = current(str(data))
    # The server and pg_rewind write the control file in place.
    (data / "global/pg_control").write_bytes(b"another")
    assert current(str(data)) == first
    assert first.shown.replaces == ()
    assert json.loads(incarnation_note.read_text())["id"] == first.id


def test_a_file_knows_its_birth(data: Path) -> None:
    """An inode alone is given again, often at once."""
    inode, _blank, birth = place(str(data)).partition(" ")
    assert (inode.isdigit(), float(birth) > 0) == (True, True)
    assert place(str(data / "nothing")) == ""


def test_a_copy_by_hand_is_another_that_replaces_nobody(data: Path) -> None:
    first = current(str(data))
    copied(data)
    second = current(str(data))
    assert second.id != first.id
    assert second.shown.replaces == ()
    assert current(str(data)) == second


def test_what_somebody_has_deleted_is_replaced(data: Path) -> None:
    """Its control file has no name left, so it was not moved away, to be started there."""
    first = current(str(data))
    shutil.rmtree(data)
    second = current(str(made(data)))
    assert (second.replaces, second.timeline) == ((first.id,), 0)
    # Moved away, and deleted there.
    copied(data)
    shutil.rmtree(data.with_name("data.old"))
    assert current(str(data)).replaces == (second.id, first.id)


def test_nothing_is_known_without_the_second_name(data: Path, incarnation_note: Path) -> None:
    current(str(data))
    incarnation_note.with_name(incarnation.LINK).unlink()
    shutil.rmtree(data)
    assert current(str(made(data))).replaces == ()


def test_what_we_have_emptied_is_replaced(data: Path) -> None:
    first = current(str(data))
    emptying(str(data), 3, "pg1")
    emptied(data)
    second = current(str(data))
    assert (second.replaces, second.timeline, second.upstream) == ((first.id,), 3, "pg1")
    # Again, before it was admitted: where it would stand is where the one stood that counted.
    emptying(str(data), 4, "pg3")
    emptied(data)
    third = current(str(data))
    assert (third.replaces, third.timeline, third.upstream) == ((second.id, first.id), 3, "pg1")
    assert not third.emptying


def test_a_clone_is_noted_when_it_is_in_its_place(data: Path) -> None:
    first = current(str(data))
    emptying(str(data), 3, "pg1")
    shutil.rmtree(data)
    own = following(str(data))
    # An attempt that ends here leaves the note that the directory was being emptied.
    assert known(str(data))
    made(data)
    settle(own)
    assert current(str(data)) == incarnation.Note(own.id, str(data), place(str(data)), (first.id,), False, 3, "pg1")


def test_an_attempt_that_emptied_nothing_changes_nothing(
    data: Path, incarnation_note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = current(str(data))
    emptying(str(data), 3, "pg1")
    assert current(str(data)).id == first.id
    assert not current(str(data)).emptying
    # A file system that does not know when a file was born: the same inode proves nothing.
    monkeypatch.setattr(incarnation, "_birth", lambda _path: "")
    second = current(str(data))
    emptying(str(data), 3, "pg1")
    incarnation_note.with_name(incarnation.LINK).unlink()
    assert current(str(data)).replaces == (second.id,)


def test_what_was_moved_away_before_we_emptied_it_is_not_gone(data: Path) -> None:
    """Nothing had been removed yet; a person then took the data aside, from where they may be started."""
    current(str(data))
    emptying(str(data), 3, "pg1")
    copied(data)
    assert following(str(data)).replaces == ()
    assert current(str(data)).replaces == ()


def test_without_a_control_file_there_is_nothing_to_tell(data: Path) -> None:
    """A look in the middle of a clone must not forget whom that replaces."""
    first = current(str(data))
    emptying(str(data), 3, "pg1")
    shutil.rmtree(data)
    with pytest.raises(PgherdError, match="no global/pg_control"):
        current(str(data))
    assert current(str(made(data))).replaces == (first.id,)


def test_a_second_name_that_was_left_half_made(data: Path, incarnation_note: Path) -> None:
    first = current(str(data))
    link = incarnation_note.with_name(incarnation.LINK)
    link.rename(f"{link}.{first.id}")
    emptying(str(data), 3, "pg1")
    assert not current(str(data)).emptying
    assert (data / "global/pg_control").samefile(link)
    assert not link.with_name(f"{link.name}.{first.id}").exists()


def test_another_directory_is_none_of_its_business(data: Path, tmp_path: Path) -> None:
    first = current(str(data))
    other = made(tmp_path / "other")
    emptying(str(other), 3, "pg1")
    assert current(str(data)) == first
    assert current(str(other)).replaces == ()


def test_it_takes_its_place(data: Path) -> None:
    first = current(str(data))
    emptying(str(data), 3, "pg1")
    emptied(data)
    second = current(str(data))
    assert second.replaces == (first.id,)
    assert taken(str(data)) == current(str(data))
    assert current(str(data)) == incarnation.Note(second.id, str(data), second.place, past=(first.id,))
    # A cluster that is restored from a backup may have the first as admitted.
    emptying(str(data), 4, "pg1")
    emptied(data)
    assert current(str(data)).replaces == (second.id, first.id)


def test_a_person_s_word(data: Path) -> None:
    first = current(str(data))
    assert replaced(str(data), first.id, 2, "pg1") == first
    for _time in range(2):
        found = replaced(str(data), "old", 2, "pg1")
        assert (found.id, found.replaces, found.timeline, found.upstream) == (first.id, ("old",), 2, "pg1")
    # Admitted meanwhile: the word says where it stands now.
    found = replaced(str(data), first.id, 5, "pg3")
    assert (found.replaces, found.timeline, found.upstream) == (("old",), 5, "pg3")


def test_a_place_that_was_lost_is_taken_again(data: Path) -> None:
    first = current(str(data))
    emptied(data)
    second = current(str(data))
    emptied(data)
    third = current(str(data))
    assert (third.replaces, taken(str(data)).past) == ((second.id, first.id), (second.id, first.id))
    assert again(str(data), "nobody").replaces == ()
    found = again(str(data), second.id)
    assert (found.id, found.replaces, found.past, found.timeline) == (third.id, (second.id,), (first.id,), 0)
    assert again(str(data), first.id).replaces == (second.id, first.id)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', '{"replaces": 7}', "null"])
def test_half_a_note_is_none(data: Path, incarnation_note: Path, text: str) -> None:
    incarnation_note.write_text(text)
    assert not known(str(data))
    assert current(str(data)).replaces == ()


def test_a_disk_that_takes_nothing_is_said(data: Path, incarnation_note: Path) -> None:
    incarnation_note.mkdir()
    with pytest.raises(PgherdError, match="pgherd-incarnation"):
        current(str(data))
