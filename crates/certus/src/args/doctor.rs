//! `certus doctor`.

use std::path::PathBuf;

use clap::Args;

/// `certus doctor`.
#[derive(Args)]
#[command(
    after_help = "Looks at what there is: this user's identity, the data directories of this machine, the managers.
What there is not is skipped, so that it runs on a manager's machine, a worker's, or a laptop. It
changes nothing. Exits with 3 where a check failed.

Examples:
  certus doctor
  certus doctor --data-dir /var/lib/certus --config /etc/certus/certus.yaml
  certus doctor --strict --json
      for a timer: exits with 3 for warnings too"
)]
pub(crate) struct Doctor {
    /// A daemon's data directory [default: those in $CERTUS_HOME that are there]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration that the daemon is started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Exit with 3 for warnings too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Room that the data directory's disk should have: 500M, 10G [default: by what is there]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) min_free: Option<u64>,
}

/// Bytes, with a unit of 1024 each.
fn size(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(*unit)?, *bits)));
    let (digits, bits) = unit.unwrap_or((text, 0));
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << bits));
    bytes.ok_or_else(|| "expected a size, as 500M or 10G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("512"), size("500M"), size("2G")), (Ok(512), Ok(500 << 20), Ok(2 << 30)));
        assert!(["", "G", "1X", "-1M", "99999999999T"].iter().all(|text| size(text).is_err()));
    }
}
