//! Ordinary network clients inside a session: they work where the policy lets them, and say in their
//! own words that they may not where it does not. None hangs, none crashes.

use crate::harness::Test;
use crate::harness::network::{ALLOWED4, DENIED4};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::servers::Serving;
use crate::harness::session::Place;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the files lie that are served.
const FOLDER: &str = "/tmp/clients";
/// What tells the C library whom to ask for names.
const RESOLVER: [&str; 2] = ["/etc/resolv.conf", "/etc/nsswitch.conf"];
/// How long one may take, on an emulated machine with others beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client, what it is to do at an address, what it must print where it may, and what it must say
/// where it may not.
pub(super) type Client = (&'static str, &'static str, &'static str, &'static str);

/// Those that the usual run has time for.
pub(super) const CLIENTS: &[Client] = &[
    (
        "curl",
        "curl -sS -m 20 http://{address}:8090/hello",
        "hello from the server",
        "curl: (7) ",
    ),
    (
        "python",
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://{address}:8090/hello\", timeout=20).read().decode())'",
        "hello from the server",
        "Operation not permitted",
    ),
    (
        "git",
        "rm -rf /tmp/clients-copy && git clone -q http://{address}:8090/repository.git /tmp/clients-copy && cat /tmp/clients-copy/file",
        "from the repository",
        "unable to access",
    ),
    (
        "resolver",
        "python3 -c 'import socket; print(socket.getaddrinfo(\"ledger.example\", 8090, socket.AF_INET)[0][4][0])'",
        "198.51.100.77",
        "name resolution",
    ),
];

/// The same for clients that take long to start on an emulated machine.
pub(super) const MORE_CLIENTS: &[Client] = &[
    (
        "requests",
        "python3 -c 'import requests; print(requests.get(\"http://{address}:8090/hello\", timeout=20).text)'",
        "hello from the server",
        "Operation not permitted",
    ),
    (
        "node",
        "node -e 'fetch(\"http://{address}:8090/hello\").then(answer => answer.text()).then(console.log).catch(error => { console.error(error.cause); process.exit(1) })'",
        "hello from the server",
        "EPERM",
    ),
    (
        "redis-cli",
        "redis-cli -h {address} -p 8091 -e ping",
        "PONG",
        "Operation not permitted",
    ),
    (
        "psql",
        "PGSSLMODE=disable PGCONNECT_TIMEOUT=20 /usr/lib/postgresql/*/bin/psql -h {address} -p 8092 -U agent -Atc 'select 1' ledger",
        "balance 42",
        "Operation not permitted",
    ),
];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "clients.ordinary",
            "curl, python, git and a resolver work where they may, and fail in their own words and at once where they may not",
            || ordinary(CLIENTS),
        )
        .patience(180),
        Test::new(
            "long.clients",
            "and so do python's requests, node, redis-cli and psql",
            || ordinary(MORE_CLIENTS),
        )
        .patience(900),
    ]
}

/// A web server, one for names that knows one address, and what says of Redis and PostgreSQL as much as
/// their clients need.
const SERVER: &str = "
import http.server, os, socket, threading
os.chdir('/tmp/clients')
def names():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(('0.0.0.0', 53))
    while True:
        query, peer = udp.recvfrom(512)
        end = query.index(b'\\0', 12) + 5
        a = query[end - 4:end - 2] == b'\\0\\x01'
        head = query[:2] + b'\\x81\\x80\\0\\1' + (b'\\0\\1' if a else b'\\0\\0') + b'\\0\\0\\0\\0'
        answer = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4' + socket.inet_aton('198.51.100.77')
        udp.sendto(head + query[12:end] + (answer if a else b''), peer)
def served(port, talk):
    listener = socket.create_server(('0.0.0.0', port))
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
def redis(client):
    while client.recv(4096):
        client.sendall(b'+PONG\\r\\n')
