//! What the verbs over files share: which CA, what opens its key, reading and writing, `-`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use certus_cadir::{Access, CaDir, CaDirError, FILE_BYTES_MAX, Layout, Secrets, Signing};
use certus_pki::key::Passphrase;
use certus_pki::{Explain, Explanation, Serial, UnixTime, code};
use zeroize::Zeroizing;

use super::Context;
use crate::args::Signs;

/// Where CAs are looked for that no option names.
const USUAL: [&str; 2] = [".", "certs"];

/// A source of serial numbers: 128 random bits each (I5).
pub(super) fn serials() -> impl FnMut() -> Serial {
    let random = SystemRandom::new();
    move || {
        let mut bytes = [0; 16];
        random.fill(&mut bytes).expect("the system has randomness, or no key could be made either");
        Serial::from_random(bytes)
    }
}

/// Where the CA is that an option, the environment or the output directory names.
pub(super) fn place(signs: &Signs, output: Option<&Path>) -> PathBuf {
    if let Some(ca) = &signs.ca {
        return ca.clone();
    }
    let usual = output.into_iter().chain(USUAL.iter().map(Path::new));
    let found = usual.into_iter().find(|dir| has_ca(dir)).or(output);
    found.unwrap_or(Path::new(USUAL[0])).to_owned()
}

fn has_ca(dir: &Path) -> bool {
    ["ca.crt", "ca-cert.pem"].iter().any(|name| dir.join(name).exists())
}

/// The CA directory that is meant; a file in it stands for it.
pub(super) fn open(signs: &Signs, output: Option<&Path>, access: Access) -> Result<CaDir, Explanation> {
    let place = place(signs, output);
    let dir = if place.is_file() { parent(&place) } else { &place };
    CaDir::open(dir, access).map_err(|error| error.explain())
}

/// The CA directory and the CA in it that signs.
pub(super) fn open_to_sign(
    context: &Context,
    signs: &Signs,
    output: Option<&Path>,
    now: UnixTime,
) -> Result<(CaDir, Signing), Explanation> {
    let place = place(signs, output);
    let foreign =
        |dir: &CaDir| place.is_file() && place.file_name() != Some(dir.layout().root().cert.as_ref());
    with_secrets(context, signs, |secrets| {
        let dir = if place.is_file() { parent(&place) } else { &place };
        let dir = match CaDir::open(dir, Access::Change) {
            // A CA under names of its own: the ledger is begun beside it.
            Err(CaDirError::NoCa { .. }) if place.is_file() => CaDir::make(dir, Layout::Mesh)?,
            opened => opened?,
        };
        let signing = if foreign(&dir) {
            let key = secrets.ca_key.clone().unwrap_or_else(|| key_beside(&place));
            Signing::of_files(&place, &key, secrets)?
        } else {
            dir.signing(secrets, now)?
        };
        Ok((dir, signing))
    })
}

/// Does something with what opens the CA's key; asks for a passphrase where one is needed and somebody
/// is there.
pub(super) fn with_secrets<T>(
    context: &Context,
    signs: &Signs,
    mut act: impl FnMut(&Secrets) -> Result<T, CaDirError>,
) -> Result<T, Explanation> {
    let passphrase = signs.passphrase_file.as_deref().map(passphrase).transpose()?;
    let asked = passphrase.is_none() && context.terminal.can_ask();
    let mut secrets = Secrets { passphrase, ca_key: signs.ca_key.clone() };
    match act(&secrets).map_err(|error| error.explain()) {
        Err(told) if told.code == code::PASSPHRASE_NEEDED && asked => {
            secrets.passphrase = Some(ask("passphrase of the CA's key")?);
            act(&secrets).map_err(|error| error.explain())
        }
        done => done,
    }
}

fn ask(what: &str) -> Result<Passphrase, Explanation> {
    let answer = inquire::Password::new(what).without_confirmation().prompt();
    let told = |_| Explanation::new(code::USAGE, "no passphrase was given").hint("--passphrase-file FILE");
    answer.map(Passphrase::new).map_err(told)
}

/// The passphrase in a file.
pub(super) fn passphrase(path: &Path) -> Result<Passphrase, Explanation> {
    let text = Zeroizing::new(read(path)?);
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let passphrase = Passphrase::from_file_text(text);
    if passphrase.is_empty() {
        let told = Explanation::new(code::USAGE, format!("{} holds no passphrase", shown(path)));
        return Err(told.halves("a passphrase on the first line", "nothing"));
    }
    Ok(passphrase)
}

