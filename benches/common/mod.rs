//! What the benches share: an authority in memory, child processes and their CPU time, an echo service.
//!
//! Nothing here is measured itself.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod authority;
pub(crate) mod bare;
pub(crate) mod carriers;
pub(crate) mod cfssl;
pub(crate) mod child;
pub(crate) mod cluster;
pub(crate) mod direct;
pub(crate) mod filled;
pub(crate) mod foreign;
pub(crate) mod service;

use std::error::Error;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Whether the fuller run was asked for: `cargo bench … -- --long`.
pub(crate) fn long() -> bool {
    has("--long")
}

/// Whether an option was given.
pub(crate) fn has(option: &str) -> bool {
    std::env::args().any(|argument| argument == option)
}

/// The value behind an option.
pub(crate) fn value_of(option: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != option).nth(1)
}

/// The number behind an option, or what it is without.
pub(crate) fn number_of(option: &str, otherwise: usize) -> Result<usize, Failure> {
    value_of(option).map_or(Ok(otherwise), |number| Ok(number.parse()?))
}

/// The middle one of `values`.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `share` of `values` are.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The runtime of both ends of every pair: one worker, so that nobody gains by a second core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// How busy the machine is, for the head of every table.
pub(crate) fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("?").to_owned()
}
