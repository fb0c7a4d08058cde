# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""SCRAM-SHA-256 verifiers as PostgreSQL stores them, so that no clear password ever travels to a server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata

# PostgreSQL's SCRAM_SHA_256_DEFAULT_ITERATIONS and SCRAM_DEFAULT_SALT_LEN (src/include/common/scram-common.h).
ITERATIONS = 4096
SALT_BYTES = 16

_FORM = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def make_verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """The verifier of *password*, in the form of pg_authid.rolpassword; with a random salt unless *salt* is given."""
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    stored_key = hashlib.sha256(client_key).digest()
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def is_verifier(text: str) -> bool:
    """Whether *text* already is a SCRAM-SHA-256 verifier; PostgreSQL then stores it as it is."""
    return _FORM.fullmatch(text) is not None


def matches(verifier: str | None, password: str) -> bool:
    """Whether *verifier* (pg_authid.rolpassword; None: no password) was made from *password*, clear or a verifier.

    Recomputes with the stored salt and iterations. An MD5 hash never matches: it is to be replaced.
    """
    found = _FORM.fullmatch(verifier or "")
    if verifier is None or found is None:
        return False
    again = password if is_verifier(password) else make_verifier(password, base64.b64decode(found[2]), int(found[1]))
    return hmac.compare_digest(verifier, again)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _prepared(password: str) -> bytes:
    """SASLprep with PostgreSQL's liberties (src/common/saslprep.c): plain ASCII is left alone, the prohibitions are
    looked for before normalisation, and a password that breaks them is used as it is."""
    raw = password.encode()
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character)
    )
    if not mapped or any(prohibits(character) for character in mapped for prohibits in _PROHIBITED):
        return raw
    right_to_left = [stringprep.in_table_d1(character) for character in mapped]
    if any(right_to_left):
        mixed = any(stringprep.in_table_d2(character) for character in mapped)
        if mixed or not (right_to_left[0] and right_to_left[-1]):
            return raw
    return unicodedata.normalize("NFKC", mapped).encode()
