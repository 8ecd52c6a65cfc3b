-- The schema of Kopitra, whole and current. Read this file; `migrations/` is only how a database gets here,
-- and a test proves that both ends are equal.
--
-- Habits: ids are text and made by the caller; every row of a tenant says its workspace; there is no list of
-- brokers here (the folder list under brokers/ is the list); `json` where the exact text is evidence or opaque,
-- `jsonb` where keys are looked at.

-- ---------------------------------------------------------------------------------------------- tenants and config

create table workspaces (
    workspace  text primary key,
    title      text not null,
    created_at timestamptz not null
);

-- What each broker folder says about itself, upserted by the gateway when it starts.
create table catalogue (
    broker            text primary key,
    title             text not null,
    capabilities      json not null,
    credential_schema json not null,
    enabled           boolean not null default true,  -- the feature flag of the admin API
    updated_at        timestamptz not null
);

-- One login at one broker: the unit of a session, because brokers count connections per user.
create table logins (
    workspace  text not null references workspaces,
    login_id   text not null,
    broker     text not null,
    title      text not null,
    settings   jsonb not null,           -- hosts and switches, string to string
    sealed     bytea,                    -- credentials, AES-256-GCM (sealing.py); null until given
    active     boolean not null default true,
    version    bigint not null default 1, -- compare and swap
    primary key (workspace, login_id),
    unique (login_id)                    -- ids of logins, accounts and leaders are unique across workspaces:
);                                       -- nothing that is keyed by one can ever reach another tenant

create table accounts (
    workspace      text not null,
    account_id     text not null,
    login_id       text not null,
    broker_account text not null,        -- as the broker or the trader calls it
    title          text not null,
    settings       jsonb not null,       -- the adapter's per-account settings, string to string
    limits         json not null,        -- risk limits of this account; the domain reads it
    active         boolean not null default true,
    version        bigint not null default 1,
    shadow         boolean not null default false, -- its orders end on paper
    primary key (workspace, account_id),
    foreign key (workspace, login_id) references logins,
    unique (account_id),
    unique (workspace, login_id, broker_account)
);

-- Loss limits of an account. A change is a new version that counts from a trading day on; refusals name the version.
create table account_limits (
    workspace      text not null,
    account_id     text not null,
    version        integer not null check (version > 0),
    effective_from date not null,        -- a trading day by the limits' own reset clock
    verified_on    date not null,        -- when somebody compared it with the firm's page
    body           json not null,        -- the domain reads it
    created_at     timestamptz not null,
    created_by     text not null,
    primary key (workspace, account_id, version),
    foreign key (workspace, account_id) references accounts
);

-- Requests to measure an account's losses anew: the only way out of a maximum loss. The gateway takes up the newest.
create table measuring_starts (
    start_id   bigint generated always as identity primary key,
    workspace  text not null,
    account_id text not null,
    balance    numeric,                  -- null: what the broker tells then
    peak       numeric,                  -- null: that balance
    reason     text not null check (reason <> ''),
    created_at timestamptz not null,
    created_by text not null,
    foreign key (workspace, account_id) references accounts
);
create index measuring_starts_by_account on measuring_starts (workspace, account_id, start_id desc);

-- Where signals come from. `account_id` is set when the leader is one of our own broker accounts (drop copy).
create table leaders (
    workspace  text not null references workspaces,
    leader_id  text not null,
    title      text not null,
    account_id text,
    settings   json not null,            -- the signal source's settings; the domain reads it
    active     boolean not null default true,
    version    bigint not null default 1,
    primary key (workspace, leader_id),
    unique (leader_id),
    foreign key (workspace, account_id) references accounts
);

-- Leader -> follower agreements. A change is a new row: every intent names the version that it was made by.
create table copy_rules (
    workspace  text not null,
    rule_id    text not null,
    version    integer not null check (version > 0),
    leader_id  text not null,
    account_id text not null,
    body       json not null,
    active     boolean not null,
    created_at timestamptz not null,
    created_by text not null,
    primary key (workspace, rule_id, version),
    foreign key (workspace, leader_id) references leaders,
    foreign key (workspace, account_id) references accounts
);
create index copy_rules_by_leader on copy_rules (workspace, leader_id, rule_id, version desc);

create view copy_rules_current as
    select distinct on (workspace, rule_id) *
    from copy_rules
    order by workspace, rule_id, version desc;

