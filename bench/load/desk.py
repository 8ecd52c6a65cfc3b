"""What a person's EA does: sends acts one by one and asks what became of them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2

from bench.fleet import KEY_SECRET
from kopitra.wire.views import SignalView

PATH = "/trade-agent/v1/signals"
ANSWER_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Desk:
    """One EA of one leader at one gateway."""

    port: int
    key_id: str
    account: str
    statuses: dict[int, int] = field(default_factory=dict[int, int])  #: status -> answers

    def __post_init__(self) -> None:
        headers = {
            "Authorization": f"Bearer kpt_{self.key_id}_{KEY_SECRET}",
            "X-TradeAgent-Account": self.account,
        }
        self._http = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers=headers,
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
        )

    _http: httpx2.Client = field(init=False, repr=False)

    def send(self, signal_id: str, action: str, **fields: object) -> bool:
        """One act on ES; True when it was accepted."""
        body = {
            "signalId": signal_id,
            "action": action,
            "symbol": "ES",
            "occurredAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **fields,
        }
        status = self._http.post(PATH, json=body, headers={"Idempotency-Key": signal_id}).status_code
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status == 202

    def view(self, signal_id: str) -> SignalView:
        """The signal with each follower's orders."""
        answer = self._http.get(f"{PATH}/{signal_id}").raise_for_status()
        return SignalView.model_validate_json(answer.content)

    def close(self) -> None:
        self._http.close()
