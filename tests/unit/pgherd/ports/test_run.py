# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Programs run for real: their outputs, their ends, and what they leave behind."""

from __future__ import annotations

import os
import signal
import time

import pytest
from pgherd.errors import CommandError, Unreachable
from pgherd.ports.run import LocalRunner


def shell(script: str, timeout: float = 20.0, stdin: str | None = None) -> tuple[int, str, str]:
    done = LocalRunner().run(["sh", "-c", script], timeout=timeout, stdin=stdin)
    return done.rc, done.out, done.err


def test_both_outputs_and_the_exit_code_are_told_apart() -> None:
    assert shell("echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert shell("printf 'a\\377b'") == (0, "a\ufffdb", "")


def test_stdin_is_empty_unless_given() -> None:
    assert shell("cat") == (0, "", "")
    assert shell("cat", stdin="secret") == (0, "secret", "")


def test_a_megabyte_on_both_outputs_blocks_nobody() -> None:
    rc, out, err = shell("head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2")
    assert (rc, len(out), len(err)) == (0, 1000000, 1000000)


def test_only_the_program_itself_is_waited_for() -> None:
    """pg_basebackup that was killed leaves a process with its outputs open."""
    began = time.monotonic()
    rc, out, _err = shell("sleep 60 & echo $!; kill -9 $$")
    os.kill(int(out), signal.SIGKILL)
    assert rc == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_no_end_in_time_is_said_though_something_is_left_behind() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"no end after 0.2 s"):
        shell("sleep 5 & sleep 5", timeout=0.2)
    assert time.monotonic() - began < 4


def test_a_missing_program_is_named() -> None:
    with pytest.raises(Unreachable, match=r"run no-such-program: the program is not installed here"):
        LocalRunner().run(["no-such-program"])


def test_another_exit_code_is_an_error_with_both_outputs() -> None:
    done = LocalRunner().run(["sh", "-c", "echo seen; echo why >&2; exit 4"])
    assert done.expect("look", 4) is done
    with pytest.raises(CommandError, match="why"):
        done.expect("look")
