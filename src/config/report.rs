//! Everything that is wrong with a configuration, at once.
//!
//! Owns what a complaint is and how it reads. Refuses to print a configured value: it may be a
//! secret in the wrong place. Read [`super::extract`] next: where most complaints come from.

use std::collections::BTreeSet;
use std::fmt;

use super::layers::Layers;

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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.message)?;
        if !self.file.is_empty() {
            write!(f, "\n  in {}", self.file)?;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
    }
}

/// A configuration that cannot be used: everything that is wrong with it, and the warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// Why it cannot be used. Not empty.
    pub errors: Vec<Problem>,
    /// What should be known besides.
    pub warnings: Vec<Problem>,
}

impl Problems {
    /// One error alone.
    #[must_use]
    pub fn one(problem: Problem) -> Self {
        Self { errors: vec![problem], warnings: Vec::new() }
    }
}

/// `error: …`, one problem a paragraph. The warnings are not in it.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.errors.iter().enumerate() {
            let between = if index == 0 { "" } else { "\n" };
            write!(f, "{between}error: {problem}")?;
        }
        Ok(())
    }
}

/// Collects complaints; knows which file or variable said what.
pub(super) struct Report<'a> {
    layers: &'a Layers,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    broken: BTreeSet<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        let (errors, warnings) = (layers.problems.clone(), Vec::new());
        Self { layers, errors, warnings, broken: BTreeSet::new() }
    }

    /// The layers that are reported on.
    pub(super) fn layers(&self) -> &'a Layers {
        self.layers
    }

    /// Something is wrong at `path`; not said again for what is known to be broken.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>, hint: Option<String>) {
        if self.is_broken(path) {
            return;
        }
        let problem = self.problem(path, message.into(), hint);
        if !self.errors.contains(&problem) {
            self.errors.push(problem);
        }
    }

    /// Something is wrong that no key path leads to.
    pub(super) fn push(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    /// Something should be known about `path`, unless it is broken anyway.
    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>, hint: Option<String>) {
        if !self.is_broken(path) {
            let problem = self.problem(path, message.into(), hint);
            self.warnings.push(problem);
        }
    }

    /// As [`Self::error`], and nothing that stands there is complained about any more.
    pub(super) fn break_off(
        &mut self,
        path: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.error(path, message, hint);
        self.mark_broken(path);
    }

    /// Nothing that stands at or below `path` is complained about any more.
    pub(super) fn mark_broken(&mut self, path: &str) {
        self.broken.insert(path.into());
    }

    /// Whether `path` or something above it was reported by [`Self::break_off`].
    pub(super) fn is_broken(&self, path: &str) -> bool {
        let mut ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        ends.any(|end| path.get(..end).is_some_and(|part| self.broken.contains(part)))
    }

    /// Whether there is an error.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The warnings, or all problems where there is an error.
    pub(super) fn finish(self) -> Result<Vec<Problem>, Problems> {
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Problems { errors: self.errors, warnings: self.warnings })
        }
    }

    fn problem(&self, path: &str, message: String, hint: Option<String>) -> Problem {
        Problem { path: path.into(), file: self.layers.source_of(path), message, hint }
    }
}

/// `did you mean …?`, where one of the known words is near the one that was written.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let distance = |word: &str| strsim::damerau_levenshtein(&written.to_lowercase(), word);
    let (best, far) = known.into_iter().map(|word| (word, distance(word))).min_by_key(|x| x.1)?;
    let allowed = best.chars().count() / 3;
    (far <= allowed).then(|| format!("did you mean `{best}`?"))
}