/// The content of a file, or of standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Explanation> {
    let cannot = |error: std::io::Error| {
        Explanation::new(code::FILE, format!("cannot read {}", shown(path))).fact("the system says", error)
    };
    let mut bytes = Vec::new();
    if is_standard(path) {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    } else {
        let file = std::fs::File::open(path).map_err(cannot)?;
        bytes.reserve(
            usize::try_from(file.metadata().map_err(cannot)?.len().min(FILE_BYTES_MAX)).unwrap_or(0),
        );
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let told = Explanation::new(code::OUT_OF_BOUNDS, format!("{} is too large", shown(path)));
        return Err(told.fact("expected", format!("at most {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// The same, as text.
pub(super) fn read_text(path: &Path) -> Result<String, Explanation> {
    String::from_utf8(read(path)?).map_err(|_| {
        Explanation::new(code::BAD_ENCODING, format!("{} is not text", shown(path)))
            .halves("PEM", "other bytes")
    })
}

/// Writes a file whole or not at all, or to standard output.
pub(super) fn write(
    context: &Context,
    path: &Path,
    content: &[u8],
    mode: u32,
    force: bool,
) -> Result<(), Explanation> {
    use std::os::unix::fs::PermissionsExt;
    if is_standard(path) {
        return context.terminal.bytes(content);
    }
    let cannot = |error: std::io::Error| {
        Explanation::new(code::FILE, format!("cannot write {}", shown(path))).fact("the system says", error)
    };
    let mut file = tempfile::NamedTempFile::new_in(parent(path)).map_err(cannot)?;
    file.write_all(content).map_err(cannot)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(cannot)?;
    file.as_file().sync_all().map_err(cannot)?;
    let kept = if force { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Explanation::new(code::ALREADY_EXISTS, format!("{} is there already", shown(path)))
                .hint("--force replaces it")
        }
        _ => cannot(error.error),
    })?;
    std::fs::File::open(parent(path)).and_then(|dir| dir.sync_all()).map_err(cannot)
}

/// Mode of files with keys.
pub(super) const SECRET: u32 = 0o600;
/// Mode of files without.
pub(super) const PUBLIC: u32 = 0o644;

/// Whether `-` was given.
pub(super) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// A path for people.
pub(super) fn shown(path: &Path) -> String {
    if is_standard(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// A file of the CA directory as the user would name it: relative where they named it so.
pub(super) fn as_named(path: &Path, dir: &CaDir, named: &Path) -> PathBuf {
    path.strip_prefix(dir.path()).map_or_else(|_| path.to_owned(), |inside| named.join(inside))
}

fn key_beside(cert: &Path) -> PathBuf {
    let name = cert.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_suffix("-cert.pem") {
        Some(stem) => cert.with_file_name(format!("{stem}-key.pem")),
        None => cert.with_extension("key"),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What names a certificate of the directory: the serial of a file's certificate where it is a file.
pub(super) fn object_in(object: &str, dir: &CaDir) -> Result<String, Explanation> {
    let path = Path::new(object);
    let candidates = [path.to_owned(), dir.file(object)];
    let Some(path) = candidates.iter().find(|path| path.is_file()) else { return Ok(object.to_owned()) };
    let certificates = certus_pki::Certificate::many_from_pem(&read_text(path)?);
    let certificates = certificates.map_err(|error| error.explain().fact("file", path.display()))?;
    Ok(certificates[0].serial.to_string())
}

/// The certificates in a file, PEM or DER; one at least.
pub(super) fn certificates(path: &Path) -> Result<Vec<certus_pki::Certificate>, Explanation> {
    use certus_pki::Certificate;
    let bytes = read(path)?;
    let all = match std::str::from_utf8(&bytes) {
        Ok(text) => Certificate::many_from_pem(text),
        Err(_) => Certificate::from_der(&bytes).map(|certificate| vec![certificate]),
    };
    all.map_err(|error| error.explain().fact("file", shown(path)))
}

/// The CA directory as the user names it.
pub(super) fn named_dir(signs: &Signs) -> PathBuf {
    let place = place(signs, None);
    if place.is_file() { parent(&place).to_owned() } else { place }
}
