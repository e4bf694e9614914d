//! What a person is told when something goes wrong: code, message, both halves, next step.
//!
//! Each room's error turns into an [`Explanation`] in one place; the printer and the wire carry it on.

use crate::code::Code;

/// An error in words that stand alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The stable code.
    pub code: Code,
    /// What happened: lower case, no full stop.
    pub message: String,
    /// What was expected and what came, and what else helps: a label and a value each.
    pub facts: Vec<(String, String)>,
    /// What to do next, often a command.
    pub hint: Option<String>,
}

impl Explanation {
    /// An explanation with no facts and no hint.
    pub fn new(code: Code, message: impl Into<String>) -> Explanation {
        Explanation { code, message: message.into(), facts: Vec::new(), hint: None }
    }

    /// Adds one labelled fact.
    #[must_use]
    pub fn fact(mut self, label: &str, value: impl ToString) -> Explanation {
        self.facts.push((label.to_owned(), value.to_string()));
        self
    }

    /// Adds both halves of the comparison that failed.
    #[must_use]
    pub fn halves(self, expected: impl ToString, came: impl ToString) -> Explanation {
        self.fact("expected", expected).fact("came", came)
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Explanation {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Explanation {
    /// One line, for logs: `CT-1101: message (expected …; came …)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        for (place, (label, value)) in self.facts.iter().enumerate() {
            f.write_str(if place == 0 { " (" } else { "; " })?;
            write!(f, "{label} {value}")?;
        }
        if self.facts.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl std::error::Error for Explanation {}

/// Errors that can say what is wrong and what to do about it.
pub trait Explain {
    /// The error in words that stand alone.
    fn explain(&self) -> Explanation;
}

impl Explain for Explanation {
    fn explain(&self) -> Explanation {
        self.clone()
    }
}
