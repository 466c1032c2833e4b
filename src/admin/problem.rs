//! Problems: every answer that says no, as RFC 9457 has it.
//!
//! Owns the form. Refuses to hold a secret: who writes a detail writes it for whoever may ask. Read
//! [`super::door`] next: who may.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::bus::BusError;
use crate::config;

/// Why a request was not answered as asked.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    pub r#type: &'static str,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Everything that is wrong with a configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<ConfigurationProblem>>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ConfigurationProblem {
    /// The key: `endpoints.erp.rest.url`; empty where no key is to blame.
    pub path: String,
    /// The file or variable that says so.
    pub file: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
            problems: None,
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Nothing of this name is there.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// It can be read, but not done.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Something else is under way.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// It cannot be done now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The bus fails.
    #[must_use]
    pub fn bus(error: &BusError) -> Self {
        let hint = match error {
            BusError::Lost(_) => "is RabbitMQ up, and source.url right?",
            BusError::Blocked(_) => "RabbitMQ has a memory or disk alarm: free some",
            BusError::Refused(_) => "`lockgate topology` prints the permissions that are needed",
        };
        Self::unavailable(error.to_string()).hint(hint)
    }
}

impl From<config::Problems> for Problem {
    fn from(problems: config::Problems) -> Self {
        let of = |problem: config::Problem| ConfigurationProblem {
            path: problem.path,
            file: problem.file,
            message: problem.message,
            hint: problem.hint,
        };
        let detail = "the new configuration cannot be used; the old one stays";
        let problems = problems.errors.into_iter().map(of).collect();
        Self { problems: Some(problems), ..Self::unprocessable(detail) }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let text = serde_json::to_string(self).unwrap_or_default();
        HttpResponse::build(self.status_code())
            .insert_header((header::CONTENT_TYPE, "application/problem+json"))
            .body(text)
    }
}
