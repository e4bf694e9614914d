//! Certificates from files: `certus tls init` beside Python's `cryptography` and a loop over `openssl`.
//!
//! Every one is a process of its own, or many, and what counts is the user CPU time of the whole process,
//! its start and the CA included. Rounds are interleaved. `--long` also fills one CA directory with 100,000
//! certificates and looks through it with `cert check`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

/// Certificates of one process.
const MANY: usize = 1000;
/// Certificates of one round of the openssl loop: two processes each.
const OPENSSL: usize = 50;
/// Rounds, whose times are added up: the kernel counts user time in hundredths of a second.
const ROUNDS: usize = 10;
/// Certificates in one directory.
const LONG: usize = 100_000;
/// Runs of `cert check`, whose fastest is reported.
const CHECKS: usize = 5;

const PYTHON: &str = include_str!("offline.py");

fn main() -> Result<(), Failure> {
    let bench = Bench::new()?;
    println!("certus    {}", bench.certus.display());
    println!("files in  {}", bench.dir.path().display());
    bench.compare()?;
    if std::env::args().any(|argument| argument == "--long") {
        bench.long()?;
    }
    Ok(())
}

struct Bench {
    certus: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Result<Bench, Failure> {
        let own = std::env::current_exe()?;
        let built = own.ancestors().nth(2).map(|dir| dir.join("certus"));
        let certus = std::env::var_os("CERTUS_BIN").map(PathBuf::from).or(built).unwrap_or_default();
        if !certus.is_file() {
            return Err("there is no certus to measure: cargo build --release".into());
        }
        // In memory unless told otherwise: kernels that account by the tick guess what was user time, and
        // guess badly for a process that waits for a disk.
        let memory = PathBuf::from("/dev/shm");
        let place = std::env::var_os("CERTUS_BENCH_DIR").map(PathBuf::from);
        let place = place.or(memory.is_dir().then_some(memory)).unwrap_or_else(std::env::temp_dir);
        Ok(Bench { certus, dir: tempfile::tempdir_in(place)? })
    }

    fn compare(&self) -> Result<(), Failure> {
        let python = self.python();
        if let Err(why) = &python {
            println!("python    left out: {why}");
        }
        let openssl = self.openssl();
        if let Err(why) = &openssl {
            println!("openssl   left out: {why}");
        }
        let (mut ours, mut start) = (0.0, 0.0);
        let (mut theirs, mut their_start, mut looped) = (0.0, 0.0, 0.0);
        println!("\nuser ms per certificate");
        println!("round      certus   python   openssl   python/certus   openssl/certus");
        for round in 1..=ROUNDS {
            let own = user(|| self.tls_init(MANY))?;
            start += user(|| self.tls_init(0))?;
            let other = measured(&python, || self.run_python(MANY))?;
            their_start += measured(&python, || self.run_python(0))?;
            let each = measured(&openssl, || self.run_openssl())?;
            print_row(&round.to_string(), own, other, each);
            ours += own;
            theirs += other;
            looped += each;
        }
        let rounds = f64::from(u32::try_from(ROUNDS)?);
        print_row("mean", ours / rounds, theirs / rounds, looped / rounds);
        println!(
            "\nstart and CA alone, user ms: certus {:.1}, python {:.1}",
            start / rounds,
            their_start / rounds
        );
        if python.is_ok() {
            let ratio = (theirs - their_start) / (ours - start);
            println!("python/certus without them: {ratio:.2}x");
        }
        Ok(())
    }

    /// A new fleet in one process.
    fn tls_init(&self, count: usize) -> Result<(), Failure> {
        let (out, hosts) = (self.path("certus"), self.path("hosts.yaml"));
        remove(&out)?;
        write_hosts(&hosts, 0..count)?;
        let mut command = self.certus();
        command.args(["tls", "init", "--key-type", "p256", "--output-dir"]).arg(&out);
        if count > 0 {
            command.arg("--hosts-file").arg(&hosts);
        }
        run(&mut command)
    }

    fn certus(&self) -> Command {
        let mut command = Command::new(&self.certus);
        command.env("CERTUS_HOME", self.path("home"));
        command
    }

    fn python(&self) -> Result<(), Failure> {
        run(Command::new("python3").args(["-c", "import cryptography"]))
            .map_err(|_| "python3 has no cryptography here")?;
        Ok(fs::write(self.path("offline.py"), PYTHON)?)
    }

    fn run_python(&self, count: usize) -> Result<(), Failure> {
        let (out, hosts) = (self.path("python"), self.path("hosts.txt"));
        remove(&out)?;
        let lines = (0..count).map(|number| host(number) + "\n");
        fs::write(&hosts, lines.collect::<String>())?;
        run(Command::new("python3").arg(self.path("offline.py")).args([&out, &hosts]))
    }

