//! `interlock policy` as scripts and people meet it: the built binary, its exit codes, its words.

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\nspec:\n  owner: {name: Ada, contact: ada@example.com}\n";
const CONNECTS: &str = "  egress:\n    allow:\n      - {id: web, to: [192.0.2.0/24], ports: [443], protocol: tcp}\n      - {id: dns, to: [198.51.100.1], ports: [53], protocol: udp}\n";
const CASES: &str = "apiVersion: interlock.dev/v1alpha1\nkind: PolicyCases\nagent: demo\ncases:\n  - case: the web\n    trace:\n      - {do: \"connect 192.0.2.7:443\", expect: allow}\n      - {do: \"connect 192.0.2.7:80\", expect: deny}\n";

/// A folder of its own for a test, in which the binary runs, so that its words hold no foreign path.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join("policy_cli")
            .join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("its folder");
        fs::write(path, text).expect("a file for the test");
        self
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = Command::new(env!("CARGO_BIN_EXE_interlock"))
            .arg("policy")
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let _ = child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the binary ends");
        Said {
            code: output.status.code().expect("no signal"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn is(&self, code: i32, out: &str) {
        assert_eq!(
            (self.code, self.out.as_str(), self.err.as_str()),
            (code, out, "")
        );
    }

    /// Exit code 2, nothing on standard output, one line on standard error.
    #[track_caller]
    fn refuses(&self, err: &str) {
        let expected = (2, "", format!("interlock: {err}\n"));
        assert_eq!((self.code, self.out.as_str(), self.err.clone()), expected);
    }

    #[track_caller]
    fn json(&self, code: i32) -> Value {
        assert_eq!((self.code, self.err.as_str()), (code, ""));
        serde_json::from_str(&self.out).expect("JSON")
    }
}

fn demo(test: &str) -> Folder {
    Folder::new(test).with("demo.yaml", &format!("{HEAD}{CONNECTS}"))
}

#[test]
fn check_has_nothing_to_say_of_what_is_in_order() {
    let said = demo("fine").run(&["check", "demo.yaml"]);
    said.is(0, "1 file, 1 policy: 0 errors, 0 warnings\n");
}

#[test]
fn check_shows_an_error_with_its_line() {
    let folder = Folder::new("error").with("demo.yaml", &format!("{HEAD}  purpos: x\n"));
    let said = folder.run(&["check", "demo.yaml"]);
    assert_eq!(said.code, 2);
    for part in [
        "demo.yaml:6:3: error: ",
        " 6 |   purpos: x\n",
        "^^^^^^",
        "1 error",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let json = folder.run(&["check", "--json", "demo.yaml"]).json(2);
    assert_eq!(json["errors"], 1);
    assert_eq!(json["diagnostics"][0]["severity"], "error");
    assert_eq!(json["diagnostics"][0]["span"]["line"], 6);
}

#[test]
fn check_answers_1_where_there_are_only_warnings() {
    let wide = "  egress:\n    allow:\n      - {to: [0.0.0.0/0], ports: [443]}\n";
    let folder = Folder::new("warning").with("demo.yaml", &format!("{HEAD}{wide}"));
    let json = folder.run(&["check", "--json", "demo.yaml"]).json(1);
    assert_eq!((&json["errors"], &json["warnings"]), (&0.into(), &1.into()));
}

#[test]
fn check_says_what_is_not_enforced_and_can_take_it_for_an_error() {
    let folder = Folder::new("gap").with("demo.yaml", &format!("{HEAD}{BYTES}"));
    let gap = "demo.yaml: not enforced by this version, so `interlock run` refuses agent `demo`: budgets of bytes for what is no egress to a network\n";
    let said = folder.run(&["check", "demo.yaml"]);
    assert!(said.out.contains(gap), "{}", said.out);
    assert_eq!(said.code, 0, "{}", said.out);
    let said = folder.run(&["check", "--enforceable", "demo.yaml"]);
    assert!(said.out.contains(gap), "{}", said.out);
    assert!(said.out.contains(NO_BYTES), "{}", said.out);
    assert_eq!(said.code, 2, "{}", said.out);
    let json = folder.run(&["check", "--json", "demo.yaml"]).json(0);
    assert_eq!(
        json["notEnforced"][0]["demands"][0],
        "budgets of bytes for what is no egress to a network"
    );
}

const BYTES: &str =
    "  files:\n    allow:\n      - {access: [read], paths: [/a], limit: {bytesPerSession: 1MB}}\n";
const NO_BYTES: &str = "demo.yaml:8:9: error: found budgets of bytes for what is no egress to a network, which no kernel program enforces yet, expected a policy that can be held whole\n   |\n 8 |       - {access: [read], paths: [/a], limit: {bytesPerSession: 1MB}}\n   |         ^\n  = help: ";

/// `run` reads and refuses as the other verbs do, before it asks the daemon.
#[test]
fn run_shows_what_is_wrong_with_its_line_and_reads_profiles() {
    let run = |folder: &Folder, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
        command.args(["run", "--policy", "demo.yaml", "--agent", "demo"]);
        command
            .args(["--socket", "no.sock"])
            .args(more)
            .args(["--", "true"]);
        let output = command.current_dir(&folder.0).output().expect("interlock");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), said)
    };
    let folder = Folder::new("run-bytes").with("demo.yaml", &format!("{HEAD}{BYTES}"));
    let (code, said) = run(&folder, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.starts_with(&format!("interlock: {NO_BYTES}")),
        "{said}"
    );

    let extends = format!("{HEAD}  extends: [web]\n");
    let profile = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentProfile\nmetadata: {{name: web}}\nspec:\n{CONNECTS}"
    );
    let folder = Folder::new("run-profiles").with("demo.yaml", &extends);
    let (code, said) = run(&folder, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("found unknown profile \"web\""), "{said}");
    let folder = folder.with("elsewhere/web.yaml", &profile);
    let (_, said) = run(&folder, &["--profiles", "elsewhere"]);
    assert!(
        said.starts_with("interlock: no daemon at no.sock"),
        "{said}"
    );
    let folder = folder.with("profiles/web.yaml", &profile);
    let (_, said) = run(&folder, &[]);
    assert!(
        said.starts_with("interlock: no daemon at no.sock"),
        "{said}"
    );
    let folder = folder.with("profiles/web.yaml", &profile.replace("ports", "prots"));
    let (code, said) = run(&folder, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.starts_with("interlock: ./profiles/web.yaml:"),
        "{said}"
    );
}

