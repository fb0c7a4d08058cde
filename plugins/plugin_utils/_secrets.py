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
from ansible_collections.pgherd.cluster.plugins.plugin_utils._certificates import (
    SOON,
    chain,
    is_root,
    judge_authority,
    judge_host,
    now,
    pem,
    read_certificates,
    read_key,
    signer,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._private import PrivateDirectory

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

CA_DAYS, HOST_DAYS = 3650, 730
# A host serves with its certificate, and can show by it who it is where it asks others.
USES = () if CRYPTOGRAPHY_ERROR else (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
PLACEHOLDER = "(to be made)"


class SecretStore:
    """The directory of secrets of one cluster. With *forecast* nothing is written, and what is missing is PLACEHOLDER."""

    def __init__(self, directory: str, forecast: bool = False) -> None:
        if CRYPTOGRAPHY_ERROR:
            raise PgherdError(f"make certificates: {CRYPTOGRAPHY_ERROR}.", "Install cryptography beside ansible-core.")
        self._directory = directory
        self._files = PrivateDirectory(directory, forecast)
        self._forecast = forecast
        self.made: list[str] = []

    def passwords(self, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, str]:
        """The password of each name: the *given* one, else the one that is kept here, else a new one, kept from now on."""
        kept = self._kept()
        missing = [name for name in names if name not in kept and not given.get(name)]
        for name in missing:
            alphabet = string.ascii_letters + string.digits
            kept[name] = PLACEHOLDER if self._forecast else "".join(secrets.choice(alphabet) for _position in range(32))
        if missing:
            self._write("passwords.yml", yaml.safe_dump(kept, allow_unicode=True), f"passwords of {', '.join(missing)}")
        return {name: str(given.get(name) or kept[name]) for name in names}

    def _kept(self) -> dict[str, Any]:
        """What passwords.yml holds. YAML's own words about a mistake would show the line that it is in."""
        where, line = os.path.join(self._directory, "passwords.yml"), ""
        try:
            kept = yaml.safe_load(self._read("passwords.yml") or "{}")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            kept, line = None, f" (line {mark.line + 1})" if mark else ""
        if not isinstance(kept, dict) or not all(isinstance(word, (str, int, float)) for word in kept.values()):
            raise ConfigError([f"{where} does not hold passwords by role name{line}; mend it, or take the file away."])
        return kept

    def kept(self, names: Iterable[str]) -> dict[str, str]:
        """The passwords of *names* that are kept here."""
        found = self._kept()
        return {name: str(found[name]) for name in names if name in found}

    def present_authority(self, own_certificate: str, own_key: str) -> str:
        """The certificate that authority() gives where it need not make one, else ''. Raises ConfigError as it does."""
        if own_certificate:
            return _own_authority(own_certificate, own_key)[0]
        return self._read("ca.crt") if self._read("ca.key") else ""

    def authority(self, own_certificate: str, own_key: str) -> tuple[str, str]:
        """The authority's certificate and key as PEM: the user's own by path, else the one here, else a new one.

        The key is '' where the user's own authority keeps it. Raises ConfigError for a path that cannot be read, and for
        what is no authority's certificate, or not its key.
        """
        if own_certificate:
            return _own_authority(own_certificate, own_key)
        if not self._read("ca.key") or not self._read("ca.crt"):
            key = ec.generate_private_key(ec.SECP256R1())
            self._write("ca.key", _pem_key(key), "the certificate authority's key")
            self._write("ca.crt", pem([_authority_certificate(key)]), "the certificate authority")
        return self._read("ca.crt") or PLACEHOLDER, self._read("ca.key") or PLACEHOLDER

    def host(self, name: str, names: Iterable[str], ca: tuple[str, str]) -> tuple[str, str]:
        """Certificate and key of the host called *name*, valid for all *names* (DNS names and addresses), as PEM.

        Made new when missing, when it ends within SOON, lacks one of the names or uses, or has another issuer.
        Raises ConfigError when there is no key to sign with and the user has put none here.
        """
        wanted = sorted(set(names))
        certificate, key = self._read(f"hosts/{name}.crt"), self._read(f"hosts/{name}.key")
        if PLACEHOLDER in ca:
            return PLACEHOLDER, PLACEHOLDER
        if certificate and key and not ca[1]:
            return certificate, key
        if certificate and key and _good(certificate, key, wanted, ca):
            return certificate, key
        if not ca[1]:
            raise ConfigError(
                [
                    f"{name}: there is no certificate for it; put hosts/{name}.crt (for {', '.join(wanted)}) and "
                    f"hosts/{name}.key into {self._directory}, or name the authority's key in cluster_ca_key."
                ]
            )
        if self._forecast:
            self.made.append(f"certificate of {name}")
            return PLACEHOLDER, PLACEHOLDER
        private = ec.generate_private_key(ec.SECP256R1())
        self._write(f"hosts/{name}.key", _pem_key(private), f"key of {name}")
        self._write(f"hosts/{name}.crt", pem(_host_certificates(name, wanted, private, ca)), f"certificate of {name}")
        return self._read(f"hosts/{name}.crt"), self._read(f"hosts/{name}.key")

    def judge_authority(self, ca: tuple[str, str], own_certificate: str, own_key: str) -> None:
        """Raises ConfigError for what is wrong with the authority that certificates are made with; paths as in authority()."""
        if ca[1] and PLACEHOLDER not in ca:
            new = (
                f"move it and ca.key out of {self._directory} and run with -e cluster_new_secrets=true: all hosts get "
                "certificates of a new one."
            )
            cure = "name another in cluster_ca_certificate." if own_certificate else new
            judge_authority(ca, own_certificate or self._at("ca.crt"), own_key or self._at("ca.key"), cure)

    def judge_host(self, name: str, address: str, ca: tuple[str, str], own_certificate: str) -> list[str]:
        """What will be wrong soon with what host() gave for *name*, reached at *address*. Raises ConfigError for what is now."""
        certificate, key = self._read(f"hosts/{name}.crt"), self._read(f"hosts/{name}.key")
        place = self._at(f"hosts/{name}.crt"), self._at(f"hosts/{name}.key")
        return judge_host(
            (certificate, key), place, (ca[0], own_certificate or self._at("ca.crt")), address, bool(ca[1])
        )

    def _at(self, name: str) -> str:
        return os.path.join(os.path.abspath(os.path.expanduser(self._directory)), name)

    def salt(self) -> str:
        """What digests of secrets have besides; made once."""
        if not self._read("salt"):
            self._write("salt", secrets.token_hex(32) + "\n", "a salt")
        return self._read("salt") or PLACEHOLDER

    def ssh_pair(self) -> tuple[str, str]:
        """Private and public key, in OpenSSH's formats, for the postgres users of the nodes; made once, by the step
        cluster_secrets: hosts whose files are rendered at the same time would each make one."""
        if not self._read("ssh.key"):
            key = ed25519.Ed25519PrivateKey.generate()
            encoding, plain = serialization.Encoding, serialization.NoEncryption()
            private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.OpenSSH, plain).decode()
            public = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
            self._write("ssh.pub", public + "\n", "public SSH key of the nodes")
            self._write("ssh.key", private, "SSH key of the nodes")
        return self._read("ssh.key") or PLACEHOLDER, self._read("ssh.pub") or PLACEHOLDER

    def _read(self, name: str) -> str:
        return self._files.read(name)

    def _write(self, name: str, text: str, what: str) -> None:
        self.made.append(what)
        if not self._forecast:
            self._files.write(name, text)


def _own(path: str, variable: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise ConfigError([f"{variable}: {path} is no text; name a file in PEM form."]) from error
    except OSError as error:
        raise ConfigError([f"{variable}: {path} cannot be read: {error.strerror}; name a file that can."]) from error


def _own_authority(certificate: str, key: str) -> tuple[str, str]:
    text = _own(certificate, "cluster_ca_certificate")
    where = f"cluster_ca_certificate: {certificate}"
    found = read_certificates(text, where)
    if "PRIVATE KEY" in text:
        raise ConfigError(
            [f"{where} holds a key too, and every host gets this file; name one with certificates alone."]
        )
    if not any(one.subject == one.issuer for one in found):
        # libpq's chains end at a root; one that it does not know ends every connection.
        raise ConfigError([f"{where} has no root, no certificate that signs itself; put the root's into it too."])
    if not key:
        return text, ""
    secret = _own(key, "cluster_ca_key")
    otherwise = ", or leave cluster_ca_key empty and make the hosts' certificates yourself"
    if signer(found, read_key(secret, f"cluster_ca_key: {key}", otherwise)) is None:
        raise ConfigError(
            [f"cluster_ca_key: {key} is the key of no certificate in {certificate}; name the one that is."]
        )
    return text, secret


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
    begin = now()
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        # An hour back: a host's clock may be behind the control machine's.
        .not_valid_before(begin - datetime.timedelta(hours=1))
        .not_valid_after(begin + datetime.timedelta(days=days))
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


def _host_certificates(
    name: str, names: list[str], key: ec.EllipticCurvePrivateKey, ca: tuple[str, str]
) -> list[x509.Certificate]:
    """The host's own, and those between it and the root: a client may know the root alone."""
    private = read_key(ca[1], "the authority's key")
    known = read_certificates(ca[0], "the authority's certificate")
    issuer = signer(known, private)
    if issuer is None:
        raise ConfigError(["The authority's key ca.key is not that of ca.crt; put both back as they were."])
    made = (
        _builder(name, issuer.subject, HOST_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(USES)), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(item) for item in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    return [made, *(one for one in chain(issuer, known) if not is_root(one))]


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


def _good(certificate: str, key: str, names: list[str], ca: tuple[str, str]) -> bool:
    """Whether a host's certificate is what would be made for it now, and will be for a while."""
    try:
        found = read_certificates(certificate, "it")[0]
        own = signer([found], read_key(key, "it"))
        issuer = signer(read_certificates(ca[0], "it"), read_key(ca[1], "the authority's key"))
        if own is None or issuer is None:
            return False
        found.verify_directly_issued_by(issuer)
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, ConfigError):
        return False
    has = {str(item.value) for item in extension}
    ends = found.not_valid_after_utc - now()
    return set(names) <= has and set(USES) <= uses and ends > SOON
