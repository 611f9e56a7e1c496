//! Grants: whether a session may begin with one, once.

use super::state::Kept;
use crate::ids::SessionId;
use crate::kernel::clock;
use agent_proto::grant::{self, GrantError, SKEW_MS, Wanted};
use agent_proto::wire::Grant;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the file of a used grant stays after the grant has expired: a day more than clocks may
/// be apart.
const STAYS: Duration = Duration::from_secs(24 * 3600);

/// Why a session does not begin.
#[derive(Debug, thiserror::Error)]
pub enum RefusedError {
    /// The grant does not hold.
    #[error("grant refused")]
    Grant(#[from] GrantError),
    /// No controller has ever been heard.
    #[error(
        "grant refused: this node has never heard from a controller whose grants it could check"
    )]
    NoController,
    /// None was given.
    #[error(
        "a grant is required on this node, and none was given: ask for one, then `interlock run --grant FILE`"
    )]
    Missing,
    /// It cannot be noted that it was used.
    #[error("grant refused: cannot note its use in {}", path.display())]
    Latch {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a session is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) node: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) agent: &'a str,
    pub(crate) task: Option<&'a str>,
    pub(crate) policy: &'a [u8],
}

/// The time, by the node's own clock, but never before what the controller has said since: a clock
/// that was set back makes no grant good again.
fn now(kept: &Kept, boot: &str) -> Result<u64, GrantError> {
    let wall_ms = super::now_ms();
    if kept.heard_boot != boot {
        return Ok(wall_ms.max(kept.heard_ms));
    }
    let since_ms = clock::boot_ns().saturating_sub(kept.heard_ns) / 1_000_000;
    let expected_ms = kept.heard_ms + since_ms;
    let apart = wall_ms.abs_diff(expected_ms);
    if apart > SKEW_MS {
        return Err(GrantError::Clock(apart / 1000));
    }
    Ok(wall_ms.max(expected_ms))
}

/// Whether a grant allows this session to begin now.
pub(crate) fn check(
    text: &str,
    session: Session<'_>,
    kept: &Kept,
    boot: &str,
) -> Result<Grant, RefusedError> {
    if kept.keys.is_empty() {
        return Err(RefusedError::NoController);
    }
    let grant = grant::read(text, &kept.keys)?;
    let wanted = Wanted {
        controller: &kept.controller,
        agent: session.agent,
        task: session.task,
        node: session.node,
        labels: session.labels,
        policy: session.policy,
        now_ms: now(kept, boot)?,
    };
    grant::allows(&grant, &wanted)?;
    Ok(grant)
}

/// Uses a grant up. It is on the disk when this returns, so that no later daemon takes it again.
pub(crate) fn latch(folder: &Path, grant: &Grant) -> Result<Latch, RefusedError> {
    let failed = |source| RefusedError::Latch {
        path: folder.to_owned(),
        source,
    };
    // The id is hexadecimal where the controller has made it; it is signed, but names a file here.
    if !agent_proto::identity::is_name(&grant.id) {
        return Err(GrantError::NoGrant.into());
    }
    let path = folder.join(&grant.id);
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).open(&path) {
        Ok(file) => {
            file.sync_all().map_err(failed)?;
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
            Ok(Latch { path: Some(path) })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let session = fs::read_to_string(&path).map_err(failed)?;
            let session = if session.is_empty() {
                "that failed to begin".into()
            } else {
                session
            };
            Err(GrantError::Used(session).into())
        }
        Err(error) => Err(failed(error)),
    }
}

/// A grant that has been used up, or none.
#[derive(Debug, Default)]
pub struct Latch {
    path: Option<PathBuf>,
}

impl Latch {
    /// Notes the session that began with it, for whoever brings it again.
    pub fn used(&self, session: SessionId) {
        let Some(path) = &self.path else {
            return;
        };
        let noted = OpenOptions::new().write(true).open(path);
        let noted = noted.and_then(|mut file| file.write_all(session.to_string().as_bytes()));
        if let Err(error) = noted {
            tracing::warn!(%session, %error, "with which grant it began is not noted");
        }
    }
}

/// Forgets grants that expired long ago. A grant lives a day at most, so the file's time tells.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let age = age.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > STAYS * 3) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::chain;
    use agent_proto::seal::Key;

    fn said(error: RefusedError) -> String {
        chain(error)
    }

    fn key() -> Key {
        Key::from_pkcs8(&Key::draw().expect("a key")).expect("a key")
    }

    fn kept(key: &Key, heard_ms: u64) -> Kept {
        Kept {
            controller: "c".into(),
            keys: vec![key.public()],
            heard_ms,
            heard_ns: clock::boot_ns(),
            heard_boot: "boot".into(),
            ..Kept::default()
        }
    }

    fn text(key: &Key, issued_ms: u64) -> String {
        let grant = Grant {
            id: "ab".into(),
            controller: "c".into(),
            agent: "a".into(),
            task: "t".into(),
            node: "n".into(),
            policy: vec![1],
            issued_ms,
            expires_ms: issued_ms + 60_000,
            ..Grant::default()
        };
        grant::write(key, &grant)
    }

    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

    fn session() -> Session<'static> {
        Session {
            node: "n",
            labels: &NO_LABELS,
            agent: "a",
            task: None,
            policy: &[1],
        }
    }

    #[test]
    fn a_grant_is_good_once_and_a_later_daemon_knows() {
        let folder = std::env::temp_dir().join(format!("interlock-grants-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (key, now_ms) = (key(), super::super::now_ms());
        let grant = check(&text(&key, now_ms), session(), &kept(&key, now_ms), "boot");
        let grant = grant.expect("a grant that holds");
        latch(&folder, &grant)
            .expect("its first use")
            .used(SessionId(0xab));
        let again = said(latch(&folder, &grant).expect_err("its second use"));
        assert!(
            again.contains("replayed: session 00000000000000ab"),
            "{again}"
        );
        sweep(&folder);
        assert!(latch(&folder, &grant).is_err(), "swept too soon");
        fs::remove_dir_all(&folder).expect("the folder goes");
    }

    #[test]
    fn a_clock_that_is_wrong_by_a_year_is_noticed() {
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let (key, now_ms) = (key(), super::super::now_ms());
        for heard_ms in [now_ms - YEAR_MS, now_ms + YEAR_MS] {
            let refused = check(
                &text(&key, heard_ms),
                session(),
                &kept(&key, heard_ms),
                "boot",
            );
            let refused = said(refused.expect_err("a wrong clock"));
            assert!(
                refused.contains("clock and its controller's are 315"),
                "{refused}"
            );
        }
        // After a boot without a word, the clock cannot be earlier than what was heard before.
        let kept = kept(&key, now_ms + YEAR_MS);
        let refused = check(&text(&key, now_ms), session(), &kept, "another boot");
        assert!(said(refused.expect_err("expired")).contains("expired"));
        // The control.
        assert!(
            check(
                &text(&key, now_ms),
                session(),
                &self::kept(&key, now_ms),
                "boot"
            )
            .is_ok()
        );
    }

    #[test]
    fn nothing_is_believed_before_a_controller_was_heard() {
        let (key, now_ms) = (key(), super::super::now_ms());
        let never = Kept::default();
        let refused = check(&text(&key, now_ms), session(), &never, "boot");
        assert!(
            matches!(refused, Err(RefusedError::NoController)),
            "{refused:?}"
        );
    }
}
