"""What an operator can set for one login: every number the vendor does not promise, parsed once."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from hashlib import blake2b

from brokers._kit.tls import tls_for
from kopitra.domain.errors import LoginRefused

DEMO_URL = "https://demo.tradovateapi.com/v1"
LIVE_URL = "https://live.tradovateapi.com/v1"
MD_URL = "wss://md.tradovateapi.com/v1/websocket"


@dataclass(frozen=True, slots=True)
class TradovateSettings:
    """Times in seconds, prices in points. Field names are the keys of `LoginPlan.settings`."""

    #: REST base with /v1; https:// or http:// (loopback simulator)
    base_url: str = DEMO_URL
    #: trading socket; empty: derived from base_url
    ws_url: str = ""
    #: market data socket
    md_url: str = MD_URL
    #: a certificate authority file for base_url with a private certificate; empty: the system's
    ca_file: str = ""
    #: API market data needs a paid exchange licence, so a login is execution-only until told otherwise
    quotes: bool = False
    app_id: str = "Kopitra"
    app_version: str = "1.0"
    #: must never change for a login (live answers 401 otherwise); empty: derived from the login's id
    device_id: str = ""
    connect_timeout_s: float = 5.0
    #: after this a placement is in doubt
    request_timeout_s: float = 2.5
    #: own `[]` every so often; the vendor drops a silent client
    heartbeat_s: float = 2.5
    #: no frame at all for so long: the link is dead
    silence_s: float = 15.0
    #: no further part of the snapshot for so long: it is complete (no end marker is documented)
    snapshot_quiet_s: float = 0.5
    snapshot_timeout_s: float = 30.0
    #: how long a fill or rejection waits for the entities that name its order before they are asked for
    join_wait_s: float = 0.25
    #: what copiers see per login; the published hour is 5,000
    requests_per_minute: int = 80
    requests_per_hour: int = 5000
    #: requests that an entry with attached stop and target counts (one call; not documented)
    bracket_requests: int = 1
    #: share of both windows that only exits, cancels and replaces may use
    exit_reserve: float = 0.25
    #: an order answered 401 brings a new token and a new socket, at most this often
    denied_again_s: float = 300.0
    #: silence after an answer 429 or 423, doubling to throttle_wait_max_s; of a login a minute at most
    throttle_wait_s: float = 60.0
    throttle_wait_max_s: float = 3600.0
    #: exits, cancels and flattens try again so long after one of them was answered 429 or 423
    exit_retry_s: float = 10.0
    #: no login attempt for so long after a captcha was asked for
    captcha_wait_s: float = 3600.0
    #: no connect for so long after a quota shutdown: somebody else took the slot
    quota_wait_s: float = 300.0
    #: distance of connects, for all logins of this process at one host
    connect_interval_s: float = 3.0
    reconnect_first_s: float = 1.0
    reconnect_max_s: float = 60.0
    #: pegDifference = trail offset in points x this (sign and unit are not documented)
    peg_factor: Decimal = Decimal(1)
    #: flatten by order/liquidateposition instead of a market order
    native_close: bool = True

    @property
    def socket_url(self) -> str:
        """The trading socket."""
        return self.ws_url or self.base_url.replace("http", "ws", 1) + "/websocket"

    def device(self, login_id: str) -> str:
        """The same text for the same login on every start."""
        return self.device_id or "kp-" + blake2b(login_id.encode(), digest_size=12).hexdigest()

    def tls(self) -> ssl.SSLContext | None:
        """The context for https and wss; None for plain loopback URLs."""
        return tls_for(self.base_url, self.ca_file)


def parse_settings(raw: Mapping[str, str]) -> TradovateSettings:
    """Typed settings; raises LoginRefused naming the key at fault (a session cannot start with a guess)."""
    known = {spec.name: spec.default for spec in fields(TradovateSettings)}
    values: dict[str, object] = {}
    for key, text in raw.items():
        if key not in known:
            raise LoginRefused(f"unknown setting {key!r}; known: {', '.join(sorted(known))}.")
        values[key] = _value(key, text, known[key])
    settings = TradovateSettings(**values)  # pyright: ignore[reportArgumentType]
    if not settings.base_url.startswith(("https://", "http://")):
        raise LoginRefused("base_url must begin with https:// or http://.")
    if not 0.0 <= settings.exit_reserve < 1.0:
        raise LoginRefused("exit_reserve must be at least 0 and below 1.")
    return settings


def _value(key: str, text: str, default: object) -> object:
    try:
        return _convert(text.strip(), default)
    except (ValueError, InvalidOperation):
        kind = type(default).__name__
        raise LoginRefused(f"setting {key} must be a {kind}, not {text!r}.") from None


def _convert(text: str, default: object) -> object:
    if isinstance(default, bool):
        if text.lower() not in ("on", "off", "true", "false"):
            raise ValueError(text)
        return text.lower() in ("on", "true")
    if isinstance(default, str):
        return text.rstrip("/")
    number = Decimal(text)
    if not number.is_finite() or (number < 0 and not isinstance(default, Decimal)):
        raise ValueError(text)
    if isinstance(default, Decimal):
        return number
    return int(text) if isinstance(default, int) else float(text)
