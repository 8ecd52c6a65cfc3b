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
