//! Examining the bus: the way to it, its queues and exchanges, what the user may do, the source queue.
//!
//! Owns what the doctor asks of RabbitMQ, and that it changes nothing: objects are looked at by
//! passive declares, and whatever else is asked is so malformed that RabbitMQ refuses it for one
//! reason or another, of which the reason is the answer. Nothing is declared, consumed or stored.
//! Read [`rights`] and [`arguments`] next.

mod arguments;
mod rights;

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use self::arguments::Argument;
use super::prepare::{Found, Surveyor};
use super::{ANSWER_TIMEOUT, Mode, RabbitSettings, link_to, short};
use crate::bus::topology::{self, Names, Object, SourceQueue};
use crate::domain::delivery::Headers;
use crate::domain::names::Name;
use crate::logic::diagnosis::{Finding, Seen, Step, Told};
use crate::transport::BuildError;
use crate::transport::amqp_link::{Link, LinkError, LinkState, bounded, examine};
use crate::transport::examine::{Examination, Made, not_prepared};

/// Bounds a step that asks many questions; each is bounded by [`ANSWER_TIMEOUT`] besides.
const LIMIT: Duration = Duration::from_secs(60);
/// How many names a sentence lists.
const LISTED: usize = 100;

/// Examines the bus for these endpoints and rungs.
pub async fn examine(
    settings: &RabbitSettings,
    endpoints: &[Name],
    rungs: &[Duration],
) -> Vec<Step> {
    let mut exam = Examination::default();
    let link = match link_to(settings, "check") {
        Ok(link) => link,
        Err(error) => {
            let refused = async |()| Err::<((), Finding), _>(prepared(&error.to_string()));
            exam.step("prepare", Some(()), (LIMIT, "prepare"), refused).await;
            return exam.into_steps();
        }
    };
    let target = settings.url.to_string();
    let open = examine::examine(&mut exam, &link, &settings.tls, &target).await;
    let bus = Examined {
        names: Names::new(settings.prefix.clone()),
        source: SourceQueue { queue: settings.queue.clone(), bindings: settings.bindings.clone() },
        mode: settings.mode,
        vhost: link.uri.vhost.clone(),
        endpoints,
        rungs,
        link: open.as_ref(),
    };
    let missing = bus.topology(&mut exam).await;
    bus.source_queue(&mut exam).await;
    // Last: under an alarm a connection is no longer read once something was published on it.
    bus.permissions(&mut exam, missing.unwrap_or_default()).await;
    if let Some(link) = open {
        link.close().await;
    }
    exam.into_steps()
}

fn prepared(error: &str) -> Finding {
    not_prepared(&BuildError(error.to_owned()))
}

/// A bus under examination.
struct Examined<'a> {
    names: Names,
    source: SourceQueue,
    mode: Mode,
    vhost: String,
    endpoints: &'a [Name],
    rungs: &'a [Duration],
    link: Option<&'a Link>,
}