-- Keys of expert advisors and other API clients. The secret itself is shown once and never stored.
create table ea_keys (
    workspace         text not null references workspaces,
    key_id            text primary key,
    leader_id         text not null,
    account           text not null,     -- what X-TradeAgent-Account must say
    label             text not null,
    secret_sha256     bytea not null,    -- plain SHA-256: the secret is random, not a password
    sealed_signing    bytea,             -- HMAC secret; must be readable to verify, so sealed
    require_signature boolean not null default false,
    allow_list        cidr[] not null default '{}',  -- empty: any address
    rate_per_minute   integer not null check (rate_per_minute > 0),
    created_at        timestamptz not null,
    expires_at        timestamptz not null,
    revoked_at        timestamptz,
    replaces          text,              -- the key that this one was rotated from
    foreign key (workspace, leader_id) references leaders
);
create index ea_keys_by_leader on ea_keys (workspace, leader_id);

-- Webhook addresses for senders that cannot set headers; the secret is part of the path.
create table hooks (
    workspace       text not null references workspaces,
    hook_id         text primary key,
    leader_id       text not null,
    secret_sha256   bytea not null,
    preset          text not null,       -- name of a built-in reader, or 'template'
    template        text not null default '',
    settings        jsonb not null,      -- string to string
    sealed_signing  bytea,
    allow_list      cidr[] not null default '{}',
    rate_per_minute integer not null check (rate_per_minute > 0),
    active          boolean not null default true,
    version         bigint not null default 1,
    foreign key (workspace, leader_id) references leaders
);
create index hooks_by_leader on hooks (workspace, leader_id);

-- Absence means active. `epoch` only grows, so that a late reader never takes an old state for a new one.
create table kill_switches (
    scope     text not null check (scope in ('global', 'workspace', 'leader', 'broker', 'account')),
    scope_id  text not null,             -- id of the workspace, leader, broker or account; '' for global
    workspace text not null,             -- '' for global and broker
    state     text not null check (state in ('active', 'reducing', 'halted')),
    epoch     bigint not null,
    reason    text not null,
    who       text not null,
    at        timestamptz not null,
    primary key (scope, scope_id)
);

-- Data keys, one per workspace and version, wrapped by a master key that is not in this database.
create table data_keys (
    workspace   text not null references workspaces,
    key_version integer not null,
    master      text not null,           -- name of the wrapping key
    wrapped     bytea not null,
    created_at  timestamptz not null,
    primary key (workspace, key_version)
);

-- One number that every change of configuration raises; the gateway compares it with the number it loaded.
create table config_version (
    only_row boolean primary key default true check (only_row),
    version  bigint not null
);
insert into config_version (version) values (1);

create function raise_config_version() returns trigger language plpgsql as $$
declare
    raised bigint;
begin
    update config_version set version = version + 1 returning version into raised;
    perform pg_notify('kopitra_config', raised::text);
    return null;
end
$$;

create trigger config_changed after insert or update or delete or truncate on workspaces
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on catalogue
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on logins
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on accounts
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on account_limits
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on measuring_starts
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on leaders
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on copy_rules
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on ea_keys
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on hooks
    for each statement execute function raise_config_version();

create function tell_kill_switch() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_switch', new.scope || ' ' || new.scope_id || ' ' || new.state || ' ' || new.epoch);
    return null;
end
$$;

create trigger switch_thrown after insert or update on kill_switches
    for each row execute function tell_kill_switch();

-- Every change of configuration, written by triggers in the transaction that makes it, so that no way around exists;
-- the gateway, who alone writes the journal, picks the rows up. `before` and `after` are JSON without secrets.
create table config_changes (
    change_id bigint generated always as identity primary key,
    workspace text not null,
    who       text not null,             -- `kopitra.who` of the session, else the database user
    what      text not null,             -- account, leader, rule, key, hook, login, workspace, operator
    what_id   text not null,
    before    text not null,             -- 'null' where there was nothing
    after     text not null,
    at        timestamptz not null,      -- database time
    shard     text,                      -- where it was journalled; null: not yet
    seq       bigint
);
create index config_changes_waiting on config_changes (change_id) where seq is null;
create index config_changes_by_age on config_changes (at) where seq is not null;

