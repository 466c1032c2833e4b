//! Reloading: another configuration for the running bridge, on SIGHUP or by the admin API.
//!
//! Owns who may ask (a signal, a request), that one is done after the other, and what the log says of
//! it. Refuses what is invalid: then everything goes on as before. Read [`crate::app`] for how the
//! bridge takes it over.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use crate::admin::Reloaded;
use crate::app::Bridge;
use crate::config::{Config, Environment, Location, Problem, Problems, load};

/// Requests that wait; more are told to come again.
const WAITING: usize = 8;

type Reply = oneshot::Sender<Result<Reloaded, Problems>>;

/// Where the admin listener asks for a reload.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Reply>);

/// Where the bridge hears of it.
pub(super) struct Requests(mpsc::Receiver<Reply>);

/// Both ends.
pub(super) fn desk() -> (Desk, Requests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Desk(sender), Requests(receiver))
}

impl Desk {
    /// Asks, and waits for what came of it.
    pub(super) fn ask(&self) -> BoxFuture<'static, Result<Reloaded, Problems>> {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.try_send(reply);
        async move {
            let busy = || {
                Problems::one(Problem {
                    path: String::new(),
                    file: String::new(),
                    message: "lockgate cannot reload now: it stops, or too many have asked".into(),
                    hint: Some("try again in a moment".into()),
                })
            };
            asked.map_err(|_| busy())?;
            answer.await.map_err(|_| busy())?
        }
        .boxed()
    }
}

/// Reloads whenever it is asked to, for ever. `applied` is told of each configuration that the
/// bridge has taken over.
pub(super) async fn serve(
    bridge: &Bridge,
    location: &Location,
    mut hangup: Signal,
    Requests(mut requests): Requests,
    applied: impl Fn(&Config),
) {
    loop {
        let reply = tokio::select! {
            Some(()) = hangup.recv() => None,
            Some(reply) = requests.recv() => Some(reply),
            else => return,
        };
        let done = reload(bridge, location, &applied).await;
        tell(&done);
        // Who asked may have gone.
        let _ = reply.map(|reply| reply.send(done));
    }
}

async fn reload(
    bridge: &Bridge,
    location: &Location,
    applied: impl Fn(&Config),
) -> Result<Reloaded, Problems> {
    // Variables of a running process hardly change; files and what is sealed do.
    let new = load(location, &Environment::of_process())?;
    for warning in &new.warnings {
        let (path, message) = (&warning.path, &warning.message);
        tracing::warn!(path, message, "the new configuration");
    }
    let change = bridge.reload(new).await?;
    let config = bridge.config().await;
    applied(&config);
    Ok(Reloaded {
        added: change.added,
        removed: change.removed,
        changed: change.changed,
        unchanged: change.unchanged,
        digest: config.digest.clone(),
    })
}

fn tell(done: &Result<Reloaded, Problems>) {
    match done {
        Ok(Reloaded { added, removed, changed, unchanged, digest }) => {
            let list = |names: &[crate::domain::names::Name]| {
                names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            let (added, removed, changed) = (list(added), list(removed), list(changed));
            let configuration = digest.get(..12).unwrap_or_default();
            tracing::info!(added, removed, changed, unchanged, configuration, "reloaded");
        }
        Err(problems) => {
            for problem in &problems.errors {
                let (path, file) = (&problem.path, &problem.file);
                let (message, hint) = (&problem.message, problem.hint.as_deref());
                tracing::error!(path, message, hint, file, "the new configuration is refused");
            }
            tracing::error!("not reloaded: the configuration before stays in force");
        }
    }
}
