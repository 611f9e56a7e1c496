//! Programs known by what they contain (red team X1): by whatever name, and by no other contents.

use super::exec::{HERE, expect, set_up, told};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::{before, unless_with_bpf_lsm};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, PINS};
use crate::harness::session::{Place, own_program};
use agent_common::abi;
use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const TRUE: &str = "/usr/bin/true";
const FALSE: &str = "/usr/bin/false";
const DASH: &str = "/usr/bin/dash";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.x1.digest",
            "a program is what it contains, where the policy says so, whatever its name and place",
            known,
        )
        .unless(|| unless_with_bpf_lsm().or_else(unless_told)),
        Test::new(
            "exec.digest.refused",
            "a policy with digests is refused where the kernel cannot tell them",
            refused,
        )
        .unless(|| unless_with_bpf_lsm().or_else(if_told)),
    ]
}

/// `bpf_ima_file_hash` came with 5.18.
fn unless_told() -> Option<String> {
    before(5, 18).then(|| "this kernel does not tell what a program contains".into())
}

fn if_told() -> Option<String> {
    (!before(5, 18)).then(|| "this kernel tells what a program contains".into())
}

/// A file's digest as policies write it.
fn digest(path: &str) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.to_owned())?;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// A copy with something behind its end, which changes nothing but the contents.
fn longer(path: &str, copy: &str) -> Result<()> {
    let mut bytes = fs::read(path)?;
    bytes.push(b'\n');
    fs::write(copy, bytes).with_context(|| copy.to_owned())?;
    Ok(fs::set_permissions(
        copy,
        fs::Permissions::from_mode(0o755),
    )?)
}

fn known() -> Result<()> {
    Daemon::shared()?;
    set_up(&[("script", "#!/usr/bin/dash\nexit 7\n")])?;
    let at = |name: &str| format!("{HERE}/{name}");
    let (copy, changed, script) = (at("copy"), at("changed"), at("script"));
    fs::copy(TRUE, &copy)?;
    longer(TRUE, &changed)?;
    let run = |path: &str| format!("execute execve {path}");
    let orders = [TRUE, &copy, &changed, FALSE, &script].map(run);
    let codes = [0, 0, 0, 1, 7].map(|code| format!("ran {code}"));
    for (order, code) in orders.iter().zip(&codes) {
        let words: Vec<&str> = order.split(' ').collect();
        let control = Place::Outside.act(&words)?;
        ensure!(control == *code, "the control {order}: {control}");
    }
    let own = own_program()?;
    let allowed = |agent: &str, digests: &[&str]| {
        Policy::named(agent)
            .without_exec()
            .exec("allow", &format!("{{programs: [\"{own}\"]}}"))
            .exec("allow", &format!("{{digests: {digests:?}}}"))
    };
    let (of_true, of_false) = (digest(TRUE)?, digest(FALSE)?);
    let (of_script, of_dash) = (digest(&script)?, digest(DASH)?);
    let events = Events::from_now()?;
    let shell = allowed("digest-shell", &[&of_true, &of_script, &of_dash]);
    // What contents allow, a path does not refuse; each level of a script by its own.
    let first = allowed("digest-first", &[&of_false, &of_script])
        .exec("allow", "{programs: [/usr/bin/true]}")
        .exec("deny", "{programs: [/usr/bin/false]}");
    // What a path allows, contents refuse; the words as well, once the image is committed.
    let refused = Policy::named("digest-refused")
        .exec("deny", &format!("{{digests: [\"{of_false}\"]}}"))
        .exec(
            "deny",
            &format!("{{digests: [\"{of_true}\"], args: [{{is: stop}}]}}"),
        );
    let cases = [
        (&shell, ["ran 0", "ran 0", "EPERM", "EPERM", "ran 7"]),
        (&first, ["ran 0", "EPERM", "EPERM", "ran 1", "EPERM"]),
        (&refused, ["ran 0", "ran 0", "ran 0", "EPERM", "ran 7"]),
    ];
    for (policy, expected) in cases {
        let mut actor = Place::Inside(policy).obey()?;
        let pairs: Vec<(&str, &str)> = orders
            .iter()
            .map(String::as_str)
            .zip(expected.iter().copied())
            .collect();
        expect(&mut actor, &pairs).with_context(|| policy.agent().to_owned())?;
        // Refused for what it is, before anybody looks at what it contains.
        expect(&mut actor, &[(&format!("execute memory {TRUE}"), "EPERM")])?;
        if policy.agent() == refused.agent() {
            let stop = |path: &str| format!("execute execve {path} stop");
            expect(
                &mut actor,
                &[(&stop(&copy), "killed 9"), (&stop(&changed), "ran 0")],
            )?;
        }
        actor.end()?;
    }
    let denial = told(events, shell.agent(), "exec", &changed)?;
    ensure!(
        denial.verdict == "deny" && denial.reason == "no rule",
        "told of {changed}: {denial:?}"
    );
    ensure!(
        noted()? == 0,
        "{} digests of programs that ran, or did not, are kept",
        noted()?
    );
    Ok(())
}

/// How many digests the kernel keeps, from the program that reads them to the one that judges.
fn noted() -> Result<usize> {
    let path = format!("{PINS}/v{}/maps/DIGESTS", abi::VERSION);
    let map = Map::HashMap(MapData::from_pin(&path).with_context(|| path.clone())?);
    let digests: HashMap<MapData, u64, [u64; 2]> = map.try_into()?;
    digests
        .keys()
        .try_fold(0, |sum, key| Ok(sum + usize::from(key? != 0)))
}

fn refused() -> Result<()> {
    Daemon::shared()?;
    let policy =
        Policy::named("digest-none").exec("deny", &format!("{{digests: [\"{}\"]}}", digest(TRUE)?));
    let said = Place::Inside(&policy).run(&[TRUE])?;
    let text = String::from_utf8_lossy(&said.stderr);
    ensure!(
        !said.status.success() && text.contains("names programs by digest"),
        "{}: {text}",
        said.status
    );
    Ok(())
}
