"""TLS contexts, shared: each costs 65 ms and nearly a megabyte, and a gateway holds hundreds of logins."""

import ssl
from functools import lru_cache
from typing import Final

_CONTEXTS_MAX: Final = 16  #: one for the system's authorities, and one per private authority file


@lru_cache(maxsize=_CONTEXTS_MAX)
def client_tls(ca_file: str) -> ssl.SSLContext:
    """The process's context for clients: certificates and host names are checked, TLS 1.2 at least.

    Nobody may change it. `ca_file` names a private authority ("": the system's); OSError when it cannot be
    read.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def tls_for(url: str, ca_file: str = "") -> ssl.SSLContext | None:
    """The context for an https or wss URL; None for a plain one (a simulator on loopback)."""
    return client_tls(ca_file) if url.startswith(("https://", "wss://")) else None
