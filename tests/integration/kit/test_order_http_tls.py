"""The order session over TLS: warm before the first order, and only to the right host."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from brokers._kit.http_request import RequestTemplate
from brokers._kit.order_http import HttpReply, Lost, NotSent, OrderHttpPool, PoolSettings, Sent
from tests.integration.kit.conftest import until

ORDER = RequestTemplate("/order", "broker", {}).with_body(b"{}")
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class TlsServer:
    port: int
    trust: ssl.SSLContext


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kopitra test")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


@pytest.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[TlsServer]:
    cert_file, key_file = certificate(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(cert_file, key_file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"{}"):
                writer.write(REPLY)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    yield TlsServer(listener.sockets[0].getsockname()[1], ssl.create_default_context(cafile=str(cert_file)))
    listener.close()


def pool_of(server: TlsServer, trust: ssl.SSLContext) -> OrderHttpPool:
    settings = PoolSettings(links=2, young_s=0.01)
    return OrderHttpPool(
        "127.0.0.1", server.port, trust, clock_ns=time.monotonic_ns, rng=Random(1), settings=settings
    )


async def test_an_order_leaves_on_a_link_whose_handshake_was_done_before(tls_server: TlsServer) -> None:
    pool = pool_of(tls_server, tls_server.trust)
    pool.start()
    await pool.ready(2)
    answers: list[HttpReply | Lost] = []
    for key in "abc":
        assert pool.send(ORDER, answers.append, key=key) in (Sent.WRITTEN, Sent.WAITING)
    await until(lambda: len(answers) == 3)
    assert [answer.body for answer in answers if isinstance(answer, HttpReply)] == [b"ok"] * 3
    await pool.close()


async def test_a_server_with_an_untrusted_certificate_gets_no_order(tls_server: TlsServer) -> None:
    pool = pool_of(tls_server, ssl.create_default_context())
    pool.start()
    await until(lambda: pool.last_error is not None)
    assert isinstance(pool.last_error, ssl.SSLCertVerificationError)
    assert pool.send(ORDER, lambda _: None, key="a") == NotSent("no-connection")
    await pool.close()
