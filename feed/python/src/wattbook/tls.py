"""TLS 1.3 for a session: whom to trust."""

from __future__ import annotations

import ssl


def trust(path: str) -> ssl.SSLContext:
    """Trusts the certificates of a PEM file, the node's own or those of whoever signs it, to name a node; nothing earlier than
    TLS 1.3 is spoken. Raises `OSError` where the file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=path)
    return context
