//! A diagnosis: what the doctor found on the way to one peer, step by step, as plain data.
//!
//! Owns the verdicts and when a certificate is worth a warning. Refuses to look at anything: that is
//! [`crate::transport::examine`]. Read [`super::remedy`] next.

use std::time::Duration;

use jiff::Timestamp;

use super::remedy::remedy;
use crate::domain::delivery::Failure;

/// A certificate that ends sooner is warned about, in days.
pub const EXPIRY_WARNING: i64 = 30;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Ok,
    /// Well, but something should be looked at.
    Warning,
    /// Not.
    Failed,
    /// It was not made.
    Skipped,
}

impl Verdict {
    /// As reports write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What was seen: facts by name. Holds no credential.
pub type Seen = Vec<(&'static str, String)>;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `dns`, `tcp`, `tls`, `websocket`, `login`, `vhost`, `send`, ….
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// How long it took; `None` where it was not made.
    pub took: Option<Duration>,
    /// What was seen.
    pub seen: Seen,
    /// The failure's word, as logs and metrics have it.
    pub reason: Option<String>,
    /// One sentence: what failed, what the warning is about, or why it was skipped.
    pub detail: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Step {
    /// A step that was not made, and why.
    #[must_use]
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        let (verdict, detail) = (Verdict::Skipped, Some(why.into()));
        let seen = Seen::new();
        Self { name, verdict, took: None, seen, reason: None, detail, remedy: None }
    }

    /// A step as it came out, after `took`.
    #[must_use]
    pub fn made(name: &'static str, took: Duration, found: Finding) -> Self {
        let step = |verdict, seen| {
            let (reason, detail, remedy) = (None, None, None);
            Self { name, verdict, took: Some(took), seen, reason, detail, remedy }
        };
        match found {
            Finding::Ok { seen, note } => Self { detail: note, ..step(Verdict::Ok, seen) },
            Finding::Warning { seen, told } => step(Verdict::Warning, seen).telling(told),
            Finding::Failed { seen, told } => step(Verdict::Failed, seen).telling(told),
        }
    }

    fn telling(self, told: Told) -> Self {
        let advice = told.remedy.or_else(|| remedy(&told.reason).map(str::to_owned));
        // What is said already is not said twice.
        let advice = advice.filter(|advice| !told.detail.contains(advice.as_str()));
        Self { reason: Some(told.reason), detail: Some(told.detail), remedy: advice, ..self }
    }
}

/// A reason, a sentence, and what to do where the reason's word alone does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The word.
    pub reason: String,
    /// The sentence.
    pub detail: String,
    /// Instead of the word's own remedy.
    pub remedy: Option<String>,
}

impl Told {
    /// With the word's own remedy.
    #[must_use]
    pub fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into(), remedy: None }
    }
}

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        Self::new(failure.reason, failure.detail)
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Well.
    Ok {
        /// What was seen.
        seen: Seen,
        /// What is worth saying all the same.
        note: Option<String>,
    },
    /// Well, but.
    Warning {
        /// What was seen.
        seen: Seen,
        /// What about.
        told: Told,
    },
    /// Not.
    Failed {
        /// What was seen.
        seen: Seen,
        /// Why.
        told: Told,
    },
}

impl Finding {
    /// Well, and this was seen.
    #[must_use]
    pub fn ok(seen: Seen) -> Self {
        Self::Ok { seen, note: None }
    }
}

impl From<Failure> for Finding {
    fn from(failure: Failure) -> Self {
        Self::Failed { seen: Seen::new(), told: failure.into() }
    }
}

/// The verdict over all steps: failed if one failed, else warning if one warns, else ok.
#[must_use]
pub fn verdict(steps: &[Step]) -> Verdict {
    let any = |verdict| steps.iter().any(|step| step.verdict == verdict);
    [Verdict::Failed, Verdict::Warning, Verdict::Ok]
        .into_iter()
        .find(|verdict| any(*verdict))
        .unwrap_or(Verdict::Skipped)
}

/// What the leaf certificate of a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Who issued it.
    pub issuer: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// Its last moment.
    pub not_after: Timestamp,
}

impl Certificate {
    /// As facts, at `now`.
    #[must_use]
    pub fn seen(&self, now: Timestamp) -> Seen {
        vec![
            ("issuer", self.issuer.clone()),
            ("names", self.names.join(", ")),
            ("not_after", self.not_after.to_string()),
            ("days_left", self.days_left(now).to_string()),
        ]
    }

    /// Whole days until it ends; negative when it has.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.not_after.duration_since(now).as_secs().div_euclid(24 * 60 * 60)
    }

    /// The warning that it deserves at `now`, if any.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<Told> {
        let days = self.days_left(now);
        (days < EXPIRY_WARNING)
            .then(|| Told::new("tls_expires_soon", format!("the certificate ends in {days} days")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        let not_after = "2026-06-30T12:00:00Z".parse().unwrap();
        Certificate { issuer: "CN=x".into(), names: vec!["h".into()], not_after }
    }

    #[test]
    fn a_certificate_is_warned_about_in_its_last_thirty_days() {
        for (now, days, warned) in [
            ("2026-05-30T12:00:00Z", 31, false),
            ("2026-05-31T12:00:00Z", 30, false),
            ("2026-05-31T12:00:01Z", 29, true),
            ("2026-06-30T11:59:59Z", 0, true),
            ("2026-06-30T12:00:01Z", -1, true),
        ] {
            let now = now.parse().unwrap();
            assert_eq!(certificate().days_left(now), days, "{now}");
            assert_eq!(certificate().warning(now).is_some(), warned, "{now}");
        }
    }

    #[test]
    fn the_worst_step_decides() {
        let ok = || Step::made("dns", Duration::ZERO, Finding::ok(Seen::new()));
        let failed =
            || Step::made("tcp", Duration::ZERO, Failure::transient("timeout", "x").into());
        let seen = Seen::new();
        let told = Told::new("tls_expires_soon", "x");
        let warned = Step::made("tls", Duration::ZERO, Finding::Warning { seen, told });
        let skipped = || Step::skipped("login", "because");
        for (steps, wanted) in [
            (vec![], Verdict::Skipped),
            (vec![skipped()], Verdict::Skipped),
            (vec![ok(), skipped()], Verdict::Ok),
            (vec![ok(), warned.clone()], Verdict::Warning),
            (vec![ok(), warned, failed(), skipped()], Verdict::Failed),
        ] {
            assert_eq!(verdict(&steps), wanted);
        }
    }

    #[test]
    fn a_failed_step_has_the_remedy_of_its_reason_unless_its_detail_says_it_already() {
        let step = |detail: &str| {
            let failure = Failure::misconfigured("http_401", detail);
            Step::made("send", Duration::ZERO, failure.into())
        };
        let advice = remedy("http_401").unwrap();
        assert_eq!(step("answered 401").remedy.as_deref(), Some(advice));
        assert_eq!(step(&format!("answered 401: {advice}")).remedy, None);
    }
}
