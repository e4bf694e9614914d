//! `$CERTUS_HOME`: this user's identity and the clusters they know.
//!
//! `certs/cli` holds key, certificate and trust as a node's directory does; `clusters.json` the names
//! and addresses. Nothing secret stands in the latter.

use std::io::Write;
use std::path::{Path, PathBuf};

use certus_node::{Fresh, IdentityDir, Stored};
use certus_pki::{ClusterName, Explain, Explanation, NodeId, Sha256, UnixTime, code};
use serde::{Deserialize, Serialize};

/// A user's own directory.
#[derive(Clone)]
pub(crate) struct Home {
    dir: PathBuf,
}

/// A cluster that was founded or entered from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// Its name.
    pub(crate) name: String,
    /// Managers to dial, HOST:PORT.
    pub(crate) managers: Vec<String>,
    /// SHA-256 of its root's key: what tokens pin.
    pub(crate) root: String,
    /// What the managers said of their addresses; tried before `managers`, which stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) learned: Vec<String>,
    /// When they said so, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) learned_at: Option<i64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clusters {
    clusters: Vec<Known>,
}

impl Home {
    /// The directory that was asked for, else `~/.certus`.
    pub(crate) fn at(asked: Option<&Path>) -> Result<Home, Explanation> {
        if let Some(dir) = asked {
            return Ok(Home { dir: dir.to_owned() });
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or_else(|| {
            Explanation::new(code::USAGE, "there is no home directory: HOME is not set")
                .hint("--home DIR, or CERTUS_HOME=DIR")
        })?;
        Ok(Home { dir: Path::new(&home).join(".certus") })
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Where a daemon of this role keeps its data unless told otherwise.
    pub(crate) fn data_dir(&self, role: &str) -> PathBuf {
        self.dir.join(role)
    }

    /// This user's identity, where there is one.
    pub(crate) fn identity(&self) -> Result<Option<Stored>, Explanation> {
        self.identity_dir().load().map_err(|error| error.explain())
    }

    /// This user's identity, which must be there.
    pub(crate) fn require_identity(&self) -> Result<Stored, Explanation> {
        self.identity()?.ok_or_else(|| {
            Explanation::new(code::NO_IDENTITY_HERE, "this user has no identity for a cluster")
                .halves(format!("an identity in {}", self.identity_dir().path().display()), "none")
                .hint("certus cluster init founds a cluster and makes one; or --home DIR where it was made")
        })
    }

    /// The files of this user's identity.
    pub(crate) fn identity_dir(&self) -> IdentityDir {
        IdentityDir::at(self.dir.join("certs").join("cli"))
    }

    /// Refuses to go on where an identity would be replaced, and says what is there.
    pub(crate) fn refuse_replacing(&self) -> Result<(), Explanation> {
        if !self.identity_dir().is_enrolled() {
            return Ok(());
        }
        let told = Explanation::new(
            code::ALREADY_EXISTS,
            "this user has an identity already, and the new cluster's would take its place",
        )
        .fact("directory", self.identity_dir().path().display());
        let told = match self.identity() {
            Ok(Some(stored)) => {
                told.fact("identity", &stored.identity).fact("valid until", stored.leaf.not_after)
            }
            Ok(None) | Err(_) => told,
        };
        Err(told.hint("--home DIR keeps both; --force replaces it"))
    }

    /// Keeps a founded cluster: the operator's identity, and where its manager is.
    pub(crate) fn keep(&self, fresh: &Fresh<'_>, known: Known) -> Result<(), Explanation> {
        self.identity_dir().store(fresh).map_err(|error| error.explain())?;
        self.remember(known)
    }

    /// Keeps where a cluster's managers are.
    pub(crate) fn remember(&self, known: Known) -> Result<(), Explanation> {
        let mut all = self.clusters()?;
        all.clusters.retain(|other| other.name != known.name);
        all.clusters.push(known);
        self.write(&all).map_err(|error| self.cannot("write", &error))
    }

    /// Keeps what a cluster's managers said of their addresses; nothing where the cluster is not known.
    pub(crate) fn learn(
        &self,
        cluster: &ClusterName,
        learned: Vec<String>,
        at: UnixTime,
    ) -> Result<(), Explanation> {
        let Some(known) = self.known(cluster)?.filter(|known| known.learned != learned) else {
            return Ok(());
        };
        self.remember(Known { learned, learned_at: Some(at.secs()), ..known })
    }

    /// What is known of a cluster.
    pub(crate) fn known(&self, cluster: &ClusterName) -> Result<Option<Known>, Explanation> {
        Ok(self.clusters()?.clusters.into_iter().find(|known| known.name == cluster.as_str()))
    }

    fn clusters(&self) -> Result<Clusters, Explanation> {
        let text = match std::fs::read_to_string(self.clusters_file()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Clusters::default()),
            Err(error) => return Err(self.cannot("read", &error)),
        };
        serde_json::from_str(&text).map_err(|error| self.cannot("read", &error.into()))
    }

    /// Whole or not at all: written beside its place, then renamed.
    fn write(&self, all: &Clusters) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(serde_json::to_string_pretty(all)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(self.clusters_file())?;
        Ok(())
    }

    fn clusters_file(&self) -> PathBuf {
        self.dir.join("clusters.json")
    }

    fn cannot(&self, verb: &str, error: &std::io::Error) -> Explanation {
        Explanation::new(code::FILE, format!("cannot {verb} {}", self.clusters_file().display()))
            .fact("the system says", error)
    }
}

impl Known {
    /// A cluster with the manager that was founded just now.
    pub(crate) fn new(name: &ClusterName, manager: String, root: Sha256) -> Known {
        Known {
            name: name.to_string(),
            managers: vec![manager],
            root: root.to_string(),
            learned: Vec::new(),
            learned_at: None,
        }
    }
}

/// `cli-USER-MACHINE`: who this user is in a cluster.
pub(crate) fn operator_id() -> NodeId {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|u| !u.is_empty()));
    let user = user.unwrap_or_else(|| account(rustix::process::getuid().as_raw()));
    as_id(&format!("cli-{user}-{}", host_name()))
}

