"""One TLS context for all logins, strict, and none for plain addresses."""

import ssl

import pytest

from brokers._kit.tls import client_tls, tls_for


def test_all_logins_share_one_context() -> None:
    assert tls_for("https://a.example") is tls_for("wss://b.example") is client_tls("")


def test_a_plain_address_has_none() -> None:
    assert (tls_for("http://127.0.0.1:1"), tls_for("ws://127.0.0.1:1")) == (None, None)


def test_names_and_certificates_are_checked() -> None:
    context = client_tls("")

    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_authority_file_that_is_missing_is_told() -> None:
    with pytest.raises(OSError, match="No such file"):
        client_tls("/nowhere/ca.pem")
