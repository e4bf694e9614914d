//! `${NAME}` and `${NAME:-default}` in a scalar, expanded after the YAML was parsed.
//!
//! So a value can hold any text, line breaks too, and never changes the document's structure.

/// A scalar with its names replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The text.
    pub(crate) text: String,
    /// Whether any of it came from outside of the document: then it is never printed.
    pub(crate) substituted: bool,
}

/// A scalar that cannot be expanded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotExpanded {
    /// A name that is not set and has no default.
    #[error("`{name}` is not set, and `${{{name}}}` gives no default")]
    Unset {
        /// Which one.
        name: String,
    },
    /// A `${` without its `}`.
    #[error("`${{` without its `}}`")]
    Open,
    /// What stands between the braces is no name.
    #[error("`{came}` is not the name of a variable, expected letters, digits and _")]
    Name {
        /// What stands there.
        came: String,
    },
}

/// Replaces every `${NAME}` by what `lookup` knows, and `${NAME:-x}` by `x` where that is unset or
/// empty, as a shell does. `$${` stands for `${` itself.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, NotExpanded> {
    let mut out = Expanded { text: String::with_capacity(text.len()), substituted: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.text.push_str(before);
            out.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.text.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = inside.find('}').ok_or(NotExpanded::Open)?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        check_name(name)?;
        let found = lookup(name).filter(|value| default.is_none() || !value.is_empty());
        out.substituted |= found.is_some();
        let value = found.or_else(|| default.map(str::to_owned));
        out.text.push_str(&value.ok_or_else(|| NotExpanded::Unset { name: name.to_owned() })?);
        rest = &inside[end + 1..];
    }
    out.text.push_str(rest);
    Ok(out)
}

fn check_name(name: &str) -> Result<(), NotExpanded> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let good = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    if good { Ok(()) } else { Err(NotExpanded::Name { came: name.chars().take(40).collect() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> Result<String, NotExpanded> {
        let lookup = |name: &str| match name {
            "HOST" => Some("web".to_owned()),
            "PEM" => Some("-----BEGIN X-----\na: b\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expand(input, &lookup).map(|expanded| expanded.text)
    }

    #[test]
    fn names_become_values() {
        assert_eq!(text("${HOST}:${PORT:-80}").as_deref(), Ok("web:80"));
        assert_eq!(text("${PEM}").as_deref(), Ok("-----BEGIN X-----\na: b\n"));
        assert_eq!(text("${EMPTY:-x}${EMPTY}${NONE:-}").as_deref(), Ok("x"));
        assert_eq!(text("$HOST $5 {x} $${HOST}").as_deref(), Ok("$HOST $5 {x} ${HOST}"));
    }

    #[test]
    fn what_cannot_be_expanded_is_named() {
        assert_eq!(text("a ${NONE}"), Err(NotExpanded::Unset { name: "NONE".into() }));
        assert_eq!(text("${HOST"), Err(NotExpanded::Open));
        assert_eq!(text("${a b}"), Err(NotExpanded::Name { came: "a b".into() }));
        assert_eq!(text("${}"), Err(NotExpanded::Name { came: String::new() }));
    }

    #[test]
    fn values_are_not_expanded_again() {
        let lookup = |_: &str| Some("${HOST}".to_owned());
        let expanded = expand("${A}", &lookup).ok();
        assert_eq!(expanded, Some(Expanded { text: "${HOST}".into(), substituted: true }));
    }
}