/// An account's name, where the environment does not say it, as in a container or a unit.
fn account(uid: u32) -> String {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid{uid}"))
}

/// The machine's name as an id.
pub(crate) fn host_id() -> NodeId {
    as_id(&host_name())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The nearest id to a text: other characters become hyphens, and it is cut to length.
fn as_id(text: &str) -> NodeId {
    let good = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let id: String = text.chars().map(good).take(NodeId::CHARS_MAX).collect();
    let id = id.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    id.parse().unwrap_or_else(|_| "node".parse().expect("an id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_an_id() {
        assert_eq!(as_id("cli-ann@corp-laptop.local").as_str(), "cli-ann-corp-laptop.local");
        assert_eq!(as_id("-ä-").as_str(), "node");
        assert_eq!(as_id(&"x".repeat(99)).as_str().len(), NodeId::CHARS_MAX);
        assert!(operator_id().as_str().starts_with("cli-"));
    }

    #[test]
    fn clusters_are_remembered_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(Some(dir.path())).unwrap();
        let prod: ClusterName = "prod".parse().unwrap();
        assert_eq!(home.known(&prod).unwrap(), None);
        for manager in ["a:1", "b:2"] {
            home.remember(Known::new(&prod, manager.into(), Sha256::of(b"root"))).unwrap();
        }
        assert_eq!(home.known(&prod).unwrap().unwrap().managers, ["b:2"]);
        assert_eq!(home.clusters().unwrap().clusters.len(), 1);
        // What was learned stands beside it; an older version's file has none.
        assert!(!std::fs::read_to_string(home.clusters_file()).unwrap().contains("learned"));
        let at = UnixTime::from_secs(7);
        home.learn(&prod, vec!["c:3".into()], at).unwrap();
        let known = home.known(&prod).unwrap().unwrap();
        assert_eq!(
            (known.managers, known.learned, known.learned_at),
            (vec!["b:2".into()], vec!["c:3".into()], Some(7))
        );
        home.learn(&"lab".parse().unwrap(), vec!["x:1".into()], at).unwrap();
        assert_eq!(home.clusters().unwrap().clusters.len(), 1);
        assert_eq!(home.require_identity().err().unwrap().code, code::NO_IDENTITY_HERE);
    }
}
