//! The bus on RabbitMQ.
//!
//! Owns two connections: one consumes and acknowledges, one publishes, so that an alarm which
//! stops the publishes does not stop the acknowledgements. Both are opened when first wanted and
//! anew after a loss; the wait between attempts is in here, so callers simply try again. Refuses
//! to decide anything about a message. Read [`consumer`], [`store`], [`prepare`], [`rescue`] and
//! [`examine`] next; [`crate::transport::amqp_link`] is the ground that they stand on.

mod consumer;
pub mod examine;
mod prepare;
mod rescue;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::topology::{Names, SourceBinding, SourceQueue};
use super::{Bus, BusError, Queue, Subscription, Target, TopologyReport};
use crate::domain::delivery::Message;
use crate::domain::names::Name;
use crate::logic::secret::SecretUrl;
use crate::transport::amqp_link::keeper::{Keeper, Kept};
use crate::transport::amqp_link::lanes::Lanes;
use crate::transport::amqp_link::{Link, LinkError, LinkSettings, bounded, uri};
use crate::transport::tls::certificate::Peer;
use crate::transport::tls::{self, TlsSettings};

/// Bounds one attempt to connect, and every answer of RabbitMQ but a confirm under an alarm.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait between two attempts to connect.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What lockgate may do about missing queues and exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look first, declare what is missing, never redeclare.
    Declare,
    /// Look, and say what is missing.
    Verify,
    /// Trust.
    Off,
}

/// Where the platform's bus is, and what is lockgate's on it.
#[derive(Clone, Debug)]
pub struct RabbitSettings {
    /// `amqp://` or `amqps://`, with user and password.
    pub url: SecretUrl,
    /// The queue that is consumed.
    pub queue: String,
    /// Where given, the queue is declared and bound so.
    pub bindings: Vec<SourceBinding>,
    /// The first part of every name that lockgate owns on RabbitMQ.
    pub prefix: String,
    /// What may be declared.
    pub mode: Mode,
    /// For `amqps`.
    pub tls: TlsSettings,
    /// Counts where the URL names no heartbeat. Whole seconds, at least one.
    pub heartbeat: Duration,
    /// This process, for the connections' names.
    pub instance: String,
}

/// The settings lead to no RabbitMQ.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL cannot be understood.
    #[error("the URL of the bus: {0}")]
    Url(#[from] uri::UriProblem),
    /// A certificate file, say.
    #[error("TLS to the bus: {0}")]
    Tls(String),
    /// There is no tokio runtime to work on.
    #[error("the bus needs a tokio runtime")]
    Runtime,
}

/// Where a connection leads, by a name that tells operators its purpose.
fn link_to(settings: &RabbitSettings, purpose: &str) -> Result<LinkSettings, SettingsError> {
    let uri = uri::parse(settings.url.expose(), None, None, settings.heartbeat)?;
    let tls = match uri.scheme {
        lapin::uri::AMQPScheme::AMQP => None,
        lapin::uri::AMQPScheme::AMQPS => {
            let peer = Peer::bus(&uri.authority.host);
            let made = tls::client_config_noting(&settings.tls, peer);
            Some(made.map_err(|error| SettingsError::Tls(error.0))?)
        }
    };
    let name = format!("lockgate {} {purpose}", settings.instance);
    Ok(LinkSettings { uri, tls, name, timeout: ANSWER_TIMEOUT })
}

/// What each connection is opened by.
struct Links {
    consume: LinkSettings,
    publish: LinkSettings,
}

impl Links {
    fn of(settings: &RabbitSettings) -> Result<Self, SettingsError> {
        Ok(Self { consume: link_to(settings, "consume")?, publish: link_to(settings, "publish")? })
    }
}

/// A bus on RabbitMQ.
pub struct RabbitMq {
    inner: Arc<Inner>,
}

/// What the futures that the bus gives out hold on to.
struct Inner {
    names: Names,
    source: SourceQueue,
    mode: Mode,
    runtime: Handle,
    links: Arc<ArcSwap<Links>>,
    consuming: Keeper<Consuming>,
    publishing: Keeper<Lanes>,
    generations: AtomicU64,
}

/// The consuming connection, with a channel for questions.
struct Consuming {
    link: Link,
    questions: Mutex<Option<Channel>>,
}

impl Kept for Consuming {
    fn alive(&self) -> bool {
        self.link.alive()
    }
}

impl RabbitMq {
    /// A bus that is not connected yet. All its work is done on the current tokio runtime, from
    /// wherever it is asked: call this on one that lives as long as the bus.
    ///
    /// # Errors
    /// When the URL or a certificate file cannot be understood.
    pub fn new(settings: &RabbitSettings) -> Result<Arc<Self>, SettingsError> {
        let runtime = Handle::try_current().map_err(|_| SettingsError::Runtime)?;
        let links = Arc::new(ArcSwap::from_pointee(Links::of(settings)?));
        let (to_consume, to_publish) = (Arc::clone(&links), Arc::clone(&links));
        let open_consuming = move || {
            let links = to_consume.load_full();
            async move {
                let link = Link::open(&links.consume).await?;
                Ok(Consuming { link, questions: Mutex::new(None) })
            }
            .boxed()
        };
        let open_publishing = move || {
            let links = to_publish.load_full();
            async move { Ok(Lanes::open(Link::open(&links.publish).await?, store::LANES)) }.boxed()
        };
        let inner = Inner {
            names: Names::new(settings.prefix.clone()),
            source: SourceQueue {
                queue: settings.queue.clone(),
                bindings: settings.bindings.clone(),
            },
            mode: settings.mode,
            consuming: Keeper::new(runtime.clone(), LONGEST_WAIT, open_consuming),
            publishing: Keeper::new(runtime.clone(), LONGEST_WAIT, open_publishing),
            runtime,
            links,
            generations: AtomicU64::new(0),
        };
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }
}

