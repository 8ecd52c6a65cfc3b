"""From rows to what the hot path holds: domain rules, opened credentials, grants of keys and hooks.

A row that does not read back stops only itself: its account, rule or key is left out and named in the log.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import ip_network
from typing import Final, TypeVar

import structlog

from gateway_container.api.doors import HookGrant, KeyGrant, OperatorGrant
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from kopitra.domain.copy_rules import CopyRule, InvalidRule, check_acyclic
from kopitra.domain.errors import StoreError
from kopitra.domain.limits import RiskLimits
from kopitra.domain.measuring import NewStart
from kopitra.domain.prop_limits import VERSIONS_MAX, InvalidLimits, PropLimits
from kopitra.store.accounts import AccountRow, LoginRow
from kopitra.store.config import ConfigSnapshot
from kopitra.store.encoding import Decoder, encode
from kopitra.store.hooks import HookRow
from kopitra.store.keys import KeyRow, signing_secret
from kopitra.store.leaders import LeaderRow
from kopitra.store.limits import LimitsRow, NewStartRow
from kopitra.store.rules import RuleRow
from kopitra.store.sealing import Sealer

_log = structlog.get_logger("kopitra.config")
_limits: Final = Decoder(RiskLimits)
_prop: Final = Decoder(PropLimits)
_rule: Final = Decoder(CopyRule)
_credentials: Final = Decoder(dict[str, str])

R = TypeVar("R")
T = TypeVar("T")
#: name of the sealed field of a login row
CREDENTIALS_FIELD: Final = "credentials"


def gateway_config(snapshot: ConfigSnapshot, sealer: Sealer) -> GatewayConfig:
    """The configuration of the engine."""
    prop = _prop_limits(snapshot)
    starts = {row.account_id: _new_start(row) for row in snapshot.new_starts}
    accounts = _each(
        snapshot.accounts,
        lambda row: replace(
            _account(row, _broker_of(snapshot, row)),
            prop=prop(row.account_id),
            new_start=starts.get(row.account_id),
        ),
        "account",
    )
    logins = _each([r for r in snapshot.logins if r.active], lambda row: _login(row, sealer), "login")
    leaders = _each([r for r in snapshot.leaders if r.active], _leader, "leader")
    rules: dict[str, tuple[CopyRule, ...]] = {}
    for rule in acyclic(leaders, _each([r for r in snapshot.rules if r.active], _copy_rule, "rule")):
        rules[rule.leader] = (*rules.get(rule.leader, ()), rule)
    return GatewayConfig(
        snapshot.version,
        {a.account_id: a for a in accounts},
        {x.leader_id: x for x in leaders},
        {x.login_id: x for x in logins},
        rules,
    )


def config_digest(snapshot: ConfigSnapshot) -> str:
    """What two replicas compare (R-089): 16 hex digits over everything that decides about orders, no secret in it."""
    rows: list[object] = [
        [(a.workspace, a.account_id, a.version, a.active) for a in snapshot.accounts],
        [(x.workspace, x.login_id, x.broker, x.version, x.active) for x in snapshot.logins],
        [(x.workspace, x.leader_id, x.version, x.active) for x in snapshot.leaders],
        [(r.workspace, r.rule_id, r.version, r.active, r.body) for r in snapshot.rules],
        [(s.scope, s.scope_id, s.epoch, s.state) for s in snapshot.switches],
    ]
    return sha256(encode(rows)).hexdigest()[:16]


def acyclic(leaders: Sequence[LeaderConfig], rules: Sequence[CopyRule]) -> list[CopyRule]:
    """The rules without those that would let an account follow itself (R-047); in the order of their ids, so that
    every start leaves out the same."""
    sources = {leader.leader_id: leader.account_id for leader in leaders}
    edges = [(s, r.account_id) for r in rules if (s := sources.get(r.leader)) is not None]
    try:
        check_acyclic(edges)
    except InvalidRule:
        pass
    else:
        return list(rules)
    kept: list[CopyRule] = []
    edges = list[tuple[str, str]]()
    for rule in sorted(rules, key=lambda r: r.rule_id):
        source = sources.get(rule.leader)
        more = [*edges, (source, rule.account_id)] if source is not None else edges
        try:
            check_acyclic(more)
        except InvalidRule as error:
            _log.error("row_left_out", what="rule", row=rule.rule_id, error=str(error))
            continue
        kept.append(rule)
        edges = more
    return kept


def _each(rows: Sequence[R], make: Callable[[R], T], what: str) -> list[T]:
    made: list[T] = []
    for row in rows:
        try:
            made.append(make(row))
        except (StoreError, InvalidRule, InvalidLimits, ValueError) as error:
            _log.error("row_left_out", what=what, row=getattr(row, f"{what}_id", "?"), error=str(error))
    return made


def _prop_limits(snapshot: ConfigSnapshot) -> Callable[[str], tuple[PropLimits, ...]]:
    """The versions of an account. One that does not read back leaves its account out: it would trade without."""
    rows: dict[str, list[LimitsRow]] = {}
    for row in snapshot.limits:
        rows.setdefault(row.account_id, []).append(row)

    def of(account_id: str) -> tuple[PropLimits, ...]:
        newest = sorted(rows.get(account_id, ()), key=lambda row: row.version)[-VERSIONS_MAX:]
        return tuple(_limits_version(row) for row in newest)

    return of


def _limits_version(row: LimitsRow) -> PropLimits:
    """The body is the limits; the row's own columns win."""
    return replace(
        _prop(row.body), version=row.version, effective_from=row.effective_from, verified_on=row.verified_on
    )


