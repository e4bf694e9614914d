//! The configuration that `certus init` writes, read back before it is kept.

use std::path::Path;

use certus_pki::Explanation;
use zeroize::Zeroizing;

use super::Plan;
use crate::config::{Config, For, Told};

/// The document.
pub(super) fn write(plan: &Plan, output: &Path) -> Result<Zeroizing<String>, Explanation> {
    // Large enough to be written without growing: a text that moves leaves copies behind.
    let pems = plan.pems.as_ref().map_or(0, |pems| pems.ca.len() + pems.cert.len() + pems.key.len());
    let mut text = Zeroizing::new(String::with_capacity(2 * pems + 4096));
    text.push_str("# An agent: certus agent start --config FILE. Every key: certus config show FILE.\n");
    if pems > 0 {
        text.push_str("# Holds a private key: keep it readable for its user alone.\n");
    }
    text.push_str("agent:\n  id: \"");
    text.push_str(plan.name.as_deref().unwrap_or("auto"));
    text.push_str("\"\n\n");
    if let Some(pems) = &plan.pems {
        text.push_str("tls:\n");
        for (key, pem) in [("ca_pem", pems.ca.as_str()), ("cert_pem", &pems.cert), ("key_pem", &pems.key)] {
            text.push_str("  ");
            text.push_str(key);
            text.push_str(": |\n");
            for line in pem.lines().map(str::trim).filter(|line| !line.is_empty()) {
                text.push_str("    ");
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str("  strict: true\n  mtls: true\n\n");
    }
    text.push_str("listeners:\n  - transport: ");
    text.push_str(&plan.transport);
    text.push_str("\n    address: \"");
    text.push_str(&plan.address);
    text.push_str("\"\n");
    Config::parse(&text, output, &|_| None, Told { node: Some(For::Agent), mtls: None })?;
    Ok(text)
}