    /// The CA of the openssl loop: what it costs does not count.
    fn openssl(&self) -> Result<(), Failure> {
        let dir = self.path("openssl");
        fs::create_dir(&dir)?;
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command.args(["-subj", "/CN=Bench CA", "-days", "3650", "-keyout", "ca.key", "-out", "ca.crt"]);
        run(command.current_dir(&dir)).map_err(|_| "openssl made no CA here".into())
    }

    /// Key and request, then the certificate: two processes for each.
    fn run_openssl(&self) -> Result<(), Failure> {
        let dir = self.path("openssl");
        for number in 0..OPENSSL {
            let host = host(number);
            let (name, address) = host.split_once('=').ok_or("a host without an address")?;
            fs::write(
                dir.join("extensions"),
                format!(
                    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                     extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{name},IP:{address}\n\
                     subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
                ),
            )?;
            let (key, cert) = (format!("{name}.key"), format!("{name}.crt"));
            let mut request = Command::new("openssl");
            request.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
            request.args(["-subj", &format!("/CN={name}"), "-keyout", &key, "-out", "csr"]);
            run(request.current_dir(&dir))?;
            let mut sign = Command::new("openssl");
            sign.args(["x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "365"]);
            sign.args(["-extfile", "extensions", "-out", &cert]);
            run(sign.current_dir(&dir))?;
        }
        Ok(())
    }

    /// One directory, filled a thousand at a time.
    fn long(&self) -> Result<(), Failure> {
        /// Batches whose mean is printed together.
        const TOGETHER: usize = 10;
        self.tls_init(MANY)?;
        let (out, hosts) = (self.path("certus"), self.path("hosts.yaml"));
        println!("\nadded to one CA directory, {MANY} by each process");
        println!("certificates there   user ms per certificate");
        let mut costs = Vec::new();
        for first in (MANY..LONG).step_by(MANY * TOGETHER) {
            let last = (first + MANY * TOGETHER).min(LONG);
            let cost = children_user(|| {
                for begin in (first..last).step_by(MANY) {
                    write_hosts(&hosts, begin..begin + MANY)?;
                    let mut command = self.certus();
                    command.args(["tls", "init", "--add-hosts", "--key-type", "p256", "--output-dir"]);
                    run(command.arg(&out).arg("--hosts-file").arg(&hosts))?;
                }
                Ok(())
            })?;
            let each = millis(cost) / f64::from(u32::try_from(last - first)?);
            println!("{last:>18} {each:>25.3}");
            costs.push(each);
        }
        if let [first, .., last] = costs[..] {
            println!("last over first: {:.2}x", last / first);
        }
        let mut walls = Vec::new();
        let cost = children_user(|| {
            for _ in 0..CHECKS {
                let begin = Instant::now();
                run(self.certus().args(["cert", "check"]).arg(&out))?;
                walls.push(begin.elapsed());
            }
            Ok(())
        })?;
        let fastest = walls.into_iter().min().unwrap_or_default();
        let each = cost / u32::try_from(CHECKS)?;
        println!(
            "cert check over {LONG}: {:.2} s, of which user {:.2} s",
            fastest.as_secs_f64(),
            each.as_secs_f64()
        );
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// User milliseconds of the processes that `act` starts and waits for.
fn user(act: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    Ok(millis(children_user(act)?))
}

/// The same of something that may not be there: then nothing.
fn measured(there: &Result<(), Failure>, act: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    if there.is_ok() { user(act) } else { Ok(f64::NAN) }
}

/// From milliseconds of a whole process, or of the loop's processes, to those of one certificate.
fn print_row(name: &str, ours: f64, python: f64, openssl: f64) {
    let each = |millis: f64, count: usize| millis / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let (ours, python, openssl) = (each(ours, MANY), each(python, MANY), each(openssl, OPENSSL));
    let (over, loop_over) = (python / ours, openssl / ours);
    println!("{name:<8} {ours:>8.3} {python:>8.3} {openssl:>9.2} {over:>14.2}x {loop_over:>15.1}x");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The user CPU time of the processes that `act` starts and waits for.
fn children_user(act: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let before = waited_for()?;
    act()?;
    Ok(waited_for()?.saturating_sub(before))
}

/// The user CPU time of all children so far that were waited for: `cutime` of proc(5), the same as
/// getrusage's `RUSAGE_CHILDREN`, in hundredths of a second.
fn waited_for() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, columns) = stat.rsplit_once(") ").ok_or("/proc/self/stat has another form")?;
    let ticks: u64 = columns.split(' ').nth(13).ok_or("/proc/self/stat is short")?.parse()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// A name and an address, as `certus` takes them.
fn host(number: usize) -> String {
    format!("host-{number:06}=10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255)
}

fn write_hosts(path: &Path, numbers: std::ops::Range<usize>) -> Result<(), Failure> {
    let mut text = "hosts:\n".to_owned();
    for number in numbers {
        writeln!(text, "  - {}", host(number))?;
    }
    Ok(fs::write(path, text)?)
}

fn remove(dir: &Path) -> Result<(), Failure> {
    if dir.exists() { Ok(fs::remove_dir_all(dir)?) } else { Ok(()) }
}
