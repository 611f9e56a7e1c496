//! Which kernel programs are in force when the daemon begins, and that they are proven.

use super::DaemonError;
use super::canary;
use crate::chain::chain;
use crate::control::protocol::{ProgramsHow, ProgramsInfo};
use crate::events::ring::Ring;
use crate::kernel::build::Build;
use crate::kernel::loader::{How, LoadError, Mode};
use crate::kernel::pins::Pins;
use crate::sessions::Sessions;
use agent_common::event::Event;
use tracing::warn;

/// Sends the canary in. Programs that took the place of others and are not proven make way for those again.
/// What the ring tells of others meanwhile is put with `others`.
pub(super) async fn prove(
    (build, how): (Build, How),
    sessions: &mut Sessions,
    ring: &mut Ring,
    mode: &Mode,
    others: &mut Vec<Event>,
) -> Result<ProgramsInfo, DaemonError> {
    let info = |build: &Build, how| ProgramsInfo {
        build: build.to_string(),
        how,
    };
    let proven = canary::prove(sessions, ring, mode, others).await;
    match (how, proven) {
        (How::Loaded, Ok(())) => Ok(info(&build, ProgramsHow::Loaded)),
        (How::Adopted, Ok(())) => Ok(info(&build, ProgramsHow::Adopted)),
        (How::Kept(reason), Ok(())) => Ok(info(&build, ProgramsHow::Kept { reason })),
        (How::Swapped(swap), Ok(())) => {
            swap.settle()?;
            Ok(info(&build, ProgramsHow::Swapped))
        }
        (How::Swapped(swap), Err(error)) => {
            let reason = chain(error);
            warn!(%build, reason, "the new kernel programs are not proven: the old ones come back");
            let before = swap.undo()?;
            canary::prove(sessions, ring, mode, others).await?;
            Ok(info(&before, ProgramsHow::Kept { reason }))
        }
        (How::Loaded, Err(error)) => {
            // What is not proven must not look as if it were in force.
            Pins::in_force().remove().map_err(LoadError::Pins)?;
            Err(error.into())
        }
        (How::Adopted | How::Kept(_), Err(error)) => Err(error.into()),
    }
}