#[test]
fn check_walks_folders_and_names_what_it_passes_over() {
    let folder = demo("walk")
        .with("below/other.yml", &format!("{HEAD}  purpos: x\n"))
        .with(
            "below/cases.yaml",
            &CASES.replace("expect: deny", "expect: no"),
        )
        .with("compose.yaml", "services: {}\n")
        .with(".hidden.yaml", "apiVersion: interlock.dev/v1alpha1\n")
        .with("notes.txt", "interlock.dev/\n");
    let json = folder.run(&["check", "--json", "."]).json(2);
    assert_eq!(json["files"], 3);
    assert_eq!(json["policies"], 1);
    assert_eq!(json["errors"], 2);
    assert_eq!(json["skipped"], serde_json::json!(["./compose.yaml"]));
    Folder::new("empty").run(&["check", "."]).refuses(
        ".: found no policies, expected YAML files that say \"apiVersion: interlock.dev/v1alpha1\"",
    );
    Folder::new("absent")
        .run(&["check", "no.yaml"])
        .refuses("no.yaml: expected a file or folder that can be read: No such file or directory (os error 2)");
}

#[test]
fn profiles_beside_a_policy_are_read() {
    let profile = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentProfile\nmetadata: {{name: web}}\nspec:\n{CONNECTS}"
    );
    let folder = Folder::new("profiles")
        .with("profiles/web.yaml", &profile)
        .with("demo.yaml", &format!("{HEAD}  extends: [web]\n"));
    let action = ["explain", "demo.yaml", "--action", "connect 192.0.2.7:443"];
    let said = folder.run(&action);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("profiles/web.yaml:7: "), "{}", said.out);
    let json = folder.run(&["check", "--json", "."]).json(0);
    assert_eq!(json["notEnforced"], serde_json::json!([]));
    fs::remove_dir_all(folder.0.join("profiles")).unwrap();
    assert_eq!(folder.run(&action).code, 2);
}

#[test]
fn explain_names_the_rule_and_what_would_change_it() {
    let folder = demo("explain");
    let said = folder.run(&["explain", "demo.yaml", "--action", "connect 192.0.2.7:443"]);
    said.is(
        0,
        "connect 192.0.2.7:443: allow (rule)\n  decided by demo.yaml:8: allow egress to 192.0.2.0/24, port 443, tcp (web)\n  facts that hold: none\n",
    );
    let said = folder.run(&["explain", "demo.yaml", "--action", "connect 192.0.2.7:80"]);
    said.is(
        1,
        "connect 192.0.2.7:80: deny (no rule)\n  no rule decided\n  facts that hold: none\n  what would change it: a rule that allows \"connect 192.0.2.7:80\": what no rule names is denied\n",
    );
    let json = folder
        .run(&[
            "explain",
            "demo.yaml",
            "--json",
            "--action",
            "connect 192.0.2.7:443",
        ])
        .json(0);
    assert_eq!(json["verdict"], "allow");
    assert_eq!(json["rule"]["line"], 8);
    let said = folder.run(&["explain", "demo.yaml", "--action", "fly /moon"]);
    assert!(
        said.err
            .starts_with("interlock: --action: found \"fly /moon\", expected an action: ")
    );
    assert_eq!((said.code, said.err.lines().count()), (2, 1));
}

