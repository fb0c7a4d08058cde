# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""``pgherd switchover``, ``promote`` and ``rejoin``: what is said and done, with an agent on the host and without."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import here_of
from pgherd import cli
from pgherd.agent.command_part import CommandPart
from pgherd.agent.verbs import Verbs
from pgherd.errors import Conflict
from pgherd.inventory import versions
from pgherd.layout import version_of
from pgherd.nodes.rejoin import Rejoin
from pgherd.places import by_hand
from pgherd.plan import Plan, Step
from pgherd.ports.links import Links
from pgherd.promotion import change, choice
from pgherd.promotion.choice import SwitchoverFacts
from scripted import ScriptedServer
from states import cluster, primary, streaming, survey

THREE = cluster(3)
SURVEY = survey(primary("pg1"), streaming("pg2"), streaming("pg3"))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done in this process; nothing is asked of real nodes."""
    did: list[str] = []

    def mine(_server: Any) -> dict[str, int]:
        return {"max_connections": 1}

    def look(_cluster: Any, _links: Any, to: str = "") -> tuple[SwitchoverFacts, str]:
        return SwitchoverFacts(SURVEY, "pg1", oldest=100.0 if to == "pg3" else 0.0), to or "pg2"

    monkeypatch.setattr(choice, "look", look)
    monkeypatch.setattr(by_hand, "links_from", lambda *_: Links(pytest.fail, lambda: None, mine))
    monkeypatch.setattr(change.ChangeExecutor, "switchover", lambda _self, primary: did.append(f"here, from {primary}"))
    monkeypatch.setattr(
        by_hand,
        "here",
        lambda found, me, say, told: here_of(found, me, say=say, version=version_of(found.node(me), told)),
    )
    monkeypatch.setattr(by_hand, "look", lambda _mine: None)
    monkeypatch.setattr(Rejoin, "run", lambda _self, target: did.append(f"here, below {target}"))
    return did


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The command with its words, beside an agent of the node *agent* where that is given; the exit code and what it says.
    *version*: PostgreSQL's, as the description of the cluster has it."""
    file, socket = tmp_path / "cluster.json", str(tmp_path / "command")
    monkeypatch.setattr(by_hand, "commands", lambda: socket)

    def command(*words: str, agent: str = "", version: int = 0) -> tuple[int, str]:
        file.write_text(json.dumps(versions.asked(THREE, version).to_dict()))

        def verb(say: Callable[[str], None], asked: Mapping[str, Any]) -> Mapping[str, Any]:
            say(f"the agent: {json.dumps(asked)}")
            return {}

        known = {"switchover": verb, "promote": verb, "rejoin": verb}
        part = (
            CommandPart({}, socket, print, Verbs(agent, known, {"postgres": 17}, lambda _line: None)) if agent else None
        )
        try:
            code = cli.main([*words, "--cluster", str(file)])
        finally:
            if part:
                part.close()
        return code, capsys.readouterr().err

    return command


BEGIN = "switchover: hand over from pg1 to pg2\n"


@pytest.mark.parametrize(
    ("words", "agent", "code", "said", "here"),
    [
        ("switchover", "pg2", 0, BEGIN + 'the agent: {"primary": "pg1"}\n', []),
        ("switchover pg2", "pg2", 0, BEGIN + 'the agent: {"primary": "pg1"}\n', []),
        ("switchover pg2 --host pg2", "", 0, BEGIN, ["here, from pg1"]),
        ("switchover pg2 --check", "pg3", 0, BEGIN, []),
        (
            "switchover pg2",
            "pg3",
            3,
            BEGIN + "pgherd: switchover on pg2: its agent cannot be asked from here: ",
            [],
        ),
        ("switchover pg1", "pg1", 0, "switchover: pg1 is the primary.\n", []),
        (
            "switchover pg3",
            "pg3",
            3,
            "pgherd: Switch over to pg3: wanted a safe handover, found A transaction on pg1",
            [],
        ),
        ("switchover pg3 --force", "pg3", 0, "switchover: A transaction on pg1 has been running for 100 s", []),
        ("switchover pg9", "pg2", 3, "pgherd: pg9 is none of pg1, pg2, pg3, the data nodes of cluster", []),
        ("switchover", "", 3, "pgherd: switch over: no agent here says which node this is. Say --host, or start", []),
        ("switchover --host pg9", "", 3, "pgherd: pg9 is none of pg1, pg2, pg3", []),
    ],
)
def test_switchover(run: Any, done: list[str], words: str, agent: str, code: int, said: str, here: list[str]) -> None:
    found, text = run(*words.split(), agent=agent)
    assert (found, done) == (code, here), text
    assert text.startswith(said)
    if words.endswith("--force"):
        assert text.endswith('switchover: hand over from pg1 to pg3\nthe agent: {"primary": "pg1"}\n')


def promotion(_cluster: Any, target: str, links: Links, accept_loss: bool) -> tuple[Plan, str]:
    if target == "pg1":
        return Plan("primary", {}, {}), ""
    if not accept_loss:
        raise Conflict(f"Promote {target}", "a promotion that loses nothing", "rows may go")
    said = "" if links.least(ScriptedServer(target, [])) else " elsewhere"
    step = Step("promote", f"promote {target}{said}: rows may go", {"primary": "pg1", "accept_loss": accept_loss})
    return Plan("primary", {"primary": "none"}, {"primary": target}, (step,)), "rows may go"


WORD = '{"primary": "pg1", "accept_loss": true}'