create function record_config_change() returns trigger language plpgsql as $$
declare
    was    jsonb := to_jsonb(old);
    made   jsonb := to_jsonb(new);
    secret text;
    fresh  boolean;
begin
    if tg_table_name = 'copy_rules' and tg_op = 'INSERT' then
        select to_jsonb(rule) into was from copy_rules rule
        where rule.workspace = new.workspace and rule.rule_id = new.rule_id and rule.version = new.version - 1;
    end if;
    if tg_table_name = 'account_limits' and tg_op = 'INSERT' then
        select to_jsonb(held) into was from account_limits held
        where held.workspace = new.workspace and held.account_id = new.account_id and held.version = new.version - 1;
    end if;
    foreach secret in array array['secret_sha256', 'sealed', 'sealed_signing'] loop
        fresh := was -> secret is distinct from made -> secret;
        if was ->> secret is not null then
            was := was || jsonb_build_object(secret, '(hidden)');
        end if;
        if made ->> secret is not null then
            made := made || jsonb_build_object(secret, case when fresh then '(hidden, new)' else '(hidden)' end);
        end if;
    end loop;
    if was is distinct from made then
        insert into config_changes (workspace, who, what, what_id, before, after, at)
        values (coalesce(made, was) ->> 'workspace',
                coalesce(nullif(current_setting('kopitra.who', true), ''), 'sql:' || session_user),
                tg_argv[0], coalesce(made, was) ->> tg_argv[1],
                coalesce(was::text, 'null'), coalesce(made::text, 'null'), clock_timestamp());
    end if;
    return null;
end
$$;

create trigger change_recorded after insert or update or delete on workspaces
    for each row execute function record_config_change('workspace', 'workspace');
create trigger change_recorded after insert or update or delete on logins
    for each row execute function record_config_change('login', 'login_id');
create trigger change_recorded after insert or update or delete on accounts
    for each row execute function record_config_change('account', 'account_id');
create trigger change_recorded after insert or update or delete on account_limits
    for each row execute function record_config_change('limits', 'account_id');
create trigger change_recorded after insert or update or delete on measuring_starts
    for each row execute function record_config_change('measuring start', 'account_id');
create trigger change_recorded after insert or update or delete on leaders
    for each row execute function record_config_change('leader', 'leader_id');
create trigger change_recorded after insert or update or delete on copy_rules
    for each row execute function record_config_change('rule', 'rule_id');
create trigger change_recorded after insert or update or delete on ea_keys
    for each row execute function record_config_change('key', 'key_id');
create trigger change_recorded after insert or update or delete on hooks
    for each row execute function record_config_change('hook', 'hook_id');

-- ------------------------------------------------------------------------------------------------------ the journal

-- Who may write to a shard. Appends hold this row FOR SHARE, so a take-over waits for the commit in flight and
-- every append after it finds another epoch.
create table lease (
    shard      text primary key,
    holder     text not null,
    epoch      bigint not null,
    expires_at timestamptz not null,     -- database time
    released   boolean not null,         -- true: handed over cleanly, the successor need not wait
    note       text not null,
    build      text not null
);

-- The truth: numbered, hash-chained facts. `payload` is json, not jsonb: the exact text is what was hashed.
create table journal (
    shard     text not null,
    seq       bigint not null check (seq > 0),
    epoch     bigint not null,
    at        timestamptz not null,
    kind      text not null,             -- the event stream, e.g. trade.signals
    entry     text not null,             -- the entry's type, e.g. SignalPlanned
    workspace text not null,
    payload   json not null,
    hash      bytea not null,            -- kopitra/store/chain.py
    primary key (shard, seq)
);
-- Compressing 8 KB costs about 0.1 ms of the 0.4 ms that a commit takes; disk is cheaper than that.
alter table journal alter column payload set storage external;

create function refuse_journal_change() returns trigger language plpgsql as $$
begin
    raise exception 'The journal is append-only: % refused. Correct a fact by appending another.', tg_op
        using errcode = 'insufficient_privilege';
end
$$;

create trigger append_only before update or delete or truncate on journal
    for each statement execute function refuse_journal_change();

-- A signal is planned once, for ever.
create table signal_ids (
    workspace text not null,
    signal_id text not null,
    shard     text not null,
    seq       bigint not null,
    primary key (workspace, signal_id)
);

