# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Certificates of the user's own: what no host would accept is one sentence before a host is touched, what ends is told."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.build import build
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.variables import Host
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.certificates import trusting
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _cluster, _secrets
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = [Host("pg1", ("postgres",), {"node_id": 1}), Host("pg2", ("postgres",), {"node_id": 2, "upstream": "pg1"})]
CLUSTER = build(HOSTS, {"cluster_name": "demo", "cluster_durability": "async"})


class Pair(SimpleNamespace):
    """A certificate and its key, as PEM too."""

    certificate: x509.Certificate
    key: Any

    @property
    def crt(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def secret(self, passphrase: bytes = b"") -> str:
        hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden).decode()


def made(
    subject: str,
    by: Pair | None = None,
    days: tuple[float, float] = (-1, 700),
    ca: bool = False,
    length: int | None = None,
    use: Any = ExtendedKeyUsageOID.SERVER_AUTH,
    names: Sequence[str] = (),
    key: Any = None,
) -> Pair:
    """Signed *by* another or itself; *days* from now from when and until when it is good."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    above = by or SimpleNamespace(key=key, certificate=None)
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by.certificate.subject if by else name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=ca, path_length=length if ca else None), critical=True)
    )
    if not ca:
        alternatives = [x509.DNSName(item) for item in names or (subject,)]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    plain = isinstance(above.key, ed25519.Ed25519PrivateKey)
    return Pair(certificate=builder.sign(above.key, None if plain else hashes.SHA256()), key=key)


ROOT, OTHER = made("root", ca=True, days=(-1, 3000)), made("other", ca=True, days=(-1, 3000))
MIDDLE = made("middle", ROOT, ca=True)
PG1, PG2 = made("pg1", ROOT), made("pg2", MIDDLE)
BOTH = ROOT.crt + MIDDLE.crt
ENDS = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=40)
SHORT = made("short", ROOT, days=(-1, 40), ca=True)
STALE, EARLY = made("stale", days=(-9, -2), ca=True), made("early", days=(2, 900), ca=True)
NARROW = made("narrow", ca=True, length=0)
LEAF = made("leaf", ROOT)
TWISTED = made("twisted", ca=True, key=ed25519.Ed25519PrivateKey.generate())


def judge(tmp_path: Path, bundle: str, key: str = "", **pairs: tuple[str, str]) -> tuple[list[str], SecretStore]:
    """What the control machine says of an authority and of hosts' certificates and keys of the user's own."""
    place = tmp_path / "store"
    store = SecretStore(str(place))
    for name, (certificate, secret) in pairs.items():
        store._files.write(f"hosts/{name}.crt", certificate)
        store._files.write(f"hosts/{name}.key", secret)
    (tmp_path / "own.crt").write_text(bundle)
    (tmp_path / "own.key").write_text(key)
    own = {
        "cluster_ca_certificate": str(tmp_path / "own.crt"),
        "cluster_ca_key": str(tmp_path / "own.key") if key else "",
    }
    return _cluster.certificates(store, CLUSTER, own), store


def of(pair: Pair, more: str = "") -> tuple[str, str]:
    return pair.crt + more, pair.secret()


GOOD = {"pg1": of(PG1), "pg2": of(PG2)}


@pytest.mark.parametrize("bundle", [BOTH, MIDDLE.crt + ROOT.crt, MIDDLE.crt + OTHER.crt + ROOT.crt])
def test_the_users_own_are_taken(tmp_path: Path, bundle: str) -> None:
    assert judge(tmp_path, bundle, **GOOD)[0] == []


def test_what_is_between_may_be_in_the_hosts_file(tmp_path: Path) -> None:
    assert judge(tmp_path, ROOT.crt, pg1=of(PG1), pg2=of(PG2, MIDDLE.crt))[0] == []
    with pytest.raises(
        ConfigError, match=r"hosts/pg2.crt does not come from the authority in .*own.crt, but from CN=middle"
    ):
        judge(tmp_path, ROOT.crt, **GOOD)


WRONG = [
    (
        "another authority",
        BOTH,
        of(made("pg2", OTHER)),
        "does not come from the authority in .*own.crt, but from CN=other; put",
    ),
    ("one that signed itself", BOTH, of(made("pg2")), "does not come from the authority"),
    ("ended", BOTH, of(made("pg2", ROOT, days=(-9, -2))), r"pg2.crt ended on 20\d\d-\d\d-\d\d; put another there."),
    (
        "not yet",
        BOTH,
        of(made("pg2", ROOT, days=(2, 9))),
        "pg2.crt is not valid before 20.* UTC; look at this machine's clock, or",
    ),
    ("another's key", BOTH, (PG2.crt, PG1.secret()), "pg2.crt and the key beside it are not of one pair"),
    (
        "key with a passphrase",
        BOTH,
        (PG2.crt, PG2.secret(b"canary")),
        "pg2.key asks for a passphrase; write it without one",
    ),
    ("no key", BOTH, (PG2.crt, "canary"), "pg2.key is no private key in PEM form"),
    ("no certificate", BOTH, ("canary", PG2.secret()), "pg2.crt is no certificate in PEM form; put one there."),
    (
        "another name",
        BOTH,
        of(made("pg2", ROOT, names=["db2"])),
        "not be accepted: Hostname mismatch.*put one there for the name pg2",
    ),
    (
        "clients only",
        BOTH,
        of(made("pg2", ROOT, use=ExtendedKeyUsageOID.CLIENT_AUTH)),
        "not be accepted: unsuitable certificate",
    ),
    (
        "by a key without a hash",
        BOTH + TWISTED.crt,
        of(made("pg2", TWISTED)),
        "neither RSA nor EC, and with it logins fail",
    ),
    (
        "ended authority",
        BOTH + STALE.crt,
        of(made("pg2", STALE)),
        "own.crt: CN=stale ended on .*name another in cluster_ca_cert",
    ),
    ("early authority", BOTH + EARLY.crt, of(made("pg2", EARLY)), "own.crt: CN=early is not valid before"),
    (
        "no authority",
        BOTH + LEAF.crt,
        of(made("pg2", LEAF)),
        "own.crt: CN=leaf is no authority's certificate and may sign none",
    ),
    (
        "chain too long",
        BOTH + NARROW.crt,
        of(made("pg2", made("m", NARROW, ca=True)), ""),
        "does not come from the authority",
    ),
]


@pytest.mark.parametrize(("bundle", "pair", "sentence"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_hosts_own_that_does_not_do(tmp_path: Path, bundle: str, pair: tuple[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        judge(tmp_path, bundle, pg1=of(PG1), pg2=pair)
    (said,) = caught.value.problems
    assert "canary" not in said


def test_what_openssl_alone_knows_is_found_too(tmp_path: Path) -> None:
    """A root that allows nobody between, for one."""
    middle = made("m", NARROW, ca=True)
    with pytest.raises(ConfigError, match="path length constraint exceeded"):
        judge(tmp_path, BOTH + NARROW.crt + middle.crt, pg1=of(PG1), pg2=of(made("pg2", middle)))


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(tmp_path, BOTH, pg1=of(PG2), pg2=of(made("pg2", ROOT, days=(-9, -2))))
    assert [("hosts/pg1.crt" in one, "hosts/pg2.crt" in one) for one in caught.value.problems] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("authority", "sentence"),
    [
        (STALE, "own.crt: CN=stale ended on .*; name another in cluster_ca_certificate."),
        (EARLY, "own.crt: CN=early is not valid before .* look at this machine's clock, or name another"),
        (TWISTED, "own.key is neither an RSA nor an EC key, and logins to PostgreSQL need one of these"),
        (made("m", NARROW, ca=True), "own.crt: who signed CN=m is not in the file; put that certificate into it too."),
        (LEAF, "own.crt: CN=leaf is no authority's certificate and may sign none"),
    ],
)
def test_an_authority_that_would_sign_in_vain(tmp_path: Path, authority: Pair, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        judge(tmp_path, authority.crt + ROOT.crt, authority.secret())
    assert not (tmp_path / "store/hosts").exists()


def test_the_end_is_told_where_the_key_is_the_users(tmp_path: Path) -> None:
    soon = made("pg2", MIDDLE, days=(-1, 40))
    (said,) = judge(tmp_path, BOTH, pg1=of(PG1), pg2=of(soon))[0]
    assert f"hosts/pg2.crt ends on {ENDS:%Y-%m-%d}, and with it all connections to that host; put another" in said


def test_an_authority_s_end_is_told_once(tmp_path: Path) -> None:
    said, store = judge(tmp_path, SHORT.crt + ROOT.crt, SHORT.secret())
    assert len(said) == 1
    assert f"The authority CN=short in {tmp_path}/own.crt ends on {ENDS:%Y-%m-%d}" in said[0]
    # Clients that know the root alone need what is between.
    found = x509.load_pem_x509_certificates(store._read("hosts/pg1.crt").encode())
    assert [one.subject.rfc4514_string() for one in found] == ["CN=pg1", "CN=short"]


def test_what_a_run_makes_anew_is_not_judged_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "store")
    with monkeypatch.context() as before:
        before.setattr(_secrets, "HOST_DAYS", -0.001)
        store = SecretStore(place)
        store.host("pg1", ["pg1"], store.authority("", ""))
    assert _cluster.certificates(SecretStore(place, forecast=True), CLUSTER, {}) == []
    assert _cluster.certificates(SecretStore(place), CLUSTER, {}) == []


def test_ours_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _cluster.certificates(SecretStore(str(tmp_path / "store")), CLUSTER, {}) == []
    assert _cluster.certificates(SecretStore(str(tmp_path / "other"), forecast=True), CLUSTER, {}) == []
    monkeypatch.setattr(_secrets, "CA_DAYS", -0.001)
    with pytest.raises(
        ConfigError,
        match=r"ca.crt: CN=pgherd \w+ ended on .*move it and ca.key out of .* and run with -e cluster_new_secrets=true",
    ):
        _cluster.certificates(SecretStore(str(tmp_path / "ended")), CLUSTER, {})


def test_a_client_is_no_stricter_than_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 refuses authorities without key usage, such as ROOT here, and takes one between for a root."""
    strict, partial = ssl.VERIFY_X509_STRICT, getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", ssl.VerifyFlags(0))
    default = ssl.create_default_context

    def later(**given: Any) -> ssl.SSLContext:
        context = default(**given)
        context.verify_flags |= strict | partial
        return context

    monkeypatch.setattr(ssl, "create_default_context", later)
    assert not trusting(cadata=ROOT.crt).verify_flags & (strict | partial)
