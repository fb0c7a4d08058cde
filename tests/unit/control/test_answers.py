# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What is wrong with hosts' answers is one sentence, of the kind that the plugin raises."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.plugin_utils._answers import reading


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PgherdError("ask pg1: it is down.", "Start it."), "ask pg1: it is down. Start it."),
        (KeyError("instance"), "Read what they said: KeyError: 'instance'. Leave it as it is."),
        (ValueError("x"), "Read what they said: ValueError: x. Leave it as it is."),
    ],
)
@pytest.mark.parametrize("kind", [AnsibleError, AnsibleActionFail])
def test_what_is_wrong_is_told(error: Exception, sentence: str, kind: type[AnsibleError]) -> None:
    with pytest.raises(kind) as caught, reading("what they said", "Leave it as it is.", kind):
        raise error
    # Ansible may append what the cause says.
    assert str(caught.value).startswith(sentence.rstrip("."))
    assert caught.value.__cause__ is error


def test_what_is_no_answer_of_a_host_is_not_taken_for_one() -> None:
    with pytest.raises(ZeroDivisionError), reading("what they said", "Leave it."):
        raise ZeroDivisionError