-- First answers, byte for byte, kept at least 7 days.
create table idempotency (
    workspace   text not null,
    principal   text not null,
    endpoint    text not null,
    key         text not null,
    fingerprint bytea not null,
    status      integer not null,
    body        bytea not null,
    at          timestamptz not null,
    primary key (workspace, principal, endpoint, key)
);
create index idempotency_by_age on idempotency (at);

-- The folded state at `seq`, so that a start need not read the journal from its first row.
create table snapshots (
    shard   text not null,
    seq     bigint not null,
    layout  integer not null,            -- format of the payload; a reader skips layouts it does not know
    payload bytea not null,
    at      timestamptz not null,
    primary key (shard, seq)
);

-- -------------------------------------------------------------- projections: written behind, rebuilt from the journal

-- How far the projections of a shard have come: every journal row up to `seq` is shown.
create table projection_heads (
    shard text primary key,
    seq   bigint not null,
    whole boolean not null               -- false while they are made anew: what is missing is not known to be absent
);

-- `applied_seq` is the journal row that a projection row shows; an older one never overwrites a newer one.
create table orders (
    workspace   text not null,
    cl_ord_id   text not null,
    shard       text not null,
    account_id  text not null,
    leader_id   text not null,
    list_id     text not null,
    signal_id   text not null,
    rule_id     text not null,
    rule_version integer not null,
    order_id    text not null,           -- '' until the broker gave one
    symbol      text not null,
    side        text not null,
    ord_type    text not null,
    time_in_force text not null,
    qty         numeric not null,
    price       numeric,
    stop_price  numeric,
    ord_status  text not null,
    cum_qty     numeric not null,
    avg_px      numeric,
    reason      text not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    applied_seq bigint not null,
    primary key (workspace, cl_ord_id)
);
create index orders_by_account on orders (workspace, account_id, created_at desc);
create index orders_by_status on orders (workspace, account_id, ord_status, created_at desc);
create index orders_by_time on orders (workspace, created_at desc);
create index orders_by_signal on orders (workspace, signal_id);
create index orders_open on orders (workspace, account_id)
    where ord_status not in ('filled', 'canceled', 'expired', 'rejected', 'not_placed', 'skipped');

create table executions (
    workspace     text not null,
    account_id    text not null,
    exec_id       text not null,
    shard         text not null,
    cl_ord_id     text not null,         -- '' for an order that was not ours
    order_id      text not null,
    exec_type     text not null,
    symbol        text not null,
    side          text not null,
    last_qty      numeric not null,
    last_px       numeric not null,
    transact_time timestamptz not null,
    applied_seq   bigint not null,
    primary key (workspace, account_id, exec_id)
);
create index executions_by_account on executions (workspace, account_id, transact_time desc);
create index executions_by_order on executions (workspace, cl_ord_id);

create table positions (
    workspace    text not null,
    account_id   text not null,
    symbol       text not null,
    shard        text not null,
    net_qty      numeric not null,       -- signed
    avg_px       numeric,
    realized_pnl numeric not null,
    updated_at   timestamptz not null,
    applied_seq  bigint not null,
    primary key (workspace, account_id, symbol)
);

-- What an account holds because of one leader: what a change of rules could leave without its exits.
create table holdings (
    workspace   text not null,
    account_id  text not null,
    leader_id   text not null,
    symbol      text not null,
    shard       text not null,
    net_qty     numeric not null,        -- signed
    updated_at  timestamptz not null,
    applied_seq bigint not null,
    primary key (workspace, account_id, leader_id, symbol)
);

create table alerts (
    workspace       text not null,
    alert_id        text not null,
    severity        text not null check (severity in ('info', 'warning', 'critical')),
    subject         text not null,       -- what it is about: an account, a login, a leader
    text            text not null,
    detail          json not null,
    raised_at       timestamptz not null,
    acknowledged_at timestamptz,
    acknowledged_by text,
    primary key (workspace, alert_id)
);
create index alerts_open on alerts (workspace, raised_at desc) where acknowledged_at is null;

-- ---------------------------------------------------------------------------- replicas, and what they hand to one another

-- Builds that may hold a lease. Without any row the first build that takes one is written down as allowed.
create table builds (
    build   text primary key,
    allowed boolean not null,
    reason  text not null,
    who     text not null,
    at      timestamptz not null
);

