//! The resolver: who in a session looks a name up asks it, whatever server the program named.
//!
//! | thread | owns | ends when |
//! |---|---|---|
//! | resolver | sockets on the loopback of each network namespace with sessions, the cache, questions under way | with the process |
//!
//! It shares [`Names`] with the daemon: what sessions may look up, and what they were answered.
//!
//! The way of a question: `server.rs` has the bytes (`post.rs`: of many datagrams at once) and learns from the kernel who asks
//! (`round.rs`: once for all that came together); `message.rs` reads them; [`Names::may_ask`] says whether the policy allows it;
//! `cache.rs` or `upstream.rs` know the answer; [`Names::enter`] writes its addresses into the kernel's tables; and only then the
//! answer leaves. What is asked again to the byte is neither read nor written anew (`echo.rs`), but judged and entered as before.

mod book;
mod bounds;
mod cache;
mod echo;
mod finder;
mod hosts;
mod known;
pub mod message;
mod outcomes;
mod post;
mod round;
mod server;
mod upstream;
mod wall;

pub use finder::Finder;
pub use known::Names;
pub use server::Resolver;
use std::path::PathBuf;
use std::time::Duration;

/// How the resolver is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file that names the host's servers.
    pub servers: PathBuf,
    /// The file of names that the host knows by itself.
    pub hosts: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// How long connections may at least begin after an answer, whatever it says: programs look a name up
/// and connect a while later.
pub const FLOOR: Duration = Duration::from_secs(60);

/// How long beyond the time that an answer says: clocks differ, and so does what has cached it.
pub const GRACE: Duration = Duration::from_secs(30);

/// How much shorter what stands may be than an answer says, before it is written anew: an answer from the cache, whose
/// time runs down, would be written each time. What is lost of the grace is less than that.
pub const SLACK: Duration = Duration::from_secs(10);

/// How long at most an answer is believed.
pub const CEILING: Duration = Duration::from_secs(86_400);
