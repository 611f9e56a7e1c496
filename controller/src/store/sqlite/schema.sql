CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    boot TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    kernel TEXT NOT NULL,
    labels TEXT NOT NULL,
    status BLOB NOT NULL DEFAULT x'',
    sessions BLOB NOT NULL DEFAULT x''
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    body BLOB NOT NULL,
    last_use_ms INTEGER NOT NULL,
    PRIMARY KEY (name, node)
) STRICT, WITHOUT ROWID;

-- A source is one boot of one node: sequences count there.
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    node TEXT NOT NULL,
    boot TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    last_hash BLOB NOT NULL,
    stored INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    UNIQUE (node, boot)
) STRICT;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES sources (id),
    sequence INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    hash BLOB NOT NULL,
    kind TEXT NOT NULL,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    verdict TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_once ON records (source, sequence);

CREATE TABLE checkpoints (
    node TEXT NOT NULL,
    boot TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    countersignature BLOB NOT NULL,
    arrived_ms INTEGER NOT NULL,
    PRIMARY KEY (node, boot, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE directives (
    epoch INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    signature BLOB NOT NULL,
    nodes TEXT NOT NULL
) STRICT;

CREATE TABLE outcomes (
    epoch INTEGER NOT NULL,
    node TEXT NOT NULL,
    received_ms INTEGER NOT NULL DEFAULT 0,
    in_force_ms INTEGER NOT NULL DEFAULT 0,
    empty_ms INTEGER NOT NULL DEFAULT 0,
    refused TEXT,
    ends BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (epoch, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    agent TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    uploaded_by TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (agent, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