@pytest.mark.parametrize(
    ("words", "agent", "code", "said", "here"),
    [
        ("promote --accept-loss", "pg2", 0, f"promote pg2: rows may go\nthe agent: {WORD}\n", []),
        ("promote pg2 --accept-loss", "pg2", 0, f"promote pg2: rows may go\nthe agent: {WORD}\n", []),
        ("promote pg2 --accept-loss --host pg2", "", 0, "promote pg2: rows may go\n", ["here, for pg1, True"]),
        ("promote pg2 --accept-loss --check", "pg3", 0, "promote pg2 elsewhere: rows may go\n", []),
        ("promote pg2", "pg2", 3, "pgherd: Promote pg2: wanted a promotion that loses nothing, found rows may go", []),
        ("promote pg1", "pg2", 0, "promote: pg1 is the primary.\n", []),
        (
            "promote pg2 --accept-loss",
            "pg3",
            3,
            "promote pg2 elsewhere: rows may go\npgherd: promote on pg2: its agent cannot be asked from here: ",
            [],
        ),
        ("promote pg2 --primary pg1", "pg2", 3, "pgherd: promote: --primary is repmgrd's.", []),
        ("promote pg9", "pg2", 3, "pgherd: pg9 is none of pg1, pg2, pg3", []),
        ("promote", "", 3, "pgherd: promote: no agent here says which node this is. Say --host, or start", []),
    ],
)
def test_promote(
    run: Any,
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    agent: str,
    code: int,
    said: str,
    here: list[str],
) -> None:
    monkeypatch.setattr(change, "promotion", promotion)
    monkeypatch.setattr(
        change.ChangeExecutor,
        "promote",
        lambda _self, primary, accept_loss: done.append(f"here, for {primary}, {accept_loss}"),
    )
    found, text = run(*words.split(), agent=agent)
    assert (found, done) == (code, here), text
    assert text.startswith(said)


def test_what_repmgrd_asks_for_is_asked_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("pgherd.agent.command_part.ask", lambda *words: asked.append(words[:2]) or 0)
    assert cli.main(["promote", "--host", "pg2", "--accept-loss"]) == 0
    assert asked == [("promote", {"primary": "", "accept_loss": True})]


ELSEWHERE = "rejoin: bring pg3 back below pg1, unless it streams already\n"


@pytest.mark.parametrize(
    ("words", "live", "code", "said"),
    [
        ("rejoin pg3", "pg1", 3, ELSEWHERE + "pgherd: rejoin on pg3: its agent cannot be asked from here: "),
        ("rejoin pg3 --check", "pg1", 0, ELSEWHERE),
        ("rejoin pg3", "pg3", 0, "rejoin: pg3 is the primary, and has nothing to come back from.\n"),
        ("rejoin pg3", "", 3, "rejoin: pg3 is left alone: no primary answers.\n"),
        ("rejoin pg9", "pg1", 3, "pgherd: pg9 is none of pg1, pg2, pg3"),
    ],
)
def test_rejoin_of_another_node(
    run: Any, done: list[str], monkeypatch: pytest.MonkeyPatch, words: str, live: str, code: int, said: str
) -> None:
    primary_ = SimpleNamespace(name=live) if live else None
    monkeypatch.setattr(by_hand, "look_around", lambda _cluster: SimpleNamespace(live_primary=lambda: primary_))
    found, text = run(*words.split(), agent="pg2")
    assert (found, done) == (code, []), text
    assert text.startswith(said)


BACK = Plan("pg1", {}, {}, (Step("rejoin", "bring pg1 back below pg2", {"upstream": "pg2"}),))


@pytest.mark.parametrize(
    ("words", "plan", "left", "agent", "code", "said", "here"),
    [
        ("rejoin", BACK, "", "pg1", 0, 'rejoin: bring pg1 back below pg2\nthe agent: {"target": "pg2"}\n', []),
        ("rejoin --check", BACK, "", "pg1", 0, "rejoin: bring pg1 back below pg2\n", []),
        ("rejoin --host pg1 --postgres 17", BACK, "", "", 0, "rejoin: bring pg1 back below pg2\n", ["here, below pg2"]),
        (
            "rejoin --host pg1",
            BACK,
            "",
            "",
            3,
            "pgherd: work with PostgreSQL on pg1: the cluster's description has no version for it. Run the site playbook.",
            [],
        ),
        ("rejoin", Plan("pg1", {}, {}), "", "pg1", 0, "rejoin: pg1 has nothing to come back from.\n", []),
        ("rejoin", Plan("pg1", {}, {}), "no primary answers", "pg1", 3, "rejoin: no primary answers\n", []),
    ],
)
def test_rejoin(
    run: Any,
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    plan: Plan,
    left: str,
    agent: str,
    code: int,
    said: str,
    here: list[str],
) -> None:
    monkeypatch.setattr(by_hand, "plan", lambda *_: (plan, left))
    found, text = run(*words.split(), agent=agent)
    assert (found, done) == (code, here), text
    assert text.startswith(said)


def test_a_description_that_says_which_postgresql_it_is_asks_no_agent(
    run: Any, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hand, "plan", lambda *_: (BACK, ""))
    assert run("rejoin", "--host", "pg1", version=17) == (0, "rejoin: bring pg1 back below pg2\n")
    assert done == ["here, below pg2"]
    code, text = run("rejoin", "--host", "pg1", "--postgres", "15", version=17)
    assert (code, done) == (3, ["here, below pg2"])
    assert text.startswith(
        "pgherd: Work with PostgreSQL on pg1: wanted version 17, as the cluster's description has it"
    )
