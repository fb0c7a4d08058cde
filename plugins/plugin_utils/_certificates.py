# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Certificates and keys on the control machine: read, and judged before a host has them. **PRIVATE**."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.certificates import trusting

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
except ImportError:  # ansible-core itself needs it; _secrets.py says so
    pass

# Within this time before its end a certificate is made anew, or its end is told; as status has it (Limits).
SOON = datetime.timedelta(days=60)


def read_certificates(text: str, where: str) -> list[x509.Certificate]:
    """All certificates of a PEM file's *text*, at least one. Raises ConfigError."""
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, flags=re.DOTALL)
    try:
        found = [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    except ValueError:
        found = []
    if not found:
        raise ConfigError([f"{where} is no certificate in PEM form; put one there."])
    return found


def read_key(text: str, where: str, otherwise: str = "") -> Any:
    """The private key of a PEM file's *text*. *otherwise* is what one may do in the place of giving it. Raises ConfigError."""
    try:
        return serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError as error:
        cure = f"write it without one (openssl pkey -in OLD -out NEW, with umask 077) and name that file{otherwise}."
        raise ConfigError([f"{where} asks for a passphrase; {cure}"]) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError([f"{where} is no private key in PEM form; name one that is."]) from error


def signer(certificates: Iterable[x509.Certificate], key: Any) -> x509.Certificate | None:
    """The one of *certificates* that *key* belongs to."""
    own = _public(key.public_key())
    return next((one for one in certificates if _public(one.public_key()) == own), None)


def authority_keys(text: str) -> set[bytes]:
    """The public keys of the certificates in *text*; empty where there is none. A certificate that was renewed with its key is
    the same authority to whoever trusts it."""
    try:
        return {_public(one.public_key()) for one in read_certificates(text, "it")}
    except (ConfigError, ValueError, UnsupportedAlgorithm):
        return set()


def _public(key: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem(certificates: Iterable[x509.Certificate]) -> str:
    """The *certificates* as a PEM file's text."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def is_root(certificate: x509.Certificate) -> bool:
    """Whether it signs itself."""
    return certificate.subject == certificate.issuer


def chain(certificate: x509.Certificate, others: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The *certificate*, who signed it, who signed that, as far as *others* have them, in whatever order."""
    path = [certificate]
    while not is_root(path[-1]):
        above = next((one for one in others if one not in path and _signed(path[-1], one)), None)
        if above is None:
            break
        path.append(above)
    return path


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def day(when: datetime.datetime) -> str:
    """As people write it: ``2027-03-01``."""
    return when.strftime("%Y-%m-%d")


def now() -> datetime.datetime:
    """The control machine's time."""
    return datetime.datetime.now(datetime.timezone.utc)


def _out_of_time(certificate: x509.Certificate, where: str, cure: str) -> list[str]:
    if now() >= certificate.not_valid_after_utc:
        return [f"{where} ended on {day(certificate.not_valid_after_utc)}; {cure}"]
    if now() < certificate.not_valid_before_utc:
        begins = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return [f"{where} is not valid before {begins}; look at this machine's clock, or {cure}"]
    return []


def judge_authority(ca: tuple[str, str], where: str, key_at: str, cure: str) -> None:
    """Raises ConfigError with all that keeps the authority *ca* (certificates and key as PEM, in the files *where* and
    *key_at*) from signing what hosts serve with."""
    known, key = read_certificates(ca[0], where), read_key(ca[1], key_at)
    issuer = signer(known, key)
    path = chain(issuer, known) if issuer else []
    wrong = wrong_signing_key(key, key_at)
    if path and not is_root(path[-1]):
        wrong.append(f"{where}: who signed {_called(path[-1])} is not in the file; put that certificate into it too.")
    wrong += [sentence for one in path for sentence in _wrong_authority(one, where, cure)]
    if wrong:
        raise ConfigError(wrong)


def judge_host(
    own: tuple[str, str],
    at: tuple[str, str],
    authority: tuple[str, str],
    address: str,
    renewed: bool,
    files: tuple[str, str] | None = None,
) -> list[str]:
    """What will be wrong soon with a host's *own* certificate and key (PEM, *at* two places, of which *files* are copies where
    they are no files themselves) below the *authority* (PEM, and its place), in sentences. The host is reached at *address*;
    *renewed*: its certificate is made anew in time. Raises ConfigError for what is wrong now, and would else be found on the
    hosts, one after the other."""
    where, whose = at[0], authority[1]
    found, key, known = (
        read_certificates(own[0], where),
        read_key(own[1], at[1]),
        read_certificates(authority[0], whose),
    )
    path = chain(found[0], [*found[1:], *known])
    other = "put another there." if files else "name another in cluster_ca_certificate."
    wrong = _wrong_host(path, key, known, where, whose, other)
    why = "" if wrong else refused(*(files or at), pem(known), address)
    if why:
        wrong = [
            f"{where} will not be accepted: {why}; put one there for the name {address}, by the authority in {whose}."
        ]
    if wrong:
        raise ConfigError(wrong)
    return [
        sentence
        for one in path
        if one.not_valid_after_utc - now() < SOON
        for sentence in _ends(one, where, whose, renewed, host=one is path[0])
    ]


def _ends(certificate: x509.Certificate, where: str, whose: str, renewed: bool, host: bool) -> list[str]:
    ends = day(certificate.not_valid_after_utc)
    if not host:
        how = "put another beside it before that, see Another authority in docs/security.md."
        return [f"The authority {_called(certificate)} in {whose} ends on {ends}, and with it every connection; {how}"]
    return (
        []
        if renewed
        else [f"{where} ends on {ends}, and with it all connections to that host; put another there before that."]
    )


def _wrong_host(
    path: Sequence[x509.Certificate],
    key: Any,
    authority: Sequence[x509.Certificate],
    where: str,
    whose: str,
    other: str,
) -> list[str]:
    cure = "put another there."
    if signer(path[:1], key) is None:
        return [f"{where} and the key beside it are not of one pair; put both there as they were made."]
    if not is_root(path[-1]) or path[-1] not in authority:
        by = path[-1].issuer.rfc4514_string()
        return [f"{where} does not come from the authority in {whose}, but from {by}; {cure}"]
    wrong = _out_of_time(path[0], where, cure)
    if path[0].signature_hash_algorithm is None:
        wrong.append(f"{where} was signed by a key that is neither RSA nor EC, and with it logins fail; {cure}")
    return wrong + [sentence for one in path[1:] for sentence in _wrong_authority(one, whose, other)]


def _wrong_authority(certificate: x509.Certificate, where: str, cure: str) -> list[str]:
    wrong = _out_of_time(certificate, f"{where}: {_called(certificate)}", cure)
    if not _may_sign(certificate):
        wrong.append(f"{where}: {_called(certificate)} is no authority's certificate and may sign none; {cure}")
    return wrong


def _may_sign(certificate: x509.Certificate) -> bool:
    """As OpenSSL has it (check_ca() in v3_purp.c): what says nothing of it may."""
    found = certificate.extensions
    try:
        if not found.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        pass
    try:
        return found.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def wrong_signing_key(key: Any, where: str) -> list[str]:
    """A sentence where what *key* signs is of no use to PostgreSQL.

    Channel binding takes the hash that the certificate was signed with, and Ed25519 names none: every login fails
    (be_tls_get_certificate_hash() in be-secure-openssl.c).
    """
    if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        return []
    return [f"{where} is neither an RSA nor an EC key, and logins to PostgreSQL need one of these; name one that is."]


def refused(certificate: str, key: str, authority: str, name: str) -> str:
    """Why a client that believes the *authority*, PEM text, does not accept a server called *name* that shows what is in the
    file *certificate*, with the *key*; '' where it does. The two are OpenSSL's, in this process."""
    try:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trusting(cadata=authority)
        server.load_cert_chain(certificate, key, password=lambda: "")
        one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [client.wrap_bio(one, other, server_hostname=name), server.wrap_bio(other, one, server_side=True)]
        for _turn in range(8):
            ends = [end for end in ends if not _shaken(end)]
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message).rstrip(".")
    except (ssl.SSLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error).replace("_", " ").lower()
    return "" if not ends else "the handshake does not end"


def _shaken(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _called(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
