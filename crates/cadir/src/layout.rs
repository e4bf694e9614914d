//! The four sets of file names a CA directory goes by, and what each preset decides.
//!
//! Names only; no file is looked at.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use certus_pki::{KeyType, Lifetime, defaults};

use crate::error::CaDirError;

/// The names of the files in a CA directory, and the preset of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `ca.crt`, a directory per host with `server.crt`, and `client/client.crt`.
    Fleet,
    /// `ca.crt`, and `NAME.crt` beside it.
    Mesh,
    /// `ca.crt` that signs `intermediate.crt`, and a directory per role.
    Private,
    /// `ca-cert.pem`, and `ID-cert.pem` beside it: development only.
    Dev,
}

/// What a certificate of a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A root: signs itself.
    Root,
    /// An intermediate that signs leaves.
    Issuer,
    /// One root's key, signed by another root.
    Bridge,
    /// A TLS server.
    Server,
    /// A TLS client.
    Client,
    /// Both sides.
    Agent,
}

/// A certificate's file and its key's, relative to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, with its issuers where a server must send them.
    pub cert: String,
    /// The key.
    pub key: String,
}

/// The ledger's file in every layout.
pub const LEDGER: &str = "ca.ledger";
/// Changes that were begun: see `docs/ca-directory.md`.
pub(crate) const PENDING: &str = ".ca.pending";

/// Longest name: with its ending it must fit the 255 bytes of a file's name.
const NAME_BYTES_MAX: usize = 200;

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 4] = [Layout::Fleet, Layout::Mesh, Layout::Private, Layout::Dev];

    /// The layout as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Layout::Fleet => "fleet",
            Layout::Mesh => "mesh",
            Layout::Private => "private",
            Layout::Dev => "dev",
        }
    }

    /// The root, and its key.
    pub fn root(self) -> Pair {
        self.flat("ca")
    }

    /// The issuer with this number, from 1.
    pub fn issuer(self, number: usize) -> Pair {
        match number {
            1 => self.flat("intermediate"),
            _ => self.flat(&format!("intermediate-{number}")),
        }
    }

    /// The next root of a change of roots, until it takes over.
    pub fn next_root(self) -> Pair {
        self.flat("ca-next")
    }

    /// The root before, once the next one took over.
    pub fn old_root(self) -> Pair {
        self.flat("ca-old")
    }

    /// The next root's key signed by the root before it: for peers that trust only the latter.
    pub fn bridge_to_new(self) -> String {
        self.flat("ca-bridge-new").cert
    }

    /// The old root's key signed by the next root: for peers that trust only the latter.
    pub fn bridge_to_old(self) -> String {
        self.flat("ca-bridge-old").cert
    }

    /// Every root that peers are to trust, in one file.
    pub fn bundle(self) -> String {
        self.flat("ca-bundle").cert
    }

    /// The revocation list of the key in this certificate file.
    pub fn list(self, cert: &str) -> String {
        let stem = cert.trim_end_matches(".crt").trim_end_matches("-cert.pem");
        format!("{stem}.crl")
    }

    /// A leaf's files.
    ///
    /// # Errors
    /// The name is no file name, or another file has it.
    pub fn leaf(self, role: Role, name: &str) -> Result<Pair, CaDirError> {
        let stem = stem(name)?;
        let taken = |expected| Err(CaDirError::Name { came: name.to_owned(), expected });
        let in_dir = |dir: &str, stem: &str| Pair {
            cert: format!("{dir}/{stem}.crt"),
            key: format!("{dir}/{stem}.key"),
        };
        match (self, role) {
            (Layout::Mesh | Layout::Dev, _) if is_reserved(&stem) => {
                taken("a name that no file of the CA itself has")
            }
            (Layout::Mesh | Layout::Dev, _) => Ok(self.flat(&stem)),
            (Layout::Private, role) => Ok(in_dir(role.as_str(), &stem)),
            (Layout::Fleet, Role::Client) if stem == "server" => taken("another name than `server`"),
            (Layout::Fleet, Role::Client) => Ok(in_dir("client", &stem)),
            (Layout::Fleet, role) => {
                let file_of_ours = stem
                    .strip_suffix(".crt")
                    .or_else(|| stem.strip_suffix(".key"))
                    .or_else(|| stem.strip_suffix(".crl"));
                match file_of_ours {
                    Some(inner) if is_reserved(inner) => taken("a name that no file of the CA itself has"),
                    _ if stem == LEDGER => taken("a name that no file of the CA itself has"),
                    _ => Ok(in_dir(&stem, role.as_str())),
                }
            }
        }
    }

    /// The fleet's one client: `client/client.crt`, whatever its common name.
    pub fn first_client(self) -> Option<Pair> {
        (self == Layout::Fleet)
            .then(|| Pair { cert: "client/client.crt".to_owned(), key: "client/client.key".to_owned() })
    }

    /// How long a root lives unless told otherwise.
    pub const fn root_lifetime(self) -> Lifetime {
        match self {
            Layout::Fleet | Layout::Private => defaults::FILES_ROOT_LIFETIME,
            Layout::Mesh | Layout::Dev => defaults::FILES_ROOT_LIFETIME_SHORT,
        }
    }

    /// How long an issuer lives unless told otherwise.
    pub const fn issuer_lifetime(self) -> Lifetime {
        match self {
            Layout::Fleet | Layout::Private => defaults::FILES_ISSUER_LIFETIME,
            Layout::Mesh | Layout::Dev => defaults::FILES_ISSUER_LIFETIME_SHORT,
        }
    }

    /// How long a leaf lives unless told otherwise.
    pub const fn leaf_lifetime(self) -> Lifetime {
        match self {
            Layout::Fleet => defaults::FILES_LEAF_LIFETIME_FLEET,
            Layout::Mesh | Layout::Private | Layout::Dev => defaults::FILES_LEAF_LIFETIME,
        }
    }

    /// The keys that are made unless told otherwise.
    pub const fn key_type(self) -> KeyType {
        match self {
            Layout::Fleet => KeyType::Ed25519,
            // What browsers, Java and appliances all accept.
            Layout::Mesh | Layout::Private | Layout::Dev => KeyType::P256,
        }
    }

    fn flat(self, stem: &str) -> Pair {
        match self {
            Layout::Dev => Pair { cert: format!("{stem}-cert.pem"), key: format!("{stem}-key.pem") },
            _ => Pair { cert: format!("{stem}.crt"), key: format!("{stem}.key") },
        }
    }
}