#[test]
fn explain_knows_programs_by_their_digest() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let exec = format!("  exec:\n    allow:\n      - {{digests: [\"{digest}\"]}}\n");
    let folder = Folder::new("digest").with("demo.yaml", &format!("{HEAD}{exec}"));
    let action = ["explain", "demo.yaml", "--action", "exec /opt/tool"];
    assert_eq!(folder.run(&action).code, 1);
    let known = [&action[..], &["--digest", &digest]].concat();
    assert_eq!(folder.run(&known).code, 0);
    folder
        .run(&[&action[..], &["--digest", "0a0a"]].concat())
        .refuses(
            "--digest: found `0a0a`, expected sha256: and 64 hexadecimal digits in lower case",
        );
    let read = [
        "explain",
        "demo.yaml",
        "--action",
        "read /a",
        "--digest",
        &digest,
    ];
    folder
        .run(&read)
        .refuses("--digest: found read /a, expected exec");
    let event = format!("{{\"action\": \"exec /opt/tool\", \"digest\": \"{digest}\"}}\n");
    folder
        .run_with(&["simulate", "demo.yaml", "--events", "-"], &event)
        .is(0, "1 allowed, 0 not allowed, 0 not tried\n");
}

#[test]
fn explain_starts_from_the_state_that_is_given() {
    let coder = include_str!("../../agent-policy/tests/golden/coder.yaml");
    let folder = Folder::new("state").with("coder.yaml", coder);
    let commit = [
        "explain",
        "coder.yaml",
        "--action",
        "exec /usr/bin/git commit",
    ];
    assert_eq!(folder.run(&commit).code, 1);
    let tested = [&commit[..], &["--after", "exec /usr/bin/cargo test"]].concat();
    let said = folder.run(&tested);
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(
        said.out
            .starts_with("before it: exec /usr/bin/cargo test: allow (rule)\n")
    );
    let facts = [&commit[..], &["--fact", "tested", "--fact", "step:test"]].concat();
    assert_eq!(folder.run(&facts).code, 0);
    folder
        .run(&[&commit[..], &["--fact", "testd"]].concat())
        .refuses("--fact: found no fact `testd`, expected `tested`, `customer-data`, `step:test`, `step:commit`, `step:push`");
    // Monday and Sunday noon in Berlin: deploying on a Sunday takes an approval.
    let deploy = [
        "explain",
        "coder.yaml",
        "--action",
        "exec /usr/bin/deploy",
        "--at",
    ];
    let monday = [&deploy[..], &["2026-03-02T11:00:00Z"]].concat();
    assert_eq!(folder.run(&monday).code, 0);
    let sunday = [&deploy[..], &["2026-03-01T11:00:00Z"]].concat();
    assert_eq!(folder.run(&sunday).code, 1);
    let approved = [&sunday[..], &["--approved", "deploy"]].concat();
    assert_eq!(folder.run(&approved).code, 0);
}

#[test]
fn explain_says_a_whole_policy_in_words() {
    let said = demo("words").run(&["explain", "demo.yaml"]);
    assert_eq!(said.code, 0);
    assert!(said.out.starts_with("demo\n\nWho\n"), "{}", said.out);
}

#[test]
fn one_of_several_policies_must_be_named() {
    let other = HEAD.replace("name: demo", "name: other");
    let folder = Folder::new("several").with("two.yaml", &format!("{HEAD}---\n{other}"));
    let action = ["explain", "two.yaml", "--action", "read /a"];
    folder
        .run(&action)
        .refuses("two.yaml: found policies for demo, other, expected --agent with one of them");
    folder
        .run(&[&action[..], &["--agent", "third"]].concat())
        .refuses("two.yaml: found no policy for agent `third`, expected `demo`, `other`");
    let said = folder.run(&[&action[..], &["--agent", "other"]].concat());
    assert_eq!((said.code, said.err.as_str()), (1, ""));
}

