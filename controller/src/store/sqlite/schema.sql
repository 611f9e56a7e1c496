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

-- The record of one node under one of its keys: sequences count there, over boots.
CREATE TABLE chains (
    id INTEGER PRIMARY KEY,
    node TEXT NOT NULL,
    key BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    first INTEGER NOT NULL DEFAULT 0,
    last INTEGER NOT NULL DEFAULT 0,
    last_hash BLOB NOT NULL DEFAULT (zeroblob(32)),
    stored INTEGER NOT NULL DEFAULT 0,
    forks INTEGER NOT NULL DEFAULT 0,
    UNIQUE (node, key)
) STRICT;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    sequence INTEGER NOT NULL,
    boot TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    hash BLOB NOT NULL,
    kind TEXT NOT NULL,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    verdict TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_once ON records (chain, sequence);

-- The newest checkpoints of each chain, with the controller's signature.
CREATE TABLE checkpoints (
    chain INTEGER NOT NULL REFERENCES chains (id),
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (chain, sequence)
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