def postgres(client):
    def say(kind, body):
        client.sendall(kind + (len(body) + 4).to_bytes(4, 'big') + body)
    client.recv(4096)
    say(b'R', bytes(4))
    say(b'S', b'server_version\\0' b'15.0\\0')
    say(b'Z', b'I')
    while client.recv(4096).startswith(b'Q'):
        column = bytes(4) + bytes(2) + (25).to_bytes(4, 'big') + b'\\xff\\xff' + b'\\xff' * 4 + bytes(2)
        say(b'T', b'\\0\\1' + b'balance\\0' + column)
        say(b'D', b'\\0\\1' + (10).to_bytes(4, 'big') + b'balance 42')
        say(b'C', b'SELECT 1\\0')
        say(b'Z', b'I')
for server in [names, lambda: served(8091, redis), lambda: served(8092, postgres)]:
    threading.Thread(target=server, daemon=True).start()
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('0.0.0.0', 8090), Quiet)
print('ready', flush=True)
server.serve_forever()
";

/// Starts the servers.
pub(super) fn serve() -> Result<Serving> {
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir_all(FOLDER)?;
    fs::write(Path::new(FOLDER).join("hello"), "hello from the server")?;
    let made = Command::new("sh")
            .args(["-ec", "cd /tmp/clients; export HOME=$PWD; git config --global user.name c; git config --global user.email c@example.org
                git init -q work; cd work; echo from the repository > file; git add .; git commit -qm c; cd ..
                git clone -q --bare work repository.git; git -C repository.git update-server-info"])
            .output()?;
    ensure!(made.status.success(), "{}", product::said(&made));
    Serving::python(SERVER, &[])
}

fn ordinary(clients: &[Client]) -> Result<()> {
    Daemon::shared()?;
    let _servers = serve()?;
    [ALLOWED4, DENIED4]
        .into_iter()
        .try_for_each(|address| resolving(address, || at(address, address == ALLOWED4, clients)))
}

/// Does something while names are asked for at an address.
pub(super) fn resolving(address: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = RESOLVER.map(|file| fs::read(file).unwrap_or_default());
    let resolver = format!("nameserver {address}\noptions timeout:5 attempts:1\n");
    for (file, text) in RESOLVER
        .iter()
        .zip([resolver.as_str(), "hosts: files dns\n"])
    {
        fs::write(file, text)?;
    }
    let outcome = work();
    for (file, text) in RESOLVER.iter().zip(before) {
        fs::write(file, text)?;
    }
    outcome
}

/// Every client at an address, outside and inside a session that may go to one of the two.
fn at(address: &str, allowed: bool, clients: &[Client]) -> Result<()> {
    let policy = Policy::named("clients")
        .allow(ALLOWED4, "8090-8092", "tcp")
        .allow(ALLOWED4, "53", "udp")
        // Node makes its code while it runs.
        .privileges(&["jit"]);
    for (name, words, works, refused) in clients {
        let words = words.replace("{address}", address);
        let run = |place: Place<'_>| {
            let began = Instant::now();
            let output = place.run(&["sh", "-c", &words])?;
            let took = began.elapsed();
            let said = product::said(&output);
            ensure!(took < PATIENCE, "{name} at {address} took {took:?}: {said}");
            Ok((output.status.code(), said))
        };
        let (code, said) = run(Place::Outside)?;
        ensure!(
            code == Some(0) && said.contains(works),
            "{name} at {address}, outside: {said}, expected {works:?}"
        );
        let (code, said) = run(Place::Inside(&policy))?;
        if allowed {
            ensure!(
                code == Some(0) && said.contains(works),
                "{name} at {address}: {said}, expected {works:?}"
            );
        } else {
            ensure!(
                code.is_some_and(|code| (1..126).contains(&code) || code == 128)
                    && said.contains(refused)
                    && !said.contains(works),
                "{name} at {address}: {said}, expected {refused:?}"
            );
        }
    }
    Ok(())
}