impl Inner {
    /// Does the work on the bus's own runtime, so that it depends on no other.
    fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, BusError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, BusError>> {
        let runtime = self.runtime.clone();
        let ended = |_| Err(BusError::Lost("the bus has ended".into()));
        async move { runtime.spawn(work).await.unwrap_or_else(ended) }.boxed()
    }

    fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn consuming(&self) -> Result<Arc<Consuming>, BusError> {
        self.consuming.get().await.map_err(|error| bus_error("connect", &error))
    }

    /// The queue's ready messages, by a passive declare.
    async fn depth(&self, queue: &Queue) -> Result<Option<u32>, BusError> {
        let name = self.names.queue(queue, &self.source.queue);
        let consuming = self.consuming().await?;
        let found = consuming.ask_queue(&name).await;
        found.map_err(|error| bus_error(&format!("look into queue '{name}'"), &error))
    }
}

impl Consuming {
    /// How many messages are ready in a queue; `None` when there is no such queue.
    async fn ask_queue(&self, name: &str) -> Result<Option<u32>, LinkError> {
        let mut kept = self.questions.lock().await;
        let channel = match kept.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.link.channel(ANSWER_TIMEOUT).await?,
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = short(name)?;
        let asked = channel.queue_declare(name, passive, FieldTable::default());
        match bounded(ANSWER_TIMEOUT, asked).await {
            Ok(queue) => {
                *kept = Some(channel);
                Ok(Some(queue.message_count()))
            }
            // The refusal has closed the channel.
            Err(LinkError::Reply { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A name as AMQP takes it.
fn short(name: &str) -> Result<lapin::types::ShortString, LinkError> {
    lapin::types::ShortString::try_new(name.to_owned())
        .map_err(|_| LinkError::Illegal("a name is longer than 255 bytes".into()))
}

/// What a link's error means to the users of the bus. `what` names the operation and its subject.
fn bus_error(what: &str, error: &LinkError) -> BusError {
    let text = format!("{what}: {error}");
    match error {
        LinkError::Blocked(reason) => BusError::Blocked(reason.clone()),
        LinkError::Timeout(_)
        | LinkError::Dns(_)
        | LinkError::DnsUnavailable(_)
        | LinkError::Io(_)
        | LinkError::Lost(_)
        | LinkError::Reply { code: 320 | 501..=506 | 541, .. } => BusError::Lost(text),
        LinkError::Reply { .. }
        | LinkError::Returned { .. }
        | LinkError::Nack
        | LinkError::Illegal(_)
        | LinkError::Tls(_) => BusError::Refused(text),
    }
}

/// As [`bus_error`]; where access was refused, with the right that is needed.
fn refusal(what: &str, error: &LinkError, right: &str, object: &str) -> BusError {
    match (bus_error(what, error), error) {
        (BusError::Refused(text), LinkError::Reply { code: 403, .. }) => {
            BusError::Refused(format!("{text} (needed: {right} on '{object}')"))
        }
        (other, _) => other,
    }
}

impl Bus for RabbitMq {
    fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> BoxFuture<'static, Result<Subscription, BusError>> {
        let inner = self.inner.clone();
        self.inner.on_runtime(async move { consumer::start(&inner, &queue, prefetch).await })
    }

    fn store(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), BusError>> {
        store::run(self.inner.clone(), target, message).boxed()
    }

    fn prepare(
        &self,
        endpoints: Vec<Name>,
        rungs: Vec<Duration>,
    ) -> BoxFuture<'static, Result<TopologyReport, BusError>> {
        let inner = self.inner.clone();
        self.inner.on_runtime(async move { prepare::run(&inner, &endpoints, &rungs).await })
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'static, Result<Option<u32>, BusError>> {
        let inner = self.inner.clone();
        self.inner.on_runtime(async move { inner.depth(&queue).await })
    }

    fn rescue_orphans(&self, endpoints: Vec<Name>) -> BoxFuture<'static, Result<usize, BusError>> {
        let inner = self.inner.clone();
        self.inner.on_runtime(async move { rescue::run(&inner, &endpoints).await })
    }

    fn renew(&self, settings: &RabbitSettings) -> Result<(), SettingsError> {
        self.inner.links.store(Arc::new(Links::of(settings)?));
        Ok(())
    }

    fn connected(&self) -> bool {
        self.inner.consuming.current().is_some()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let consuming = self.inner.consuming.close();
        let publishing = self.inner.publishing.close();
        let goodbye = self.inner.on_runtime(async move {
            let consume = async {
                if let Some(consuming) = consuming {
                    consuming.link.close().await;
                }
            };
            let publish = async {
                if let Some(lanes) = publishing {
                    lanes.link().close().await;
                }
            };
            futures_util::future::join(consume, publish).await;
            Ok(())
        });
        goodbye.map(|_| ()).boxed()
    }
}