impl Examined<'_> {
    /// Everything that can be looked at: exchanges and queues, the source queue too.
    fn objects(&self) -> Vec<Object> {
        let mut all = topology::objects(&self.names, &self.source, self.endpoints, self.rungs);
        all.retain(|object| !matches!(object, Object::Binding { .. }));
        if self.source.bindings.is_empty() {
            let name = self.source.queue.clone();
            all.push(Object::Queue { name, arguments: Headers::default() });
        }
        all
    }

    /// What is missing; a finding that depends on who is to make it.
    async fn topology(&self, exam: &mut Examination) -> Option<Vec<Object>> {
        let look = async |link: &Link| -> Made<Vec<Object>> {
            let (mut surveyor, mut missing, mut there) = (Surveyor::new(link), Vec::new(), 0_usize);
            for object in self.objects() {
                let found = surveyor.look(&object).await;
                match found.map_err(|error| error.failure(&object.describe()))? {
                    Found::Missing => missing.push(object),
                    Found::There | Found::Declared => there += 1,
                }
            }
            let finding = self.judge(&missing, there);
            Ok((missing, finding))
        };
        exam.step("topology", self.link, (LIMIT, "look at the queues and exchanges"), look).await
    }

    fn judge(&self, missing: &[Object], there: usize) -> Finding {
        let seen: Seen =
            vec![("present", there.to_string()), ("missing", missing.len().to_string())];
        let source = |object: &&Object| matches!(object, Object::Queue { name, .. } if *name == self.source.queue);
        if self.source.bindings.is_empty() && missing.iter().any(|object| source(&object)) {
            let detail = format!("{} is missing", list(missing.iter().map(Object::describe)));
            let told = Told::new("queue_missing", detail);
            let advice = "create the source queue, or give it [[source.bindings]], so that \
                          lockgate declares it";
            return Finding::Failed { seen, told: Told { remedy: Some(advice.into()), ..told } };
        }
        if missing.is_empty() {
            return Finding::ok(seen);
        }
        let names = list(missing.iter().map(Object::describe));
        match self.mode {
            Mode::Declare => {
                let note = format!("not there yet; lockgate declares it when it starts: {names}");
                Finding::Ok { seen, note: Some(note) }
            }
            Mode::Verify | Mode::Off => {
                let told = Told::new("queue_missing", format!("missing: {names}"));
                Finding::Failed { seen, told }
            }
        }
    }

    /// What the user may not do of what lockgate will.
    async fn permissions(&self, exam: &mut Examination, missing: Vec<Object>) {
        let ask = async |link: &Link| -> Made<()> {
            let missing = if self.mode == Mode::Declare { missing } else { Vec::new() };
            let needed = self.needed(missing);
            let asked = needed.len();
            let mut refused = Vec::new();
            for right in needed {
                let answer = rights::ask(link, &right).await;
                let wrong = |error| blocked(link, error).failure(&right.describe());
                if !answer.map_err(wrong)? {
                    refused.push(right.describe());
                }
            }
            let seen = vec![("asked", asked.to_string()), ("refused", refused.len().to_string())];
            if refused.is_empty() {
                return Ok(((), Finding::ok(seen)));
            }
            let detail = format!("the user lacks: {}", list(refused.into_iter()));
            let told = Told::new("access_refused", detail);
            Err(Finding::Failed { seen, told: Told { remedy: Some(self.grant()), ..told } })
        };
        exam.step("permissions", self.link, (LIMIT, "ask for permissions"), ask).await;
    }

    fn needed(&self, missing: Vec<Object>) -> Vec<rights::Right> {
        use rights::Right;
        let names = &self.names;
        let queues =
            self.endpoints.iter().flat_map(|e| [names.parked_queue(e), names.dead_queue(e)]);
        let read = [self.source.queue.clone(), names.orphan()].into_iter().chain(queues);
        let waits = self.rungs.iter().map(|rung| names.wait(*rung));
        let write = [names.park(), names.dead(), names.rejected()].into_iter().chain(waits);
        let mut all: Vec<Right> = read.map(Right::Read).collect();
        all.extend(write.map(Right::Write));
        all.extend(missing.into_iter().map(Right::Configure));
        all
    }

    fn grant(&self) -> String {
        let declares = self.mode == Mode::Declare;
        let needed = topology::permissions(&self.names, &self.source, declares);
        format!(
            "rabbitmqctl set_permissions -p '{}' USER '{}' '{}' '{}'",
            self.vhost, needed.configure, needed.write, needed.read
        )
    }

    /// What can be told of the source queue.
    async fn source_queue(&self, exam: &mut Examination) {
        let look = async |link: &Link| -> Made<()> {
            let name = &self.source.queue;
            let wrong = |error: LinkError| error.failure(&format!("look at queue '{name}'"));
            let Some((ready, consumers)) = counts(link, name).await.map_err(wrong)? else {
                let note = Some("the queue is not there".to_owned());
                return Ok(((), Finding::Ok { seen: Seen::new(), note }));
            };
            let argument = arguments::dead_letter_exchange(link, name).await.map_err(wrong)?;
            let seen = vec![
                ("queue", name.clone()),
                ("ready", ready.to_string()),
                ("consumers", consumers.to_string()),
                ("dead_letter_exchange", argument.to_string()),
            ];
            Ok(((), self.protection(seen, &argument)))
        };
        exam.step("source_queue", self.link, (LIMIT, "look at the source queue"), look).await;
    }

    fn protection(&self, seen: Seen, argument: &Argument) -> Finding {
        match argument {
            Argument::None if self.source.bindings.is_empty() => {
                let detail = "the source queue has no dead-letter exchange among its arguments";
                let told = Told::new("no_dead_letter_exchange", detail);
                Finding::Warning { seen, told }
            }
            // Declared by lockgate, with a delivery limit as good as none.
            Argument::None => Finding::ok(seen),
            Argument::Value(_) | Argument::Unknown(_) => {
                let note = "a delivery limit, and what a policy adds, AMQP does not show: \
                            rabbitmqctl list_queues name arguments effective_policy_definition";
                Finding::Ok { seen, note: Some(note.into()) }
            }
        }
    }
}

/// An error, or the alarm that explains it.
fn blocked(link: &Link, error: LinkError) -> LinkError {
    match &*link.state().borrow() {
        LinkState::Blocked(reason) => LinkError::Blocked(reason.clone()),
        LinkState::Open | LinkState::Gone => error,
    }
}

/// Ready messages and consumers, by a passive declare; `None` where there is no such queue.
async fn counts(link: &Link, queue: &str) -> Result<Option<(u32, u32)>, LinkError> {
    let channel = link.channel(ANSWER_TIMEOUT).await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = channel.queue_declare(short(queue)?, passive, FieldTable::default());
    match bounded(ANSWER_TIMEOUT, asked).await {
        Ok(found) => Ok(Some((found.message_count(), found.consumer_count()))),
        Err(LinkError::Reply { code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first of them, and how many more there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let text = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}
