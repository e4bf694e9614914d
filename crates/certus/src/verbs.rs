//! One verb a file; this one only leads to them.

mod ca_add_issuer;
mod ca_bundle;
mod ca_crl;
mod ca_init;
mod ca_rotate;
mod ca_status;
mod cert_check;
mod cert_export;
mod cert_info;
mod cert_issue;
mod cert_list;
mod cert_revoke;
mod cert_rotate;
mod cert_sign;
mod cert_verify;
mod cluster_autolock;
mod cluster_backup;
mod cluster_bundle;
pub(crate) mod cluster_init;
mod cluster_operator;
mod cluster_recover;
mod cluster_restore;
mod cluster_root;
mod cluster_status;
mod config_check;
mod config_schema;
mod config_show;
mod context;
mod csr_info;
mod csr_new;
mod file_info;
mod init;
mod joining_token;
mod key_change_passphrase;
mod key_inspect;
mod key_new;
mod ledger_list;
mod ledger_revoke;
mod manager_join;
mod manager_leave;
mod manager_list;
mod manager_promote;
mod manager_remove;
mod node_list;
mod node_seen;
mod node_start;
mod node_unlock;
mod offline;
mod own_manager;
mod secret;
mod show;
mod token_create;
mod token_list;
mod token_revoke;

use certus_pki::Explanation;

use crate::args::{
    CaVerb, CertVerb, Cli, ClusterVerb, ConfigVerb, CsrVerb, KeyVerb, ManagerVerb, NodeVerb, Noun, TokenVerb,
};
use crate::log::{self, Who};
use crate::terminal::{Exit, Terminal};

pub(crate) use context::Context;
pub(crate) use show::duration;

/// Carries out one command.
pub(crate) async fn run(cli: Cli, terminal: Terminal) -> Result<Exit, Explanation> {
    let who = who(&cli.noun);
    log::start(who, cli.global.log);
    if who == log::Who::Daemon {
        crate::harden::daemon();
    }
    let context = Context::new(cli.global, terminal)?;
    let exit = match cli.noun {
        Noun::Ca(CaVerb::Init(init)) => ca_init::run(&context, *init).await,
        Noun::Ca(CaVerb::AddIssuer(add)) => ca_add_issuer::run(&context, add).await,
        Noun::Ca(CaVerb::Status(signs)) => ca_status::run(&context, signs).await,
        Noun::Ca(CaVerb::Bundle(signs)) => ca_bundle::run(&context, signs).await,
        Noun::Ca(CaVerb::Crl(crl)) => ca_crl::run(&context, crl).await,
        Noun::Ca(CaVerb::Rotate(rotate)) => ca_rotate::run(&context, rotate).await,
        Noun::Cluster(ClusterVerb::Init(init)) => cluster_init::run(&context, init).await,
        Noun::Cluster(ClusterVerb::Status) => cluster_status::run(&context).await,
        Noun::Cluster(ClusterVerb::Operator(operator)) => cluster_operator::run(&context, operator).await,
        Noun::Cluster(ClusterVerb::Autolock(verb)) => cluster_autolock::run(&context, verb).await,
        Noun::Cluster(ClusterVerb::Root(verb)) => cluster_root::run(&context, verb).await,
        Noun::Cluster(ClusterVerb::Backup(backup)) => cluster_backup::run(&context, backup).await,
        Noun::Cluster(ClusterVerb::Restore(restore)) => cluster_restore::run(&context, restore).await,
        Noun::Cluster(ClusterVerb::Recover(recover)) => cluster_recover::run(&context, recover).await,
        Noun::Cluster(ClusterVerb::Bundle) => cluster_bundle::run(&context).await,
        Noun::Node(NodeVerb::Start(start)) => node_start::run(&context, *start).await,
        Noun::Node(NodeVerb::Unlock(unlock)) => node_unlock::run(&context, unlock).await,
        Noun::Node(NodeVerb::List) => node_list::run(&context).await,
        Noun::Node(NodeVerb::Failures(seen)) => node_seen::failures(&context, seen).await,
        Noun::Node(NodeVerb::Connections(seen)) => node_seen::connections(&context, seen).await,
        Noun::Node(NodeVerb::Strict(seen)) => node_seen::strict(&context, seen).await,
        Noun::Node(NodeVerb::Shadow(shadow)) => node_seen::shadow(&context, shadow).await,
        Noun::Manager(ManagerVerb::Join(join)) => manager_join::run(&context, join).await,
        Noun::Manager(ManagerVerb::List) => manager_list::run(&context).await,
        Noun::Manager(ManagerVerb::Promote { id }) => manager_promote::run(&context, &id).await,
        Noun::Manager(ManagerVerb::Remove(remove)) => manager_remove::run(&context, remove).await,
        Noun::Manager(ManagerVerb::Leave { data_dir }) => manager_leave::run(&context, data_dir).await,
        Noun::Token(TokenVerb::Create(create)) => token_create::run(&context, create).await,
        Noun::Token(TokenVerb::List) => token_list::run(&context).await,
        Noun::Token(TokenVerb::Revoke { id }) => token_revoke::run(&context, id).await,
        Noun::Cert(CertVerb::Issue(issue)) => cert_issue::run(&context, *issue).await,
        Noun::Cert(CertVerb::Sign(sign)) => cert_sign::run(&context, *sign).await,
        Noun::Cert(CertVerb::Verify(verify)) => cert_verify::run(&context, verify).await,
        Noun::Cert(CertVerb::Export(export)) => cert_export::run(&context, export).await,
        Noun::Cert(CertVerb::Check(check)) => cert_check::run(&context, check).await,
        Noun::Cert(CertVerb::List(list)) if context.is_offline(&list.signs) => {
            ledger_list::run(&context, &list)
        }
        Noun::Cert(CertVerb::Revoke(revoke)) if context.is_offline(&revoke.signs) => {
            ledger_revoke::run(&context, &revoke)
        }
        Noun::Cert(CertVerb::List(list)) => cert_list::run(&context, list).await,
        Noun::Cert(CertVerb::Info(info)) => cert_info::run(&context, info).await,
        Noun::Cert(CertVerb::Revoke(revoke)) => cert_revoke::run(&context, revoke).await,
        Noun::Cert(CertVerb::Rotate(rotate)) => cert_rotate::run(&context, rotate).await,
        Noun::Key(KeyVerb::New(new)) => key_new::run(&context, new).await,
        Noun::Key(KeyVerb::Inspect(inspect)) => key_inspect::run(&context, inspect).await,
        Noun::Key(KeyVerb::ChangePassphrase(change)) => key_change_passphrase::run(&context, change).await,
        Noun::Csr(CsrVerb::New(new)) => csr_new::run(&context, new).await,
        Noun::Csr(CsrVerb::Info(info)) => csr_info::run(&context, info).await,
        Noun::Config(ConfigVerb::Check(check)) => config_check::run(&context, &check),
        Noun::Config(ConfigVerb::Show(document)) => config_show::run(&context, &document),
        Noun::Config(ConfigVerb::Schema) => Ok(config_schema::run(&context)),
        Noun::Init(configure) => init::run(&context, &configure),
        Noun::Dev(dev) => crate::dev::run(&context, dev).await,
    };
    let exit = exit?;
    context.remember_managers().await;
    Ok(exit)
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
