# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Passwords and certificates on the control machine, in files that only their owner reads. **PRIVATE**."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import string
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:  # ansible-core itself needs it, so this is a broken installation
    CRYPTOGRAPHY_ERROR: ImportError | None = error
else:
    CRYPTOGRAPHY_ERROR = None

CA_DAYS, HOST_DAYS, RENEW_DAYS = 3650, 730, 60
PLACEHOLDER = "(to be made)"


class SecretStore:
    """The directory of secrets of one cluster. With *forecast* nothing is written, and what is missing is PLACEHOLDER."""

    def __init__(self, directory: str, forecast: bool = False) -> None:
        if CRYPTOGRAPHY_ERROR:
            raise PgherdError(f"make certificates: {CRYPTOGRAPHY_ERROR}.", "Install cryptography beside ansible-core.")
        self._directory = directory
        self._forecast = forecast
        self.made: list[str] = []

    def passwords(self, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, str]:
        """The password of each name: the *given* one, else the one that is kept here, else a new one, kept from now on."""
        kept = yaml.safe_load(self._read("passwords.yml") or "{}")
        missing = [name for name in names if name not in kept and not given.get(name)]
        for name in missing:
            alphabet = string.ascii_letters + string.digits
            kept[name] = PLACEHOLDER if self._forecast else "".join(secrets.choice(alphabet) for _position in range(32))
        if missing:
            self._write("passwords.yml", yaml.safe_dump(kept, allow_unicode=True), f"passwords of {', '.join(missing)}")
        return {name: str(given.get(name) or kept[name]) for name in names}

    def authority(self, own_certificate: str, own_key: str) -> tuple[str, str]:
        """The authority's certificate and key as PEM: the user's own by path, else the one here, else a new one.

        The key is '' where the user's own authority keeps it. Raises ConfigError for a path that cannot be read.
        """
        if own_certificate:
            return _own(own_certificate, "cluster_ca_certificate"), _own(own_key, "cluster_ca_key") if own_key else ""
        if not self._read("ca.key") or not self._read("ca.crt"):
            key = ec.generate_private_key(ec.SECP256R1())
            self._write("ca.key", _pem_key(key), "the certificate authority's key")
            self._write("ca.crt", _pem(_authority_certificate(key)), "the certificate authority", mode=0o644)
        return self._read("ca.crt") or PLACEHOLDER, self._read("ca.key") or PLACEHOLDER

    def host(self, name: str, names: Iterable[str], ca: tuple[str, str]) -> tuple[str, str]:
        """Certificate and key of the host called *name*, valid for all *names* (DNS names and addresses), as PEM.

        Made new when missing, when it ends within RENEW_DAYS, lacks one of the names or has another issuer.
        Raises ConfigError when there is no key to sign with and the user has put none here.
        """
        wanted = sorted(set(names))
        certificate, key = self._read(f"hosts/{name}.crt"), self._read(f"hosts/{name}.key")
        if PLACEHOLDER in ca:
            return PLACEHOLDER, PLACEHOLDER
        if certificate and key and (not ca[1] or _good(certificate, wanted, ca[0])):
            return certificate, key
        if not ca[1]:
            raise ConfigError(
                [
                    f"{name}: there is no certificate for it; put hosts/{name}.crt and hosts/{name}.key into "
                    f"{self._directory}, or name the authority's key in cluster_ca_key."
                ]
            )
        if self._forecast:
            self.made.append(f"certificate of {name}")
            return PLACEHOLDER, PLACEHOLDER
        private = ec.generate_private_key(ec.SECP256R1())
        self._write(f"hosts/{name}.key", _pem_key(private), f"key of {name}")
        self._write(f"hosts/{name}.crt", _pem(_host_certificate(name, wanted, private, ca)), f"certificate of {name}")
        return self._read(f"hosts/{name}.crt"), self._read(f"hosts/{name}.key")

    def ssh_pair(self) -> tuple[str, str]:
        """Private and public key, in OpenSSH's formats, for the postgres users of the nodes; made once."""
        if not self._read("ssh.key"):
            key = ed25519.Ed25519PrivateKey.generate()
            encoding, plain = serialization.Encoding, serialization.NoEncryption()
            private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.OpenSSH, plain).decode()
            public = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
            self._write("ssh.pub", public + "\n", "SSH key of the nodes", mode=0o644)
            self._write("ssh.key", private, "SSH key of the nodes")
        return self._read("ssh.key") or PLACEHOLDER, self._read("ssh.pub") or PLACEHOLDER

    def _read(self, name: str) -> str:
        path = os.path.join(self._directory, name)
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise PgherdError(f"read {path}: {error.strerror}.", "Run as the user whose cluster it is.") from error

    def _write(self, name: str, text: str, what: str, mode: int = 0o600) -> None:
        self.made.append(what)
        if self._forecast:
            return
        path = os.path.join(self._directory, name)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            temporary = path + ".new"
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(temporary, mode)
            os.rename(temporary, path)
        except OSError as error:
            raise PgherdError(f"write {path}: {error.strerror}.", "Set cluster_secrets_directory.") from error


def _own(path: str, variable: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise ConfigError([f"{variable}: {path} cannot be read: {error.strerror}; name a file that can."]) from error


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: str, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        # An hour back: a host's clock may be behind the control machine's.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _authority_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = f"pgherd {secrets.token_hex(4)}"
    return (
        _builder(subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]), CA_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _host_certificate(
    name: str, names: list[str], key: ec.EllipticCurvePrivateKey, ca: tuple[str, str]
) -> x509.Certificate:
    issuer = x509.load_pem_x509_certificate(ca[0].encode())
    signer: Any = serialization.load_pem_private_key(ca[1].encode(), password=None)
    return (
        _builder(name, issuer.subject, HOST_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(item) for item in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _usage(**given: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


def _good(certificate: str, names: list[str], ca: str) -> bool:
    found = x509.load_pem_x509_certificate(certificate.encode())
    issuer = x509.load_pem_x509_certificate(ca.encode())
    try:
        found.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    has = {str(item.value) for item in extension}
    ends = found.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    return set(names) <= has and ends > datetime.timedelta(days=RENEW_DAYS)
