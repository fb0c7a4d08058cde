# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The directory of secrets protects itself: who could change it or read it, and what git would take along."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._private import PrivateDirectory

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where no parent is in the way; pytest's own directories are below /tmp."""
    return tmp_path / "a" / "b" / "store"


def test_all_of_it_is_its_owners(place: Path) -> None:
    old = os.umask(0)
    try:
        store = PrivateDirectory(str(place))
        store.write("hosts/pg1.key", "k")
        store.write("hosts/pg1.crt", "c")
    finally:
        os.umask(old)
    assert [mode(path) for path in (place, place.parent, place.parent.parent, place / "hosts")] == [0o700] * 4
    assert mode(place / "hosts/pg1.key") == 0o600
    assert mode(place / "hosts/pg1.crt") == 0o644
    assert store.read("hosts/pg1.key") == "k"
    assert sorted(path.name for path in (place / "hosts").iterdir()) == ["pg1.crt", "pg1.key"]


def test_git_is_told(place: Path) -> None:
    store = PrivateDirectory(str(place))
    store.write("ca.key", "k")
    assert (place / ".gitignore").read_text() == "*\n"
    (place / ".gitignore").write_text("ca.key\n")
    store.write("ca.key", "k")
    assert (place / ".gitignore").read_text() == "ca.key\n"


def test_a_store_from_before_is_mended(place: Path) -> None:
    (place / "hosts").mkdir(parents=True)
    for path in (place, place / "hosts"):
        path.chmod(0o755)
    (place / "hosts/pg1.key").write_text("k")
    (place / "hosts/pg1.key").chmod(0o644)
    assert PrivateDirectory(str(place), forecast=True).read("hosts/pg1.key") == "k"
    assert mode(place) == 0o755, "a forecast changes nothing"
    store = PrivateDirectory(str(place))
    assert store.read("hosts/pg1.key") == "k"
    assert (mode(place), mode(place / "hosts"), mode(place / "hosts/pg1.key")) == (0o700, 0o700, 0o600)
    store.write("ca.crt", "c")
    assert (place / ".gitignore").exists()


def refused(place: Path, name: str = "passwords.yml") -> str:
    store = PrivateDirectory(str(place))
    with pytest.raises(ConfigError) as of_read:
        store.read(name)
    with pytest.raises(ConfigError):
        store.write("new", "text")
    return str(of_read.value)


@pytest.mark.parametrize("bits", [0o777, 0o757])
def test_others_may_write(place: Path, bits: int) -> None:
    place.mkdir(parents=True)
    for path in (place, place.parent):
        path.chmod(bits)
        said = refused(place)
        assert f"{path} can be changed by others (owner " in said
        assert f"chmod go-w {path}, or set cluster_secrets_directory" in said
        path.chmod(0o700)
    place.rmdir()
    place.parent.chmod(bits)
    with pytest.raises(ConfigError):
        PrivateDirectory(str(place)).write("new", "text")
    assert not place.exists()


def test_a_place_as_tmp_may_be_a_parent_and_no_store(place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    place.parent.chmod(0o1777)
    assert PrivateDirectory(str(place)).read("passwords.yml") == ""
    place.chmod(0o1777)
    assert "can be changed by others" in refused(place)


@root_only
def test_the_group(place: Path) -> None:
    """A user's own group is nobody else; any other group is."""
    place.mkdir(parents=True, mode=0o700)
    place.parent.chmod(0o775)
    assert PrivateDirectory(str(place)).read("passwords.yml") == ""
    os.chown(place.parent, 0, 4321)
    assert "can be changed by others" in refused(place)


@root_only
@pytest.mark.parametrize("which", ["store", "parent", "file", "folder"])
def test_another_users(place: Path, which: str) -> None:
    PrivateDirectory(str(place)).write("hosts/pg1.key", "k")
    path = {"store": place, "parent": place.parent, "file": place / "hosts/pg1.key", "folder": place / "hosts"}[which]
    os.chown(path, 4321, 4321)
    with pytest.raises(ConfigError, match=r"is another user's .owner 4321, mode 0.00., who could change the secrets"):
        PrivateDirectory(str(place)).read("hosts/pg1.key")


def test_no_link_is_followed(place: Path, tmp_path: Path) -> None:
    PrivateDirectory(str(place)).write("hosts/pg1.key", "k")
    other = tmp_path / "other"
    other.write_text("not ours")
    (place / "passwords.yml").symlink_to(other)
    store = PrivateDirectory(str(place))
    with pytest.raises(ConfigError, match=r"passwords.yml is a link, and what it leads to may be anybody's"):
        store.read("passwords.yml")
    store.write("passwords.yml", "ours")
    assert other.read_text() == "not ours"
    assert store.read("passwords.yml") == "ours"
    (place / "hosts/pg1.key").unlink()
    (place / "hosts").rmdir()
    (place / "hosts").symlink_to(tmp_path)
    with pytest.raises(PgherdError):
        store.write("hosts/pg1.key", "k")
    with pytest.raises(PgherdError):
        store.read("hosts/other")
    assert not (tmp_path / "pg1.key").exists()


def test_a_link_to_the_store_is_the_owners_choice(place: Path, tmp_path: Path) -> None:
    PrivateDirectory(str(place)).write("ca.key", "k")
    (tmp_path / "link").symlink_to(place)
    assert PrivateDirectory(str(tmp_path / "link")).read("ca.key") == "k"
    place.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="can be changed by others"):
        PrivateDirectory(str(tmp_path / "link")).read("ca.key")


def test_what_is_no_file(place: Path) -> None:
    PrivateDirectory(str(place)).write("ca.key", "k")
    os.mkfifo(place / "ca.crt")
    with pytest.raises(ConfigError, match="is no file"):
        PrivateDirectory(str(place)).read("ca.crt")


def test_a_file_that_others_may_change(place: Path) -> None:
    PrivateDirectory(str(place)).write("ca.crt", "c")
    (place / "ca.crt").chmod(0o666)
    with pytest.raises(ConfigError, match=r"ca.crt can be changed by others"):
        PrivateDirectory(str(place)).read("ca.crt")


def test_below_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    PrivateDirectory("~/store").write("ca.key", "k")
    assert (tmp_path / "store/ca.key").exists()
