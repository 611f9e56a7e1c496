//! The red team's catalogue, F3 and F10: file systems that lie over and beside each other.

use super::files::{HERE, expect, set_up, told};
use super::red_files::{Body, control, denying, run, with_bpf_lsm};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    let tests: Vec<(&str, &str, Body)> = vec![
        (
            "red.f3.bind_alias",
            "a bind mount made outside gives no file another path",
            bind_alias,
        ),
        (
            "red.f10.tmpfs",
            "rules hold on tmpfs, mounted before and after the session began",
            tmpfs,
        ),
        (
            "red.f10.overlay",
            "rules hold on overlay, copying up included",
            overlay,
        ),
    ];
    with_bpf_lsm(tests)
}

fn bind_alias() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/key", "shut/open/f", "alias/", "file"])?;
    let (shut, alias, file) = (
        format!("{HERE}/shut"),
        format!("{HERE}/alias"),
        format!("{HERE}/file"),
    );
    let mut before = Place::Inside(&denying("red-f3-before", &["./shut/**"])).obey()?;
    run(&["mount", "--bind", &shut, &alias])?;
    run(&["mount", "--bind", &format!("{shut}/key"), &file])?;
    let outcome = (|| {
        control(&["read ./alias/key", "read ./file"])?;
        let agent = "red-f3-after";
        let events = Events::from_now()?;
        let mut after = Place::Inside(&denying(agent, &["./shut/**"])).obey()?;
        let orders = [
            ("read ./shut/key", "EPERM"),
            ("read ./alias/key", "EPERM"),
            ("read ./file", "EPERM"),
        ];
        expect(&mut before, &orders).context("in a session from before the mount")?;
        expect(&mut after, &orders).context("in a session from after the mount")?;
        after.end()?;
        let told = told(events, agent, 3)?;
        ensure!(
            told.iter()
                .all(|line| *line == format!("read {HERE}/shut/key")),
            "told {told:?}"
        );
        // A rule that names the alias holds for what it is an alias of.
        let policy = denying("red-f3-alias", &["./alias/**"]);
        let mut actor = Place::Inside(&policy).obey()?;
        expect(&mut actor, &orders).context("by the alias's rule")?;
        actor.end()?;
        Ok(())
    })();
    run(&["umount", &file])?;
    run(&["umount", &alias])?;
    before.end()?;
    outcome
}

fn tmpfs() -> Result<()> {
    Daemon::shared()?;
    set_up(&["early/", "late/"])?;
    let (early, late) = (format!("{HERE}/early"), format!("{HERE}/late"));
    let fill = |at: &str| -> Result<()> {
        run(&["mount", "-t", "tmpfs", "none", at])?;
        for path in ["open", "shut"] {
            fs::create_dir(format!("{at}/{path}"))?;
            fs::write(format!("{at}/{path}/f"), "x")?;
        }
        Ok(())
    };
    fill(&early)?;
    let policy = denying("red-f10-tmpfs", &["./early/shut/**", "./late/shut/**"]);
    let mut actor = Place::Inside(&policy).obey()?;
    let orders = |at: &str| {
        [
            (format!("read ./{at}/open/f"), "ok"),
            (format!("read ./{at}/shut/f"), "EPERM"),
            (format!("create ./{at}/open/new"), "ok"),
            (format!("create ./{at}/shut/new"), "EPERM"),
            (format!("rename ./{at}/open/f ./{at}/shut/f"), "EPERM"),
            (format!("list ./{at}"), "ok"),
        ]
    };
    let outcome = (|| {
        for (order, answer) in orders("early") {
            expect(&mut actor, &[(&order, answer)])?;
        }
        fill(&late)?;
        // What has just been mounted has no rules until the daemon has seen it: denied, all of it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while actor.order(&format!("file read {late}/open/f"))? == "EPERM" {
            ensure!(
                Instant::now() < deadline,
                "the rules do not follow the mount"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        for (order, answer) in orders("late") {
            expect(&mut actor, &[(&order, answer)])?;
        }
        Ok(())
    })();
    run(&["umount", &early])?;
    let _ = run(&["umount", &late]);
    actor.end()?;
    outcome
}

fn overlay() -> Result<()> {
    Daemon::shared()?;
    set_up(&["merged/"])?;
    let base = format!("{HERE}-layers");
    let _ = fs::remove_dir_all(&base);
    fs::create_dir_all(&base)?;
    // On a file system of their own: overlay wants extended attributes for what it copies up.
    run(&["mount", "-t", "tmpfs", "none", &base])?;
    for path in ["lower/open", "lower/shut", "upper", "work"] {
        fs::create_dir_all(format!("{base}/{path}"))?;
    }
    for path in ["open/f", "open/g", "shut/f"] {
        fs::write(format!("{base}/lower/{path}"), "lower\n")?;
    }
    let merged = format!("{HERE}/merged");
    let options = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
    let mounted = run(&["mount", "-t", "overlay", "none", "-o", &options, &merged]);
    if let Err(error) = mounted {
        run(&["umount", &base])?;
        return Err(error);
    }
    let outcome = (|| {
        // The layers themselves are out of reach.
        let layers = format!("{base}/**");
        // 5.10 cannot tell the kernel's own work from io_uring's: there, who may not use the layers
        // can list and change nothing above them.
        let tells = !crate::harness::kernel::before(5, 11);
        let denied: &[&str] = match tells {
            true => &["./merged/shut/**", &layers],
            false => &["./merged/shut/**"],
        };
        let policy = denying("red-f10-overlay", denied);
        let layer = if tells { "EPERM" } else { "ok" };
        let mut actor = Place::Inside(&policy).obey()?;
        expect(
            &mut actor,
            &[
                ("read ./merged/open/f", "ok"),
                ("read ./merged/shut/f", "EPERM"),
                ("list ./merged/open", "ok"),
                ("map ./merged/open/f", "ok"),
                (&format!("read {base}/lower/open/f"), layer),
                ("create ./merged/open/new", "ok"),
                ("create ./merged/shut/new", "EPERM"),
                ("rename ./merged/open/new ./merged/shut/new", "EPERM"),
                ("unlink ./merged/open/new", "ok"),
            ],
        )?;
        // What is copied up.
        expect(
            &mut actor,
            &[
                ("write ./merged/open/f", "ok"),
                ("chmod ./merged/open/g", "ok"),
                ("write ./merged/shut/f", "EPERM"),
            ],
        )?;
        actor.end()?;
        Ok(())
    })();
    run(&["umount", &merged])?;
    run(&["umount", &base])?;
    outcome
}