-- Every process that serves a door, by its own word; one that is silent for some seconds is gone.
create table replicas (
    holder      text primary key,
    shard       text not null,
    build       text not null,
    config_hash text not null,           -- of what decides about orders; replicas of one moment show the same
    schema      integer not null,        -- newest migration that the build knows
    role        text not null check (role in ('standby', 'holder', 'stopping')),
    epoch       bigint not null,         -- of the lease that it holds or saw last
    note        text not null,           -- why it cannot take the lease; '' when it could
    started_at  timestamptz not null,
    seen_at     timestamptz not null     -- database time
);

-- What a replica without the lease took in, durable with its first answer; the holder alone acts on it, once.
create table inbox (
    inbox_id  bigint generated always as identity primary key,
    shard     text not null,
    workspace text not null,
    kind      text not null check (kind in ('signal', 'execution')),
    name      text not null,             -- signal id, or account and execution id
    payload   json not null,
    principal text not null,             -- with endpoint and key: the first answer that its sender got
    endpoint  text not null,
    key       text not null,
    at        timestamptz not null,
    done_at   timestamptz,               -- null: it waits for the holder
    outcome   text not null default ''   -- 'planned', 'recorded', 'known', or the code of a refusal
);
create unique index inbox_signals on inbox (workspace, name) where kind = 'signal';
create index inbox_waiting on inbox (shard, inbox_id) where done_at is null;
create index inbox_by_age on inbox (done_at) where done_at is not null;

create function tell_inbox() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_inbox', new.shard);
    return null;
end
$$;

create trigger inbox_filled after insert on inbox
    for each row execute function tell_inbox();

create function tell_inbox_done() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_inbox_done', new.inbox_id::text);
    return null;
end
$$;

create trigger inbox_settled after update of done_at on inbox
    for each row when (new.done_at is not null) execute function tell_inbox_done();

create function tell_lease() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_lease', new.shard);
    return null;
end
$$;

create trigger lease_released after update on lease
    for each row when (new.released) execute function tell_lease();

-- When no deployment should begin: the gate of `kopitra deploy-gate` is shut from `starts_at` to `ends_at`.
create table news_windows (
    window_id bigint generated always as identity primary key,
    title     text not null,
    starts_at timestamptz not null,
    ends_at   timestamptz not null,
    check (ends_at > starts_at)
);

-- ---------------------------------------------------------------------------------------------- expert advisors

-- Sessions of expert advisors: leases with a token (stored hashed), one open at a time for a key. Their liveness is
-- the holder's memory: no row is written for a heartbeat.
create table ea_sessions (
    session_id    text primary key,      -- made from key and Idempotency-Key, so that a repeated call finds it
    workspace     text not null references workspaces,
    key_id        text not null references ea_keys,
    leader_id     text not null,
    account       text not null,
    token_sha256  bytea not null,
    fingerprint   bytea not null,        -- of the request that opened it
    status        text not null check (status in ('pending', 'authenticated', 'ended')),
    opened_as     text not null,         -- its status in the first answer
    retired       boolean not null,      -- an older session was ended for it
    reason        text not null default '',  -- why it ended
    client        json not null,         -- what the EA says of itself
    last_sequence bigint not null,       -- of its outbox
    opened_at     timestamptz not null,
    seen_at       timestamptz not null,  -- roughly
    ended_at      timestamptz,
    changed_at    timestamptz not null   -- by the database's clock: the holder looks for newer ones
);
create unique index ea_sessions_open on ea_sessions (key_id) where status <> 'ended';
create index ea_sessions_by_change on ea_sessions (changed_at);

-- What a terminal is to be told, until it has acknowledged it.
create table ea_outbox (
    session_id   text not null references ea_sessions on delete cascade,
    sequence     bigint not null,
    event_type   text not null,
    payload      json not null,
    requires_ack boolean not null,
    at           timestamptz not null,
    acked_at     timestamptz,
    primary key (session_id, sequence)
);

-- Whose sessions need nobody's approval (any more): those of a key, of a leader, or of a workspace.
create table ea_approvals (
    workspace   text not null references workspaces,
    scope       text not null check (scope in ('key', 'leader', 'workspace')),
    scope_id    text not null,
    approved_by text not null,
    approved_at timestamptz not null,
    primary key (workspace, scope, scope_id)
);
create trigger change_recorded after insert or update or delete on ea_approvals
    for each row execute function record_config_change('ea approval', 'scope_id');
