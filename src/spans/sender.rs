//! The wire to the collector: one thread, one request at a time.
//!
//! Owns the thread on which [`Collector`] lives, as awc asks for, and the exporter's way to it: a
//! channel with one place. What goes wrong is kept in words for [`super::export`], which tells it
//! once. Headers that the exporter brings are left out: ours are in the collector's settings, where
//! no library can print them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::sync::{mpsc, oneshot};

use crate::transport::BuildError;
use crate::transport::collector::{Collector, Settings};

/// What came of a request: the status of an answer, and why it is none that we want.
type Answer = Result<(u16, Option<String>), String>;

/// One request.
struct Job {
    body: Bytes,
    answer: oneshot::Sender<Answer>,
}

/// The exporter's HTTP client.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    jobs: mpsc::Sender<Job>,
    trouble: Arc<Mutex<String>>,
}

impl Sender {
    /// Starts the thread. It ends with the process, or when nobody can send any more.
    pub(super) fn start(settings: &Settings) -> Result<Self, BuildError> {
        let (jobs, to_send) = mpsc::channel(1);
        let (built, whether_built) = std::sync::mpsc::sync_channel(1);
        let settings = settings.clone();
        let work = move || {
            actix_rt::System::new().block_on(async move {
                match Collector::new(&settings) {
                    Ok(collector) => {
                        let _ = built.send(Ok(()));
                        send_all(&collector, to_send).await;
                    }
                    Err(error) => drop(built.send(Err(error))),
                }
            });
        };
        let named = std::thread::Builder::new().name("spans".into());
        let no_thread = |why: &str| BuildError(format!("no thread for spans: {why}"));
        named.spawn(work).map_err(|error| no_thread(&error.to_string()))?;
        whether_built.recv().map_err(|_| no_thread("it ended at once"))??;
        Ok(Self { jobs, trouble: Arc::default() })
    }

    /// One whose requests all fail over this.
    #[cfg(test)]
    pub(super) fn unconnected(trouble: &str) -> Self {
        let (jobs, _) = mpsc::channel(1);
        Self { jobs, trouble: Arc::new(Mutex::new(trouble.to_owned())) }
    }

    /// Why the last request that failed did.
    pub(super) fn trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, words: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    async fn ask(&self, body: Bytes) -> Answer {
        let gone = || "the thread for spans is gone: a fault of lockgate".to_owned();
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { body, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn send_all(collector: &Collector, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { body, answer }) = jobs.recv().await {
        let status = collector.post(&body).await;
        let done = status.map(|status| (status, collector.refusal(status)));
        let _ = answer.send(done.map_err(|failure| failure.detail));
    }
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (status, refusal) = self.ask(request.into_body()).await.inspect_err(|words| {
            self.failed(words.clone());
        })?;
        if let Some(words) = refusal {
            self.failed(words);
        }
        Ok(Response::builder().status(status).body(Bytes::new())?)
    }
}