impl Role {
    const ALL: [Role; 6] = [Role::Root, Role::Issuer, Role::Bridge, Role::Server, Role::Client, Role::Agent];

    /// The role as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Issuer => "issuer",
            Role::Bridge => "bridge",
            Role::Server => "server",
            Role::Client => "client",
            Role::Agent => "agent",
        }
    }
}

/// A name as the name of a file: the wildcard's star would be the shell's.
fn stem(name: &str) -> Result<String, CaDirError> {
    let stem = name.replace('*', "_wildcard");
    let one_part = matches!(Path::new(&stem).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    let plain = !stem.contains('/') && !stem.chars().any(char::is_control);
    let shown = !stem.starts_with(['.', '-']);
    if one_part && plain && shown && stem.len() <= NAME_BYTES_MAX {
        Ok(stem)
    } else {
        Err(CaDirError::Name {
            came: name.chars().filter(|c| !c.is_control()).take(60).collect(),
            expected: "1 to 200 bytes without `/`, not beginning with `.` or `-`",
        })
    }
}

/// Names that files of the CA itself have.
fn is_reserved(stem: &str) -> bool {
    let issuer = stem.strip_prefix("intermediate");
    matches!(stem, "ca" | "ca-next" | "ca-old" | "ca-bundle" | "ca-bridge-new" | "ca-bridge-old" | LEDGER)
        || issuer.is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        })
}

/// A word that is none of those it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{came}` is not one of {expected}")]
pub struct BadWord {
    came: String,
    expected: &'static str,
}

impl FromStr for Layout {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Layout, BadWord> {
        let found = Layout::ALL.into_iter().find(|layout| layout.as_str() == text);
        let came = text.chars().take(40).collect();
        found.ok_or(BadWord { came, expected: "fleet, mesh, private, dev" })
    }
}

impl FromStr for Role {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Role, BadWord> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        let came = text.chars().take(40).collect();
        found.ok_or(BadWord { came, expected: "root, issuer, bridge, server, client, agent" })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(layout: Layout, role: Role, name: &str) -> String {
        let pair = layout.leaf(role, name).unwrap();
        format!("{} {}", pair.cert, pair.key)
    }

    #[test]
    fn each_layout_has_its_own_names() {
        assert_eq!(files(Layout::Fleet, Role::Server, "host-a"), "host-a/server.crt host-a/server.key");
        assert_eq!(files(Layout::Fleet, Role::Client, "ann"), "client/ann.crt client/ann.key");
        assert_eq!(files(Layout::Mesh, Role::Agent, "agent-1"), "agent-1.crt agent-1.key");
        assert_eq!(files(Layout::Private, Role::Server, "api"), "server/api.crt server/api.key");
        assert_eq!(files(Layout::Dev, Role::Agent, "dev-node"), "dev-node-cert.pem dev-node-key.pem");
        assert_eq!(Layout::Dev.root().cert, "ca-cert.pem");
        assert_eq!(Layout::Dev.list("ca-cert.pem"), "ca.crl");
        assert_eq!(files(Layout::Mesh, Role::Server, "*.x.org"), "_wildcard.x.org.crt _wildcard.x.org.key");
    }

    #[test]
    fn no_leaf_takes_the_place_of_the_ca() {
        for name in
            ["ca", "intermediate", "intermediate-2", "ca-bundle", "", ".", "..", "a/b", "/", "-rf", "a\n"]
        {
            assert!(Layout::Mesh.leaf(Role::Agent, name).is_err(), "{name}");
        }
        for name in ["ca.crt", "ca.key", "ca.ledger", "intermediate.crt", "../x"] {
            assert!(Layout::Fleet.leaf(Role::Server, name).is_err(), "{name}");
        }
        assert!(Layout::Fleet.leaf(Role::Server, "ca.example.com").is_ok());
        assert!(Layout::Fleet.leaf(Role::Client, "server").is_err());
        assert!(Layout::Mesh.leaf(Role::Agent, &"x".repeat(201)).is_err());
    }
}
