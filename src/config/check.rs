//! The rules of the configuration, and complaints about it.

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `endpoints.erp.rest.url`.
    pub path: String,
    /// The file or variable that says so.
    pub file: String,
    /// What is wrong. Holds no value that might be a secret.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
