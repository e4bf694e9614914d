//! What there is to look at: data directories, a configuration, identities, managers' addresses.
//!
//! Reads, and neither makes nor locks anything.

use std::path::{Path, PathBuf};

use certus_node::files::{self, Looked};
use certus_node::{IdentityDir, system_clock};
use certus_pki::{ClusterName, Explain, Explanation, UnixTime};

use crate::args::{Doctor, Global};
use crate::config::{Config, Told};
use crate::home::Home;

/// What there is.
pub(crate) struct Place {
    pub(super) now: UnixTime,
    pub(super) home: PathBuf,
    /// Where the daemons of this machine keep their data; they need not be there.
    pub(super) data_dirs: Vec<PathBuf>,
    pub(super) config: Option<Config>,
    /// This user's and the daemons', each with its directory.
    pub(super) identities: Vec<(PathBuf, Result<Looked, Explanation>)>,
    /// Where managers of the cluster are said to be.
    pub(super) addresses: Vec<String>,
}

/// The roles whose data stands in a user's home unless told otherwise.
const ROLES: [&str; 3] = ["manager", "worker", "agent"];

impl Place {
    /// Looks around.
    ///
    /// # Errors
    /// The configuration that was named is wrong.
    pub(crate) fn of(home: &Home, global: &Global, asked: &Doctor) -> Result<Place, Explanation> {
        let config = asked.config.as_ref().map(|file| Config::read(file, Told::default())).transpose()?;
        let told = asked.data_dir.clone().or_else(|| config.as_ref()?.data_dir.clone());
        let data_dirs = match told {
            Some(dir) => vec![dir],
            None => ROLES.map(|role| home.data_dir(role)).into_iter().filter(|dir| dir.exists()).collect(),
        };
        let dirs = data_dirs.iter().flat_map(|dir| files::identities(dir));
        let dirs: Vec<IdentityDir> = dirs.chain([home.identity_dir()]).collect();
        let identities: Vec<_> = dirs.iter().filter_map(looked).collect();
        let mut place = Place {
            now: system_clock()(),
            home: home.path().to_owned(),
            data_dirs,
            config,
            identities,
            addresses: global.manager.clone(),
        };
        if place.addresses.is_empty() {
            place.addresses = place.known_addresses(home, &dirs);
        }
        Ok(place)
    }

    /// The identity that managers are asked under: a daemon's of this machine says which cluster is meant,
    /// and this user's is taken where it is of the same, because it may ask for more.
    pub(super) fn caller(&self) -> Option<&Looked> {
        let cluster = &self.usable().next()?.identity.cluster;
        self.usable().filter(|one| one.identity.cluster == *cluster && one.key.is_some()).last()
    }

    /// An identity whose roots are known, also where its key is locked.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Looked> {
        self.identities.iter().filter_map(|(_, looked)| looked.as_ref().ok())
    }

    /// From every place where addresses are kept, each once.
    fn known_addresses(&self, home: &Home, dirs: &[IdentityDir]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let cluster = self.usable().next().map(|one| one.identity.cluster.clone());
        let known = |cluster: &ClusterName| home.known(cluster).ok().flatten();
        if let Some(known) = cluster.as_ref().and_then(known) {
            all.extend(known.managers.into_iter().chain(known.learned));
        }
        all.extend(self.config.iter().flat_map(|config| config.managers.clone()));
        all.extend(self.data_dirs.iter().flat_map(|dir| files::managers(dir)));
        all.extend(dirs.iter().flat_map(|dir| dir.managers().unwrap_or_default()));
        all.extend(self.data_dirs.iter().filter_map(|dir| own_address(dir)));
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|address| seen.insert(address.clone()));
        all
    }
}

fn looked(dir: &IdentityDir) -> Option<(PathBuf, Result<Looked, Explanation>)> {
    let looked = dir.look().map_err(|error| error.explain()).transpose()?;
    Some((dir.path().to_owned(), looked))
}

/// Where the manager of this directory listens, as this machine dials it.
fn own_address(data_dir: &Path) -> Option<String> {
    let mut address = certus_server::listen_address(data_dir)?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Some(address.to_string())
}