def _new_start(row: NewStartRow) -> NewStart:
    return NewStart(row.start_id, row.balance, row.peak, row.created_by, row.reason)


def _broker_of(snapshot: ConfigSnapshot, row: AccountRow) -> str:
    login = next((x for x in snapshot.logins if x.login_id == row.login_id), None)
    return login.broker if login is not None else ""


def _account(row: AccountRow, broker: str) -> AccountConfig:
    return AccountConfig(
        row.account_id,
        row.workspace,
        row.title,
        broker,
        row.login_id,
        row.broker_account,
        row.settings,
        _limits(row.limits or b"{}"),
        row.version,
        row.active,
        shadow=row.shadow,
    )


def _login(row: LoginRow, sealer: Sealer) -> LoginConfig:
    opened = b"{}"
    if row.sealed is not None:
        opened = sealer.open(row.workspace, row.login_id, CREDENTIALS_FIELD, row.sealed)
    return LoginConfig(row.login_id, row.workspace, row.broker, row.settings, _credentials(opened))


def _leader(row: LeaderRow) -> LeaderConfig:
    return LeaderConfig(row.leader_id, row.workspace, row.title, row.account_id)


def _copy_rule(row: RuleRow) -> CopyRule:
    """The body is the rule; the row's own columns win, because they are what the database keys on."""
    return replace(
        _rule(row.body),
        rule_id=row.rule_id,
        version=row.version,
        workspace=row.workspace,
        leader=row.leader_id,
        account_id=row.account_id,
    )


@dataclass(slots=True)
class Grants:
    """Keys, hooks and operators by their public id; replaced as a whole when the configuration moves."""

    keys: Mapping[str, KeyGrant]
    hooks: Mapping[str, HookGrant]
    operators: Mapping[str, OperatorGrant]

    def key(self, key_id: str) -> KeyGrant | None:
        """An EA key."""
        return self.keys.get(key_id)

    def hook(self, hook_id: str) -> HookGrant | None:
        """A webhook address."""
        return self.hooks.get(hook_id)

    def operator(self, key_id: str) -> OperatorGrant | None:
        """An operator's key."""
        return self.operators.get(key_id)


def load_grants(snapshot: ConfigSnapshot, sealer: Sealer, operators: Sequence[OperatorGrant]) -> Grants:
    """The grants of a snapshot."""
    keys = _each(snapshot.keys, lambda row: _key(row, sealer), "key")
    hooks = _each(snapshot.hooks, lambda row: _hook(row, sealer), "hook")
    return Grants(
        {k.key_id: k for k in keys}, {h.hook_id: h for h in hooks}, {o.key_id: o for o in operators}
    )


def _key(row: KeyRow, sealer: Sealer) -> KeyGrant:
    secret = signing_secret(sealer, row)
    return KeyGrant(
        row.key_id,
        row.workspace,
        row.leader_id,
        row.account,
        row.secret_sha256,
        row.expires_at,
        row.revoked_at,
        row.require_signature,
        () if secret is None else (secret,),
        tuple(ip_network(text, strict=False) for text in row.allow_list),
        row.rate_per_minute,
    )


def _hook(row: HookRow, sealer: Sealer) -> HookGrant:
    secrets: tuple[bytes, ...] = ()
    if row.sealed_signing is not None:
        secrets = (sealer.open(row.workspace, row.hook_id, "signing", row.sealed_signing),)
    return HookGrant(
        row.hook_id,
        row.workspace,
        row.leader_id,
        row.secret_sha256,
        row.preset,
        row.template,
        row.settings,
        secrets,
        tuple(ip_network(text, strict=False) for text in row.allow_list),
        row.rate_per_minute,
        row.active,
        row.version,
    )
