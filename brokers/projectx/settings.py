"""The settings of a ProjectX login: hosts, and every number that the firm does not confirm, parsed once.

Defaults are those of TopstepX in production; other firms of the family differ in the two URLs only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final
from urllib.parse import urlsplit

TEXT_LENGTH_MAX: Final = 512  #: characters of one setting


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. README.md marks the numbers to check on a practice account."""

    api_url: str = "https://api.topstepx.com"
    rtc_url: str = "https://rtc.topstepx.com"
    #: contract lists of the live data subscription; practice and evaluation users get an empty list with it
    live_data: bool = False
    #: warm order connections of the login: one order in flight on each; two per account where that is more
    order_connections: int = 6
    #: requests per `budget_window_s` of the login, under the published 200 per 60 s; a quarter is for exits
    #: only
    budget_per_window: int = 180
    budget_window_s: float = 60.0
    #: silence after a 429 that names no time of its own
    throttled_s: float = 10.0
    order_timeout_s: float = 2.5
    request_timeout_s: float = 10.0
    #: client ping of the hubs, and the silence after which a hub counts as dead
    ping_s: float = 15.0
    silence_max_s: float = 30.0
    invocation_timeout_s: float = 15.0
    #: how long the login waits for the hub before it goes live on polling alone
    hub_patience_s: float = 10.0
    #: waits between attempts to reach a hub or to log in again: first and longest, doubled in between
    reconnect_first_s: float = 1.0
    reconnect_max_s: float = 30.0
    #: share of the token's lifetime after which it is renewed (0.1 to 0.95)
    token_renew_share: float = 0.75
    poll_positions_s: float = 1.0
    poll_trades_s: float = 2.0
    poll_orders_s: float = 3.0
    #: how far back executions and finished orders are read when nobody says since when; at most a day
    history_s: float = 86_400.0
    #: contracts are listed again after this, so that a roll is seen
    contracts_s: float = 21_600.0
    #: a quote older than this cannot place a trailing stop
    quote_age_max_s: float = 5.0
    #: equity is told again this often while positions are open
    mark_s: float = 5.0
    #: follow quotes of the contracts an account holds, to know its equity
    mark_positions: bool = True

    def __post_init__(self) -> None:
        for name in ("api_url", "rtc_url"):
            _check_url(name, getattr(self, name))
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
                raise ValueError(f"setting {spec.name} must be above 0, not {value}")
        if not 0.1 <= self.token_renew_share <= 0.95:
            raise ValueError("setting token_renew_share must lie between 0.1 and 0.95")
        if self.silence_max_s <= self.ping_s:
            raise ValueError("setting silence_max_s must be longer than ping_s")

    @classmethod
    def parse(cls, raw: Mapping[str, str]) -> "Settings":
        """From the strings of a LoginPlan. ValueError names the setting and what it takes."""
        known = {spec.name: getattr(_DEFAULTS, spec.name) for spec in fields(cls)}
        unknown = sorted(set(raw) - set(known))
        if unknown:
            raise ValueError(f"no setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
        return replace(_DEFAULTS, **{name: _typed(name, text, known[name]) for name, text in raw.items()})


def _typed(name: str, text: str, default: object) -> object:
    if len(text) > TEXT_LENGTH_MAX:
        raise ValueError(f"setting {name} is longer than {TEXT_LENGTH_MAX} characters")
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"setting {name} takes true or false, not {text!r}")
        return text == "true"
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except ValueError:
        raise ValueError(f"setting {name} takes a number, not {text!r}") from None
    return text


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.username:
        raise ValueError(f"setting {name} takes a base URL such as https://api.topstepx.com, not {url!r}")


_DEFAULTS: Final = Settings()
