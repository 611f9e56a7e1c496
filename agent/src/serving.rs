//! Threads with a runtime of their own, for what must answer whatever the daemon does meanwhile.

use std::io;
use std::thread;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Begins a thread that serves until the process ends.
pub fn begin<Served: Future<Output = ()>>(
    name: &str,
    serve: impl FnOnce() -> Served + Send + 'static,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let run = move || LocalSet::new().block_on(&runtime, serve());
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}
