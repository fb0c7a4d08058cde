# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""SCRAM verifiers, against such as PostgreSQL made itself."""

from __future__ import annotations

import pytest
from pgherd.objects.scram import is_verifier, make_verifier, matches

# Recorded from PostgreSQL 17.12: CREATE ROLE r PASSWORD '...'; SELECT rolpassword FROM pg_authid WHERE rolname = 'r'.
RECORDED = [
    (
        "secret",
        "SCRAM-SHA-256$4096:Z6xfQMgAhGLjItFRH+v6kg==$Qy1xNeOQenR5YGTDc8A5noF7rOGoNKNqNzoEhOAQnSw=:cHrnt1rvcplrwfBlxM5T1c/oGAoYGOebhM5k7ebTLuk=",
    ),
    (
        'it\'s \\ "quoted": 1',
        "SCRAM-SHA-256$4096:iaZpGFLoQ4+hRNPB5J+axw==$MMP/HPtal9cG/+ctwaDzETyZX1W6MiA8oWnpNUgzgIU=:8EPpxDWSwldSNRb2QK4PvxqT1aia7NXlbmcFE7WK7Vk=",
    ),
    (
        "p\xe4ss",
        "SCRAM-SHA-256$4096:QlJRgJnB05rQKJvT6bZivg==$MdlQ+Qj7l6uWt+xhDCk1/15MHsIzPyiesPAQ0vKiYH0=:ufeVdfc2VzuAiHLTpsP9bPWspjXqbptZ29Nf8iW64e0=",
    ),
    (
        "pa\u0308ss",
        "SCRAM-SHA-256$4096:hMWC54cP5LE7uaHqtCnCgQ==$pD6IQjyG0WL2421yHWoKsoIG0+oJpZ58flbPn+lj0vA=:AiZbuJGY9qqQmi1FXrMXpoZ3H6on9t9/kHaCw1ygwtg=",
    ),
    (
        "\uff50\xe4\xadss\xa0x",
        "SCRAM-SHA-256$4096:WquqlUE/Xg0+W/JEsaE8kQ==$Psl8NXWq0LrgDeaZCou2ShRVIUjbgY7wdf5FgXn2xlw=:nWkJL0/5I03Apgj7lDwz6/0qc/YAaLRaj03yeqW4rgY=",
    ),
    (
        "\u0221\xe4",
        "SCRAM-SHA-256$4096:cMXWgXYG11XGXx8t8YFkPg==$y0g8zKEqkrl86u881ZXYK4lIBcqyVQKO0UJuDHJ5OWo=:OkYsHqrVbWdy35X7oImG96gD9Y0iZAWG2+GdJirrwD4=",
    ),
    (
        "\ue000x",
        "SCRAM-SHA-256$4096:2do+Wehl4EOpWKNt9KH4cg==$WNy4+/PXO6uXZoa2kvvJdgk43sXsn6uqYeqhqqApqLU=:SsDRMym7vO8EGgBYaBlff9uL3xsVEkW85mCa3QAjv0Y=",
    ),
    (
        "\u0627a",
        "SCRAM-SHA-256$4096:jnLOXVCE4qrvFgIEYbj4Mw==$IL/9TEqEO0JHLftkhNEY3OM7PssGgh3H5GnXJF/VU58=:uK6wNj+DwkqzFlIYnnp4epeUZO7fLmI8wttsyAw6tCI=",
    ),
    (
        "\xad",
        "SCRAM-SHA-256$4096:7JfGgcjSu9bXs4K3GKkj0w==$PpMu2hxciuaq+DlAv1r63a1ihXLG3QtDqMXIv7HPpi8=:+ElYGts3BrC74sNgWlx6kpcg7dK9cj9E/+hfwjrg/2c=",
    ),
    (
        "\xe4\x07",
        "SCRAM-SHA-256$4096:5DHrRx+At114wUxbQofC9A==$TJb2/2grmiBAb4A0/Q+FCy0W30Dwvus9ze1PospTiqI=:K+Uj/z4GAMIt7f4iJ8GGxS0MEH1EmOEYcOlHTINLQBo=",
    ),
    (
        "\u0627\xad\u0628",
        "SCRAM-SHA-256$4096:3QZyDtvKi6QDBMMvFcsk+g==$6qyOQDhVXpSNkONeEOvh9gPPkAxD0DD9S+MKnZKd1Kg=:ZGexwFMZ3WT+HIWeetFQKyysXIbB1u6lJd3vxYYYiiQ=",
    ),
    (
        "a\x07b",
        "SCRAM-SHA-256$4096:y8jdLaeP/27eLmiB44iPIQ==$szzioPYV7KKnvfZzGLHFthrgK6O9BqttWP6dOc1mdDo=:/aurRWGD4oK5L+BB/WI6OdMHwERFCvJ/hnKKzKQVa0E=",
    ),
    (
        "\u2168\xe4",
        "SCRAM-SHA-256$4096:osjsOcrP4/53W0x3F2o0/A==$DWoSBJlycoj0BlsGitRppOU7cNi1t4zDk2VQ5tGI0pU=:mrCmB1WC32lp/eNcRCuuxiTjgQuVm9GrcfA6/TqnVEw=",
    ),
]
# One password in the forms that SASLprep makes one: composed, decomposed, full width, soft hyphen, non-ASCII space.
SAME = [
    ("p\u00e4ss", "pa\u0308ss"),
    ("\uff50\u00e4ss", "p\u00e4ss"),
    ("p\u00e4\u00adss", "p\u00e4ss"),
    ("\u00e4\u00a0b", "\u00e4 b"),
    ("\u2168\u00e4", "IX\u00e4"),
]
# Prohibited, and so used as they are: unassigned, private use, mixed direction, nothing left after mapping, a control.
RAW = ["\u0221\u00e4", "\ue000x", "\u0627a", "\u00ad", "\u00e4\u0007"]


@pytest.mark.parametrize(("password", "verifier"), RECORDED)
def test_a_verifier_that_postgres_made_is_recognised(password: str, verifier: str) -> None:
    assert matches(verifier, password)
    assert not matches(verifier, password + "x")


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_password(one: str, other: str) -> None:
    assert matches(make_verifier(one), other)


@pytest.mark.parametrize("password", RAW)
def test_a_prohibited_password_is_used_as_it_is(password: str) -> None:
    assert matches(make_verifier(password), password)
    assert not matches(make_verifier(password), password + "\u00ad")


def test_a_right_to_left_password_is_prepared() -> None:
    assert matches(make_verifier("\u0627\u0628"), "\u0627\u00ad\u0628")


def test_ascii_is_left_alone_even_where_saslprep_would_not() -> None:
    assert matches(make_verifier("a\u0007b"), "a\u0007b")
    assert not matches(make_verifier("a\u0007b"), "ab")


def test_salt_is_random_and_form_is_known() -> None:
    one, other = make_verifier("secret"), make_verifier("secret")
    assert one != other
    assert one.startswith("SCRAM-SHA-256$4096:")
    assert is_verifier(one)
    assert not is_verifier("secret")


@pytest.mark.parametrize("verifier", [None, "", "md5d41d8cd98f00b204e9800998ecf8427e", "SCRAM-SHA-256$x"])
def test_other_forms_never_match(verifier: str | None) -> None:
    assert not matches(verifier, "secret")


def test_a_verifier_as_password_matches_itself_only() -> None:
    verifier = make_verifier("secret")
    assert matches(verifier, verifier)
    assert not matches(make_verifier("secret"), verifier)
