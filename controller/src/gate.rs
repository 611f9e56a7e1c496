//! What stands before every call, before its body is read: who has shown no certificate shows a
//! token, or goes.

use crate::door::Peer;
use crate::token::Tokens;
use agent_proto::identity::Identity;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::info;

/// Lets calls through.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) tokens: Option<Arc<Tokens>>,
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("nobody is known to ask"))?;
        if *peer.identity != Identity::Bearer {
            return Ok(request);
        }
        if !peer.may_call() {
            return Err(Status::resource_exhausted(
                "too many calls a second on this connection",
            ));
        }
        let shown = request.metadata().get("authorization");
        let shown = shown.and_then(|value| value.to_str().ok());
        let token = shown.and_then(|text| text.strip_prefix("Bearer "));
        let read = match (&self.tokens, token) {
            (Some(tokens), Some(token)) => tokens.read(token.trim()),
            _ => Err(crate::token::TokenError::None),
        };
        let (identity, until) = read.map_err(|error| {
            info!(address = %peer.address, %error, "a token is refused");
            Status::unauthenticated(format!("token refused: {error}"))
        })?;
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        // Longer than a timer can be set is as good as for ever.
        let left = left.min(std::time::Duration::from_secs(366 * 24 * 3600));
        let named = peer.named(identity, Instant::now() + left);
        request.extensions_mut().insert(named);
        Ok(request)
    }
}
