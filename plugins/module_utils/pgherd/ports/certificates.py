# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Until when certificates are good: those in a file, and the one that a server shows. Standard library alone."""

from __future__ import annotations

import base64
import binascii
import re
import socket
import ssl
from pathlib import Path

from ..errors import PgherdError, ProtocolError, Unreachable

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _TIME = 0x30, 0xA0, 0x17, 0x18


def ends(path: str) -> float:
    """When the first of the certificates in a PEM file ends, in seconds since the epoch. Raises PgherdError."""
    try:
        return not_after(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PgherdError(f"read the certificate {path}: {getattr(error, 'strerror', None) or error}.") from error


def not_after(text: str) -> float:
    """The earliest notAfter of the PEM certificates in *text*, in seconds since the epoch. Raises ProtocolError.

    ``ssl`` reads it from what a peer shows, and from authorities, and has no public way for a host's own certificate.
    """
    try:
        found = [_not_after(base64.b64decode("".join(block.split()), validate=True)) for block in _BLOCK.findall(text)]
        return min(found)
    except (ValueError, IndexError, binascii.Error) as error:
        raise ProtocolError("read a certificate: this is none in PEM form.") from error


def _not_after(der: bytes) -> float:
    """Certificate, TBSCertificate, then version, serialNumber, signature, issuer and validity (RFC 5280, 4.1)."""
    inside = _parts(_parts(_parts(der)[0][1])[0][1])
    if inside[0][0] == _VERSION:
        inside = inside[1:]
    tag, text = _parts(inside[3][1])[1]
    if inside[3][0] != _SEQUENCE or tag not in (_UTC_TIME, _TIME):
        raise ValueError("no validity")
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year, from 50 on of the last century (4.1.2.5.1).
        digits = ("19" if digits >= "5" else "20") + digits
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z", digits)
    if not found:
        raise ValueError("no time")
    year, month, day, hour, minute, second = map(int, found.groups())
    names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return float(ssl.cert_time_to_seconds(f"{names[month - 1]} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT"))


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """The values one after the other in *der*: tag and content."""
    found, at = [], 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(der[at : at + count], "big"), at + count
        if not 0 <= length <= len(der) - at:
            raise ValueError("cut off")
        found.append((tag, der[at : at + length]))
        at += length
    return found


def trusting(cafile: str | None = None, cadata: str | None = None) -> ssl.SSLContext:
    """A client's context that believes an authority, in a file or as text, as libpq and Pgpool-II do: a chain has to end at a
    root, and what an authority's certificate leaves out is no fault. From Python 3.13 on, the default refuses one without key
    usage, which ``openssl req -x509`` makes, and takes an intermediate for a root."""
    context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0))
    return context


def shown(address: str, port: int, authority: str, timeout: float) -> float:
    """When the certificate ends that the server at *address* and *port* shows, by a handshake and no more.

    Raises Unreachable where no TLS answers, ProtocolError where the certificate is not accepted, for the reason given.
    """
    try:
        context = trusting(authority)
        plain = socket.create_connection((address, port), timeout=timeout)
        with plain, context.wrap_socket(plain, server_hostname=address) as stream:
            found = (stream.getpeercert() or {})["notAfter"]
        return float(ssl.cert_time_to_seconds(str(found)))
    except ssl.SSLCertVerificationError as error:
        raise ProtocolError(error.verify_message.rstrip(".")) from error
    except (OSError, KeyError, ValueError) as error:
        raise Unreachable(f"no TLS at {address} port {port}: {getattr(error, 'strerror', None) or error}") from error
