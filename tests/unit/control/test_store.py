# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Passwords and certificates: made where missing, made anew where they do not do, one sentence where they cannot be."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.plugin_utils import _secrets
from ansible_collections.pgherd.cluster.plugins.plugin_utils._secrets import SecretStore
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

NAMES = ["pg1", "10.0.0.1"]
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(str(tmp_path / "store"))


def uses(certificate: str) -> set[Any]:
    found = x509.load_pem_x509_certificate(certificate.encode())
    return set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_host_serves_and_asks_with_its_certificate(store: SecretStore) -> None:
    ca = store.authority("", "")
    made = store.host("pg1", NAMES, ca)
    assert uses(made[0]) == {SERVER, CLIENT}
    assert store.host("pg1", NAMES, ca) == made
    assert store.made.count("certificate of pg1") == 1


def test_one_that_cannot_ask_is_made_anew(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the releases before could only serve."""
    ca = store.authority("", "")
    with monkeypatch.context() as before:
        before.setattr(_secrets, "USES", (SERVER,))
        old = store.host("pg1", NAMES, ca)
        assert store.host("pg1", NAMES, ca) == old
    new = store.host("pg1", NAMES, ca)
    assert (uses(old[0]), uses(new[0])) == ({SERVER}, {SERVER, CLIENT})
    # Only where we have the key: what the user made is the user's.
    (old_crt, old_key) = old
    place = Path(store._directory)
    (place / "hosts/pg1.crt").write_text(old_crt)
    (place / "hosts/pg1.key").write_text(old_key)
    assert store.host("pg1", NAMES, (ca[0], "")) == old


@pytest.mark.parametrize("broken", ["crt", "key", "another key", "another name", "ends soon"])
def test_what_does_not_do_is_made_anew(store: SecretStore, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    ca = store.authority("", "")
    with monkeypatch.context() as before:
        if broken == "ends soon":
            before.setattr(_secrets, "HOST_DAYS", 59)
        old = store.host("pg1", NAMES, ca)
    place = Path(store._directory, "hosts")
    if broken in ("crt", "key"):
        (place / f"pg1.{broken}").write_text("-----BEGIN CERTIFICATE-----\ngarbage\n-----END CERTIFICATE-----\n")
    if broken == "another key":
        (place / "pg1.key").write_text(store.host("pg2", ["pg2"], ca)[1])
    names = [*NAMES, "pg1.example.org"] if broken == "another name" else NAMES
    new = store.host("pg1", names, ca)
    assert new != old
    assert store.host("pg1", names, ca) == new


def pem(key: Any, passphrase: bytes = b"") -> str:
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden).decode()


def certificate(subject: str, key: Any, issuer: str, signer: Any) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    made = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=300))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


ROOT_KEY, MIDDLE_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ROOT = certificate("root", ROOT_KEY, "root", ROOT_KEY)
MIDDLE = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY)


def own(tmp_path: Path, bundle: str, key: str) -> tuple[str, str]:
    (tmp_path / "own.crt").write_text(bundle)
    (tmp_path / "own.key").write_text(key)
    return str(tmp_path / "own.crt"), str(tmp_path / "own.key")


@pytest.mark.parametrize("bundle", [ROOT + MIDDLE, MIDDLE + ROOT])
def test_a_bundle_is_signed_with_by_whose_key_it_is(store: SecretStore, tmp_path: Path, bundle: str) -> None:
    ca = store.authority(*own(tmp_path, bundle, pem(MIDDLE_KEY)))
    made = store.host("pg1", NAMES, ca)
    found = x509.load_pem_x509_certificate(made[0].encode())
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(MIDDLE.encode()))
    assert store.host("pg1", NAMES, ca) == made


def test_another_authority_in_steps(store: SecretStore, tmp_path: Path) -> None:
    """As docs/security.md says: first all know both, then all are signed by the new one."""
    old = store.authority("", "")
    before = store.host("pg1", NAMES, old)
    both = old[0] + ROOT
    assert store.host("pg1", NAMES, store.authority(*own(tmp_path, both, old[1]))) == before
    after = store.host("pg1", NAMES, store.authority(*own(tmp_path, both, pem(ROOT_KEY))))
    assert after != before
    assert store.host("pg1", NAMES, store.authority(*own(tmp_path, ROOT, pem(ROOT_KEY)))) == after


@pytest.mark.parametrize(
    ("bundle", "key", "sentence"),
    [
        (ROOT, pem(ROOT_KEY, b"canary"), "own.key asks for a passphrase; write it without one (openssl pkey"),
        (ROOT, "canary", "own.key is no private key in PEM form; name one that is."),
        (ROOT, pem(MIDDLE_KEY), "own.key is the key of no certificate in "),
        ("canary", pem(ROOT_KEY), "own.crt is no certificate in PEM form; put one there."),
        (ROOT.replace("\nMI", "\nXX"), pem(ROOT_KEY), "own.crt is no certificate in PEM form"),
        (MIDDLE, pem(MIDDLE_KEY), "own.crt has no root, no certificate that signs itself; put the root's into it too."),
        (ROOT + pem(ROOT_KEY), pem(ROOT_KEY), "own.crt holds a key too, and every host gets this file"),
    ],
)
def test_an_authority_that_does_not_do(
    store: SecretStore, tmp_path: Path, bundle: str, key: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        store.authority(*own(tmp_path, bundle, key))
    (said,) = caught.value.problems
    assert sentence in said
    assert "canary" not in said


@pytest.mark.parametrize(
    "text", ["app: canary\n canary: [\n", "canary", "- canary\n", "app: [canary]\n", "a: 'canary\n"]
)
def test_passwords_that_cannot_be_read_are_not_shown(store: SecretStore, text: str) -> None:
    store.authority("", "")
    store._files.write("passwords.yml", text)
    with pytest.raises(ConfigError) as caught:
        store.passwords(["app"], {})
    assert "passwords.yml does not hold passwords by role name" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_forecast_makes_nothing(tmp_path: Path) -> None:
    store = SecretStore(str(tmp_path / "store"), forecast=True)
    store.passwords(["app"], {})
    store.host("pg1", NAMES, store.authority("", ""))
    assert store.made
    assert not (tmp_path / "store").exists()
