//! Who is executed into a container whose session has begun: a person, by `kubectl exec`, or a probe. The engine
//! that tells whose a container is stands in for Docker's here; the real ones are asked in `long.docker.session`,
//! `long.podman.session` and `long.containers.kinds`.

use super::containers::{ALLOWED, AWAY, DENIED, STAYS, probe, words};
use super::recognise::{POLICIES, daemon, make, recognised, wait_until};
use crate::harness::Test;
use crate::harness::kernel::unless_it_waits;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, Session, call, said, session_of, sessions_of};
use crate::harness::servers::Serving;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Where the engine listens whose word the daemon takes without being told of it.
const SOCKET: &str = "/run/docker.sock";
/// It calls every container by one name.
const ENGINE: &str = r#"
import http.server, json, os, socketserver, sys
class Tells(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "?"
    def log_message(self, *words): pass
    def do_GET(self):
        parts = self.path.split("/")
        said = {"RepoTags": ["demo:1"], "RepoDigests": []}
        if "containers" in parts:
            said = {"Id": parts[3], "Name": "/agent", "Image": "sha256:0", "Config": {"Image": "demo:1", "Labels": {"app": "entered"}}}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Api-Version", "1.43")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
if os.path.exists(sys.argv[1]): os.unlink(sys.argv[1])
server = socketserver.ThreadingUnixStreamServer(sys.argv[1], Tells)
print("ready", flush=True)
server.serve_forever()
"#;

/// Sessions that lie ready: more come in than that while no daemon is there.
const MANY: usize = 20;

pub(super) fn tests() -> Vec<Test> {
    let all = [
        Test::new(
            "recognise.entered",
            "who is executed into a session's container is in a session of their own, whose end is not the agent's",
            own_session,
        ),
        Test::new(
            "recognise.entered_policy",
            "a policy for those who come in holds for them and not for the agent, from one moment to the next",
            own_policy,
        ),
        Test::new(
            "recognise.entered_away",
            "while no daemon is there who comes in is held, and nobody waits",
            away,
        ),
        Test::new(
            "recognise.entered_revoked",
            "nobody comes into a container whose session has lost its permission, whoever is there to kill it",
            revoked,
        ),
    ];
    let all = all.map(|test| test.unless(unless_it_waits).patience(240));
    all.into_iter().collect()
}

/// A container as a runtime makes it: a cgroup, and programs that see other mounts than who executes them.
struct Container {
    cgroup: String,
    _engine: Serving,
    first: Child,
}

impl Container {
    fn begin(agent: &str) -> Result<Self> {
        Self::running(agent, &STAYS)
    }

    fn running(agent: &str, program: &[&str]) -> Result<Self> {
        let engine = Serving::python(ENGINE, &[SOCKET])?;
        let cgroup = make(&format!("/docker/{}", "0123456789abcdef".repeat(4)))?;
        let mut first = executed(&cgroup, program);
        let first = first.stdin(Stdio::piped()).spawn()?;
        let container = Self {
            cgroup,
            _engine: engine,
            first,
        };
        wait_until("the container's session", || {
            Ok(session_of(agent)?.is_some_and(|session| session.tasks > 0))
        })?;
        Ok(container)
    }

    /// Has somebody executed into it whose one probe must end so.
    fn entered(&self, expected: i32, what: &str) -> Result<()> {
        let probe = probe()?;
        let ended = executed(&self.cgroup, &words(&probe)).output()?;
        ensure!(
            ended.status.code() == Some(expected),
            "{what}: {ended:?}, expected {expected}"
        );
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have been killed, and is gone once nobody is in it.
        let _ = self.first.kill();
        let _ = self.first.wait();
        let _ = fs::remove_dir(&self.cgroup);
        let _ = fs::remove_file(SOCKET);
    }
}

/// A program that is executed into a container.
pub(super) fn executed(cgroup: &str, program: &[&str]) -> Command {
    let script = format!("echo $$ > {cgroup}/cgroup.procs; exec unshare --mount \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "runtime"]).args(program);
    command
}

fn container_of(agent: &str, more: &str) -> Policy {
    recognised(
        agent,
        &format!("container: {{labels: {{app: entered}}{more}}}"),
    )
}

/// The one session of an agent that nobody entered.
fn only(agent: &str) -> Result<Session> {
    let [session] = <[Session; 1]>::try_from(sessions_of(agent)?)
        .map_err(|all| anyhow::anyhow!("sessions of {agent}: {all:?}, expected one"))?;
    ensure!(session.entered.is_none(), "{session:?}");
    Ok(session)
}

/// The same, once nobody else is left.
fn once_alone(agent: &str) -> Result<Session> {
    wait_until("only the agent's session is left", || {
        Ok(sessions_of(agent)?.len() == 1)
    })?;
    only(agent)
}

fn own_session() -> Result<()> {
    let agent = "entered";
    // What a person does must not end the agent's session.
    let policy = container_of(agent, "").with("  end: {onDeviation: revoke}\n");
    daemon(&[&policy])?;
    let container = Container::begin(agent)?;
    let agents = only(agent)?;
    let mut person = executed(&container.cgroup, &STAYS).spawn()?;
    wait_until(
        "the person's session",
        || Ok(sessions_of(agent)?.len() == 2),
    )?;
    let of_person = |session: &Session| session.entered.as_ref() == Some(&agents.session);
    let all = sessions_of(agent)?;
    let persons = all.iter().find(|it| of_person(it)).with_context(|| {
        let agents = &agents.session;
        format!("no session that entered {agents}: {all:?}")
    })?;
    let told = format!("entered from outside, where session {} is", agents.session);
    for words in [&["sessions"][..], &["ps"]] {
        let shown = said(&call(words)?);
        ensure!(shown.contains(&told), "{words:?}: {shown}, expected {told}");
    }
    let story = said(&call(&["evidence", "show", &persons.session])?);
    ensure!(
        story.contains("container agent (")
            && story.contains(&format!("while session {} was there", agents.session)),
        "the record: {story}"
    );
    let probe = probe()?;
    let deviates = executed(&container.cgroup, &words(&probe)).status()?;
    ensure!(
        deviates.code() != Some(ALLOWED),
        "a person's deviation: {deviates:?}"
    );
    person.kill()?;
    person.wait()?;
    let left = once_alone(agent)?;
    ensure!(
        left.session == agents.session && left.tasks > 0,
        "left is {left:?}, expected {agents:?}"
    );
    Ok(())
}

fn own_policy() -> Result<()> {
    let (agent, people) = ("entered", "entered-people");
    let (to, port) = (at(DENIED4, PORT)?.ip().to_string(), PORT.to_string());
    let theirs = container_of(people, ", entered: true")
        .allow(&to, &port, "tcp")
        .allow(&to, &port, "udp");
    daemon(&[&container_of(agent, ""), &theirs])?;
    let container = Container::begin(agent)?;
    let agents = only(agent)?;
    container.entered(ALLOWED, "a person whose policy allows it")?;
    let file = format!("{POLICIES}/{people}.yaml");
    fs::remove_file(&file).context(file.clone())?;
    wait_until("nobody is for people", || {
        Ok(!said(&call(&["status"])?).contains(people))
    })?;
    container.entered(DENIED, "a person for whom there is no policy")?;
    fs::write(&file, theirs.text()).context(file)?;
    wait_until("the policy for people is back", || {
        let probe = probe()?;
        let ended = executed(&container.cgroup, &words(&probe)).status()?;
        Ok(ended.code() == Some(ALLOWED))
    })?;
    ensure!(
        only(agent)?.session == agents.session,
        "the agent's is gone"
    );
    Ok(())
}

fn away() -> Result<()> {
    let agent = "entered";
    let found = daemon(&[&container_of(agent, "")])?;
    let container = Container::begin(agent)?;
    found.end(libc::SIGKILL)?;
    thread::sleep(AWAY);
    for number in 1..=MANY {
        container.entered(DENIED, &format!("number {number} while no daemon is there"))?;
    }
    Daemon::start()?;
    once_alone(agent)?;
    Ok(())
}

fn revoked() -> Result<()> {
    let agent = "entered";
    let policy = container_of(agent, "").with("  end: {onDeviation: revoke}\n");
    let found = daemon(&[&policy])?;
    // It deviates when it is told to, and executes nothing after that.
    let deviates = format!("read; {}; read", probe()?.join(" "));
    let mut container = Container::running(agent, &["/usr/bin/bash", "-c", &deviates])?;
    let comes_in = |container: &Container| -> Result<bool> {
        let ended = executed(&container.cgroup, &["/usr/bin/true"]).status()?;
        Ok(ended.success())
    };
    ensure!(
        comes_in(&container)?,
        "nobody comes in before it is revoked"
    );
    // Nobody kills anybody.
    found.end(libc::SIGKILL)?;
    let mut stdin = container.first.stdin.take().context("its input")?;
    stdin.write_all(b"now\n")?;
    wait_until("nobody comes in", || Ok(!comes_in(&container)?))?;
    ensure!(
        container.first.try_wait()?.is_none(),
        "the agent is gone: its container would be a new one"
    );
    Ok(())
}
