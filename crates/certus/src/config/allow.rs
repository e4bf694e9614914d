//! `allow`: who may connect, as a word, a list (any of them), or `all`, `any` and `not` within each other.

use certus_pki::{Allow, Explanation};

use super::raw::{Branch, Text, Tree};
use super::reader::{Reader, distance};

/// Deeper than any policy that a person can follow.
const DEPTH_MAX: usize = 8;

const WORDS: [&str; 3] = ["all", "any", "not"];

impl Reader<'_> {
    /// Whom the tree means.
    pub(super) fn allow(&self, tree: &Tree) -> Result<Allow, Explanation> {
        self.allow_within(tree, 0)
    }

    fn allow_within(&self, tree: &Tree, depth: usize) -> Result<Allow, Explanation> {
        if depth > DEPTH_MAX {
            let told = self.wrong(tree, "allow: conditions within conditions within conditions");
            return Err(told.halves(format!("at most {DEPTH_MAX} deep"), "more"));
        }
        match &tree.value {
            Branch::Word(word) => {
                let value = self.word(tree, word)?;
                value.text.parse().map_err(|error| self.unfit("allow", tree, value.substituted, &error))
            }
            Branch::List(list) => self.each(list, depth).map(Allow::Any),
            Branch::Map(pairs) => match &pairs[..] {
                [(word, inner)] => self.combined(word, inner, depth),
                _ => Err(self
                    .wrong(tree, "allow: not one condition")
                    .halves("one of all, any, not", format!("{} keys", pairs.len()))),
            },
        }
    }

    fn combined(&self, word: &Text, inner: &Tree, depth: usize) -> Result<Allow, Explanation> {
        match (word.value.as_str(), &inner.value) {
            ("not", _) => Ok(Allow::Not(Box::new(self.allow_within(inner, depth + 1)?))),
            ("all" | "any", Branch::List(list)) if list.is_empty() => {
                Err(self.wrong(word, &format!("allow: `{}` of no conditions", word.value)))
            }
            ("all", Branch::List(list)) => self.each(list, depth).map(Allow::All),
            ("any", Branch::List(list)) => self.each(list, depth).map(Allow::Any),
            ("all" | "any", _) => {
                Err(self.wrong(word, &format!("allow: `{}` takes a list of conditions", word.value)))
            }
            _ => {
                let told = self.wrong(word, "allow: not a way to combine conditions");
                let told = told.fact("expected", WORDS.join(", "));
                let near = WORDS.iter().find(|known| distance(known, &word.value) == 1);
                Err(near.map_or(told.clone(), |near| told.fact("meant", near)))
            }
        }
    }

    fn each(&self, list: &[Tree], depth: usize) -> Result<Vec<Allow>, Explanation> {
        list.iter().map(|one| self.allow_within(one, depth + 1)).collect()
    }
}
