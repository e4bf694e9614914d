//! One verb a file; this one only leads to them.

mod cert_info;
mod cert_list;
mod cert_revoke;
mod cert_rotate;
mod cluster_bundle;
pub(crate) mod cluster_init;
mod cluster_status;
mod config_check;
mod context;
mod node_list;
mod node_start;
mod show;
mod token_create;
mod token_list;
mod token_revoke;

use certus_pki::Explanation;

use crate::args::{CertVerb, Cli, ClusterVerb, ConfigVerb, NodeVerb, Noun, TokenVerb};
use crate::log::{self, Who};
use crate::terminal::{Exit, Terminal};

pub(crate) use context::Context;
pub(crate) use show::duration;

/// Carries out one command.
pub(crate) async fn run(cli: Cli, terminal: Terminal) -> Result<Exit, Explanation> {
    log::start(who(&cli.noun), cli.global.log);
    let context = Context::new(cli.global, terminal)?;
    match cli.noun {
        Noun::Cluster(ClusterVerb::Init(init)) => cluster_init::run(&context, init).await,
        Noun::Cluster(ClusterVerb::Status) => cluster_status::run(&context).await,
        Noun::Cluster(ClusterVerb::Bundle) => cluster_bundle::run(&context).await,
        Noun::Node(NodeVerb::Start(start)) => node_start::run(&context, start).await,
        Noun::Node(NodeVerb::List) => node_list::run(&context).await,
        Noun::Token(TokenVerb::Create(create)) => token_create::run(&context, create).await,
        Noun::Token(TokenVerb::List) => token_list::run(&context).await,
        Noun::Token(TokenVerb::Revoke { id }) => token_revoke::run(&context, id).await,
        Noun::Cert(CertVerb::List(list)) => cert_list::run(&context, list).await,
        Noun::Cert(CertVerb::Info(info)) => cert_info::run(&context, info).await,
        Noun::Cert(CertVerb::Revoke(revoke)) => cert_revoke::run(&context, revoke).await,
        Noun::Cert(CertVerb::Rotate(rotate)) => cert_rotate::run(&context, rotate).await,
        Noun::Config(ConfigVerb::Check(check)) => config_check::run(&context, &check),
        Noun::Dev(dev) => crate::dev::run(&context, dev).await,
    }
}

/// Daemons tell their story; `dev` has words of its own, and the refusals of its tour are wanted.
fn who(noun: &Noun) -> Who {
    match noun {
        Noun::Node(NodeVerb::Start(_)) => Who::Daemon,
        Noun::Cluster(ClusterVerb::Init(init)) if !init.no_start => Who::Daemon,
        Noun::Dev(dev) if dev.tour => Who::Tour,
        _ => Who::Command,
    }
}
