//! What is wrong with a configuration, said so that it can be mended without the manual.

use std::fmt;

/// One field that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    field: String,
    message: String,
}

impl Problem {
    /// A problem with `field`, in a form such as `routes[2].match.path`.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }

    /// The usual form: what was given and what would do, with an example.
    pub fn given(field: &str, given: impl fmt::Display, expected: &str) -> Self {
        Self::new(field, format!("given \"{}\", expected {expected}", Shortened(&given.to_string())))
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that is wrong, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// None yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// Notes a problem and goes on.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value, or its problem noted.
    pub fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.push(problem)).ok()
    }

    /// `value` if nothing is wrong.
    ///
    /// # Errors
    /// The problems noted so far.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let short: String = self.0.chars().take(LONGEST).collect();
        let dots = if short.len() < self.0.len() { "…" } else { "" };
        write!(f, "{}{dots}", short.escape_debug())
    }
}
