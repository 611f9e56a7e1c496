//! Which kernel programs are in force when the daemon begins, and that they are proven.

use super::DaemonError;
use super::canary;
use crate::chain::chain;
use crate::control::protocol::{ProgramsHow, ProgramsInfo};
use crate::events::ring::Ring;
use crate::kernel::build::Build;
use crate::kernel::loader::{How, LoadError, Mode};
use crate::kernel::pins::Pins;
use crate::kernel::swap::Swap;
use crate::sessions::Sessions;
use agent_common::event::Event;
use tracing::warn;

/// Sends the canary in. Programs on probation take the place of those at work when it was denied, and go when it
/// was not. What the ring tells of others meanwhile is put with `others`.
pub(super) async fn prove(
    (build, how): (Build, How),
    sessions: &mut Sessions,
    ring: &mut Ring,
    mode: &Mode,
    others: &mut Vec<Event>,
) -> Result<ProgramsInfo, DaemonError> {
    let (build, how) = match how {
        How::Swapping(swap) => match prove_swap(&swap, sessions, ring, mode, others).await {
            Ok(()) => {
                swap.settle()?;
                (build, ProgramsHow::Swapped)
            }
            Err(error) => {
                let reason = chain(error);
                warn!(%build, reason, "the new kernel programs are not proven: the old ones go on");
                let before = swap.undo()?;
                canary::prove(sessions, ring, mode, None, others).await?;
                (before, ProgramsHow::Kept { reason })
            }
        },
        How::Loaded => {
            if let Err(error) = canary::prove(sessions, ring, mode, None, others).await {
                // What is not proven must not look as if it were in force.
                Pins::in_force().remove().map_err(LoadError::Pins)?;
                return Err(error.into());
            }
            (build, ProgramsHow::Loaded)
        }
        How::Adopted => {
            canary::prove(sessions, ring, mode, None, others).await?;
            (build, ProgramsHow::Adopted)
        }
        How::Kept(reason) => {
            canary::prove(sessions, ring, mode, None, others).await?;
            (build, ProgramsHow::Kept { reason })
        }
    };
    Ok(ProgramsInfo {
        build: build.to_string(),
        how,
    })
}

/// First the canary alone is judged by the new programs, then everybody, the canary among them.
async fn prove_swap(
    swap: &Swap,
    sessions: &mut Sessions,
    ring: &mut Ring,
    mode: &Mode,
    others: &mut Vec<Event>,
) -> Result<(), DaemonError> {
    canary::prove(sessions, ring, mode, Some(&swap.probation), others).await?;
    swap.commit()?;
    canary::prove(sessions, ring, mode, None, others).await?;
    Ok(())
}
