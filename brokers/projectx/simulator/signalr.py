"""The server's half of SignalR's JSON hub protocol for one connection, without any socket.

Bytes of a frame in, records to write out. Written from the protocol documents alone, not from the adapter.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, cast

import msgspec

HubName = Literal["user", "market"]

_NO_METHOD: Final = "HubException: Method does not exist."

RECORD_END: Final = "\x1e"
PING: Final = '{"type":6}\x1e'
USER_TOPICS: Final = {
    "Orders": "GatewayUserOrder", "Positions": "GatewayUserPosition", "Trades": "GatewayUserTrade",
}  # fmt: skip
MARKET_TOPICS: Final = {
    "ContractQuotes": "GatewayQuote", "ContractTrades": "GatewayTrade", "ContractMarketDepth": "GatewayDepth",
}  # fmt: skip
TOPICS_MAX: Final = 10_000  #: subscriptions of one connection


@dataclass(frozen=True, slots=True)
class Close:
    """Write `record`, then end the connection."""

    record: str


@dataclass(slots=True)
class Peer:
    """One client. `topics` holds (event name, account id or contract id); accounts are "all of the login"."""

    hub: HubName
    accounts: frozenset[int]
    greeted: bool = False
    topics: set[tuple[str, int | str]] = field(default_factory=set[tuple[str, int | str]])
    rest: str = ""
    #: contract ids subscribed to quotes since the last `take_fresh`
    fresh: list[str] = field(default_factory=list[str])

    def feed(self, frame: str) -> list[str | Close]:
        """What to answer to a frame; pings and completions of the client need no answer."""
        *records, self.rest = (self.rest + frame).split(RECORD_END)
        out: list[str | Close] = []
        for record in records:
            answer = self._record(record)
            if answer is not None:
                out.append(answer)
        return out

    def _record(self, record: str) -> str | Close | None:
        try:
            message = cast("object", msgspec.json.decode(record))
        except msgspec.MsgspecError:
            message = None
        if not isinstance(message, dict):
            return Close('{"type":7,"error":"Error parsing the message."}' + RECORD_END)
        fields = cast("dict[str, object]", message)
        if not self.greeted:
            return self._greet(fields)
        return self._call(fields) if fields.get("type") == 1 else None

    def _greet(self, fields: dict[str, object]) -> str | Close:
        if fields.get("protocol") != "json" or fields.get("version") != 1:
            wrong = {"error": f"The protocol '{fields.get('protocol')}' is not supported."}
            return Close(msgspec.json.encode(wrong).decode() + RECORD_END)
        self.greeted = True
        return "{}" + RECORD_END

    def _call(self, fields: dict[str, object]) -> str | None:
        given = fields.get("arguments")
        arguments = cast("list[object]", given) if isinstance(given, list) else []
        error = self._subscribe(str(fields.get("target")), arguments)
        invocation_id = fields.get("invocationId")
        if invocation_id is None:
            return None
        reply: dict[str, object] = {"type": 3, "invocationId": invocation_id}
        reply.update({"result": None} if error is None else {"error": error})
        return msgspec.json.encode(reply).decode() + RECORD_END

    def _subscribe(self, target: str, arguments: list[object]) -> str | None:
        verb = "Unsubscribe" if target.startswith("Unsubscribe") else "Subscribe"
        what = target.removeprefix(verb)
        topics = USER_TOPICS if self.hub == "user" else MARKET_TOPICS
        if self.hub == "user" and what == "Accounts" and not arguments:
            keys: list[tuple[str, int | str]] = [("GatewayUserAccount", account) for account in self.accounts]
        elif what in topics and target.startswith(verb) and len(arguments) == 1:
            key = arguments[0]
            if not isinstance(key, (int, str)) or (self.hub == "user" and key not in self.accounts):
                return "Failed to invoke due to an error on the server."
            keys = [(topics[what], key)]
        else:
            return f"Failed to invoke '{target}' due to an error on the server. {_NO_METHOD}"
        return self._change(verb, keys)

    def _change(self, verb: str, keys: list[tuple[str, int | str]]) -> str | None:
        if verb == "Unsubscribe":
            self.topics.difference_update(keys)
            return None
        if len(self.topics) + len(keys) > TOPICS_MAX:
            return "Too many subscriptions."
        self.topics.update(keys)
        self.fresh += [str(key) for name, key in keys if name == "GatewayQuote"]
        return None

    def take_fresh(self) -> list[str]:
        """Contracts whose full quote this client has not had yet."""
        fresh, self.fresh = self.fresh, []
        return fresh