#[test]
fn compile_prints_the_digest_and_the_tables() {
    let folder = demo("compile");
    let json = folder.run(&["compile", "--json", "demo.yaml"]).json(0);
    let digest = json[0]["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    folder.run(&["compile", "demo.yaml"]).is(
        0,
        &format!("demo  {digest}\n  rules 2, networks 2, port prefixes 2\n"),
    );
    assert_eq!(json[0]["networks"][0]["network"], "192.0.2.0/24");
    assert_eq!(json[0]["rules"][0]["require"], serde_json::json!([]));
}

#[test]
fn test_prints_each_case_and_what_no_case_reached() {
    let folder = demo("cases").with("demo.cases.yaml", CASES);
    let expected = "demo (./demo.yaml)\npassed  demo: the web\n1 of 2 rules reached\n  not reached: ./demo.yaml:9: allow egress to 198.51.100.1, port 53, udp\n\n1 passed, 0 failed\n";
    folder.run(&["test", "."]).is(0, expected);
    folder.run(&["test", "--cover-all", "."]).is(1, expected);
    let json = folder.run(&["test", "--json", "."]).json(0);
    assert_eq!(json["policies"][0]["rules"], 2);
    assert_eq!(
        json["policies"][0]["notReached"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn test_fails_with_the_line_and_tells_junit() {
    let cases = CASES.replace("expect: deny", "expect: allow");
    let folder = demo("failing").with("demo.cases.yaml", &cases);
    let said = folder.run(&["test", ".", "--junit", "out.xml"]);
    assert_eq!(said.code, 1);
    let failure =
        "./demo.cases.yaml: line 8: connect 192.0.2.7:80: found deny (no rule), expected allow";
    assert!(said.out.contains(failure), "{}", said.out);
    assert!(said.out.ends_with("0 passed, 1 failed\n"), "{}", said.out);
    let junit = fs::read_to_string(folder.0.join("out.xml")).unwrap();
    assert!(junit.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"demo\" tests=\"1\" failures=\"1\">\n"));
    assert!(junit.ends_with("</testsuite>\n</testsuites>\n"), "{junit}");
}

#[test]
fn test_refuses_to_pass_without_cases_or_without_their_policy() {
    demo("no-cases")
        .run(&["test", "."])
        .refuses(".: found no cases, expected files that say \"kind: PolicyCases\"");
    demo("strange-cases")
        .with("c.yaml", &CASES.replace("agent: demo", "agent: dmeo"))
        .run(&["test", "."])
        .refuses("./c.yaml: found no policy for agent `dmeo`, expected `demo`");
}

#[test]
fn simulate_counts_people_s_events_and_the_daemon_s() {
    let events = concat!(
        "{\"action\": \"connect 192.0.2.7:443\"}\n",
        "{\"kind\": \"started\", \"time\": \"2026-03-02T10:00:00Z\"}\n",
        "{\"kind\": \"denial\", \"time\": \"2026-03-02T10:00:00Z\", \"session\": \"00000000000000aa\", \"action\": \"send\", \"object\": {\"address\": \"198.51.100.1\", \"port\": 53, \"protocol\": \"udp\"}}\n",
        "{\"kind\": \"denial\", \"time\": \"2026-03-02T10:00:01Z\", \"session\": \"00000000000000aa\", \"action\": \"connect\", \"object\": {\"address\": \"2001:db8::1\", \"port\": 443, \"protocol\": \"tcp\"}}\n",
        "{\"kind\": \"loss\", \"events\": 3}\n",
        "{\"kind\": \"denial\", \"session\": \"00000000000000aa\", \"action\": \"ptrace\", \"object\": {\"privilege\": \"ptrace\"}}\n",
    );
    let folder = demo("simulate").with("events.jsonl", events);
    let json = folder
        .run(&[
            "simulate",
            "demo.yaml",
            "--json",
            "--events",
            "events.jsonl",
        ])
        .json(1);
    assert_eq!(json["allowed"], 2);
    assert_eq!(json["refused"][0]["line"], 4);
    assert_eq!(json["refused"][0]["action"], "connect [2001:db8::1]:443");
    assert_eq!(json["skipped"][0]["line"], 5);
    assert_eq!(json["refused"][1]["action"], "privilege ptrace");
    assert_eq!(json["noActions"], 1);
    let stdin = ["simulate", "demo.yaml", "--events", "-"];
    folder
        .run_with(&stdin, "{\"action\": \"connect 192.0.2.7:443\"}\n")
        .is(0, "1 allowed, 0 not allowed, 0 not tried\n");
    let long = format!("{{\"action\": \"{}\"}}\n", "x".repeat(70_000));
    folder
        .run_with(&stdin, &long)
        .refuses("-:1: found a line of more than 65536 bytes, expected one event a line");
    let many = "{\"action\": \"connect 203.0.113.9:443\"}\n".repeat(1_200);
    let said = folder.run_with(&stdin, &many);
    assert!(
        said.out
            .ends_with("and 200 more not allowed\n0 allowed, 1200 not allowed, 0 not tried\n"),
        "{}",
        said.out
    );
    let said = folder.run_with(&stdin, "\nnonsense\n");
    assert!(
        said.err.starts_with("interlock: -:2: found no event ("),
        "{}",
        said.err
    );
    assert_eq!(said.code, 2);
}

#[test]
fn diff_shows_an_action_and_what_else_changed() {
    let folder = demo("diff")
        .with(
            "wider.yaml",
            &format!("{HEAD}{CONNECTS}").replace("[443]", "[443, 80]"),
        )
        .with("audit.yaml", &format!("{HEAD}{CONNECTS}  mode: audit\n"));
    folder.run(&["diff", "demo.yaml", "demo.yaml"]).is(
        0,
        "demo\nno difference in what is allowed\nevery kind of action was compared\n",
    );
    let json = folder
        .run(&["diff", "--json", "demo.yaml", "wider.yaml"])
        .json(1);
    let example = &json["agents"][0]["becomesAllowed"][0]["example"];
    assert!(example.as_str().unwrap().ends_with(":80"), "{example}");
    let json = folder
        .run(&["diff", "--json", "demo.yaml", "audit.yaml"])
        .json(1);
    assert_eq!(json["agents"][0]["fromNowOn"].as_array().unwrap().len(), 1);
}

#[test]
fn graph_draws_the_chain_for_people_and_for_graphviz() {
    let coder = include_str!("../../agent-policy/tests/golden/coder.yaml");
    let folder = Folder::new("graph").with("coder.yaml", coder);
    let said = folder.run(&["graph", "coder.yaml"]);
    assert!(said.out.contains("  2.  commit"), "{}", said.out);
    let said = folder.run(&["graph", "--dot", "coder.yaml"]);
    assert!(
        said.out.starts_with("digraph \"coder\" {\n"),
        "{}",
        said.out
    );
    let json = folder.run(&["graph", "--json", "coder.yaml"]).json(0);
    assert_eq!(json[0]["agent"], "coder");
}

#[test]
fn new_writes_a_starter_that_is_in_order_and_never_overwrites() {
    let folder = Folder::new("new");
    let flags = [
        "new",
        "--name",
        "demo",
        "--owner",
        "Ada: \"the\" owner",
        "--contact",
        "a@example.com",
    ];
    let full = [
        &flags[..],
        &[
            "--purpose",
            "Tries # things.",
            "--connect",
            "192.0.2.0/24:443",
            "--connect",
            "[2001:db8::1]:443",
        ],
        &[
            "--program",
            "/usr/bin/git",
            "--workspace",
            "/work",
            "-o",
            "demo.yaml",
        ],
    ]
    .concat();
    folder.run(&full).is(
        0,
        "wrote demo.yaml; next: interlock policy check demo.yaml\n",
    );
    let json = folder.run(&["check", "--json", "demo.yaml"]).json(0);
    assert_eq!(json["policies"], 1);
    let allowed = [
        "explain",
        "demo.yaml",
        "--action",
        "connect [2001:db8::1]:443",
    ];
    assert_eq!(folder.run(&allowed).code, 0);
    folder
        .run(&full)
        .refuses("cannot write demo.yaml: File exists (os error 17)");
    let said = folder.run(&flags);
    assert_eq!(said.code, 0, "{}", said.err);
    // What is commented out is meant to be taken: it must be in order too.
    let taken: String = said
        .out
        .lines()
        .map(|line| match line.strip_prefix("  # ") {
            Some(rest) if !rest.starts_with(char::is_uppercase) => format!("  {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = folder.with("taken.yaml", &taken);
    let json = folder.run(&["check", "--json", "taken.yaml"]).json(0);
    assert_eq!(json["policies"], 1, "{taken}");
    let json = folder.run(&["compile", "--json", "taken.yaml"]).json(0);
    assert_eq!(json[0]["authored"].as_array().unwrap().len(), 3, "{taken}");
    folder
        .run(&["new", "--name", "demo"])
        .refuses("policy new: found no --owner, expected --owner: who answers for it");
    assert_eq!(
        folder
            .run(&[&["new", "--name", "No Name"], &flags[3..]].concat())
            .code,
        2
    );
}

#[test]
fn schema_is_json() {
    let json = Folder::new("schema").run(&["schema"]).json(0);
    assert_eq!(json["title"], "AgentPolicy");
}
