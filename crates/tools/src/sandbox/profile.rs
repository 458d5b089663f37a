//! What a command may see: system directories, the toolchains that PATH names, and what the
//! configuration adds; all read-only. Nothing of the user's home is visible but those toolchains.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::SandboxError;
use super::wire::{Bind, Layout};

/// Where programs and libraries come from, and what a command finds in its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Additional directories and files a command may read, at the same path.
    pub read_only: Vec<PathBuf>,
    /// Additional environment; overrides the defaults.
    pub env: BTreeMap<String, String>,
    /// Where programs are looked for; entries that do not exist are left out.
    pub path: Vec<PathBuf>,
    /// The user's home, never shown as a whole.
    pub home: Option<PathBuf>,
    pub cargo_home: Option<PathBuf>,
    pub rustup_home: Option<PathBuf>,
    /// `RUSTUP_TOOLCHAIN`, where set.
    pub rustup_toolchain: Option<String>,
    /// TCP and UDP on a loopback interface of the sandbox's own; reaches nothing outside.
    pub loopback: bool,
    /// A proxy of the engine's at the loopback interface, named to programs by the usual variables; what it lets through is
    /// whoever's who takes it from the [`super::Session`].
    pub door: bool,
    /// Lets commands connect to UNIX sockets. Only where no socket of a program outside lies in the
    /// view or in `read_only`: mounts do not stop a connect.
    pub local_sockets: bool,
    /// The host's network, its loopback and name service included. Only for programs that a person gave it to by name.
    pub network: bool,
}

const SYSTEM: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// The parts of /etc that programs need to start; none holds a secret.
const ETC: [&str; 17] = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "timezone",
    "locale.alias",
    "mime.types",
    "magic",
    "terminfo",
    "fonts",
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "protocols",
];

impl Profile {
    /// From this process's PATH, HOME, CARGO_HOME, RUSTUP_HOME and RUSTUP_TOOLCHAIN.
    pub fn from_env() -> Self {
        let dir = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = dir("HOME");
        let under_home = |name: &str| home.as_ref().map(|home| home.join(name));
        Self {
            path: env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
            cargo_home: dir("CARGO_HOME").or_else(|| under_home(".cargo")),
            rustup_home: dir("RUSTUP_HOME").or_else(|| under_home(".rustup")),
            rustup_toolchain: env::var("RUSTUP_TOOLCHAIN").ok(),
            home,
            ..Self::default()
        }
    }

    pub(super) fn layout(&self) -> Result<Layout, SandboxError> {
        let mut plan = Plan { home: self.home.clone(), ..Plan::default() };
        plan.system();
        for path in &self.read_only {
            if !path.is_absolute() || plan.too_much(path) {
                return Err(SandboxError::Spec {
                    field: "read_only",
                    value: path.display().to_string(),
                    remedy: "name an absolute directory below your home or the root, not these themselves",
                });
            }
            if !plan.bind(path) {
                return Err(SandboxError::Spec {
                    field: "read_only",
                    value: path.display().to_string(),
                    remedy: "name a directory or file that exists and is readable",
                });
            }
        }
        let mut path = Vec::new();
        for entry in &self.path {
            if plan.toolchain(entry) && !path.contains(entry) {
                path.push(entry.clone());
            }
        }
        for entry in ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from) {
            if !path.contains(&entry) {
                path.push(entry);
            }
        }
        let mut env = defaults();
        if self.network {
            for name in OFFLINE {
                env.remove(name.0);
            }
            for file in ["/etc/resolv.conf", "/etc/hosts"] {
                plan.bind(Path::new(file));
            }
        }
        if self.door {
            let (host, port) = super::wire::DOOR;
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
                env.insert(name.to_owned(), format!("http://{host}:{port}"));
            }
        }
        if let Some(cargo) = &self.cargo_home
            && plan.cargo(cargo)
        {
            env.insert("CARGO_HOME".to_owned(), text(cargo)?);
        }
        if let Some(rustup) = &self.rustup_home
            && !plan.too_much(rustup)
            && plan.bind(rustup)
        {
            env.insert("RUSTUP_HOME".to_owned(), text(rustup)?);
            if let Some(toolchain) = &self.rustup_toolchain {
                env.insert("RUSTUP_TOOLCHAIN".to_owned(), toolchain.clone());
            }
        }
        let path: Vec<String> = path.iter().map(|entry| text(entry)).collect::<Result<_, _>>()?;
        env.insert("PATH".to_owned(), path.join(":"));
        for (name, value) in &self.env {
            check_variable(name, value)?;
            env.insert(name.clone(), value.clone());
        }
        Ok(Layout { binds: plan.binds(), links: plan.links, env: env.into_iter().collect() })
    }
}

pub(super) fn check_variable(name: &str, value: &str) -> Result<(), SandboxError> {
    let bad = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
    if bad {
        return Err(SandboxError::Spec {
            field: "env",
            value: name.to_owned(),
            remedy: "a name has no '=' and is not empty, and neither name nor value holds NUL",
        });
    }
    Ok(())
}

pub(super) fn text(path: &Path) -> Result<String, SandboxError> {
    path.to_str().map(str::to_owned).ok_or_else(|| SandboxError::Spec {
        field: "path",
        value: path.display().to_string(),
        remedy: "rename it: the sandbox takes paths in UTF-8 only",
    })
}

/// No network: say so at once instead of trying.
const OFFLINE: [(&str, &str); 4] =
    [("CARGO_NET_OFFLINE", "true"), ("PIP_NO_INDEX", "1"), ("npm_config_offline", "true"), ("GOPROXY", "off")];

/// An allow-list: nothing of the engine's own environment is passed on.
fn defaults() -> BTreeMap<String, String> {
    let pairs = [
        ("HOME", "/tmp/home"),
        ("TMPDIR", "/tmp"),
        ("USER", "brigade"),
        ("LOGNAME", "brigade"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("NO_COLOR", "1"),
        ("XDG_CACHE_HOME", "/tmp/home/.cache"),
        ("RUSTUP_AUTO_INSTALL", "0"),
        ("npm_config_cache", "/tmp/home/.npm"),
        // What building leaves behind does not belong in the patch.
        ("CARGO_TARGET_DIR", "/tmp/target"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        // Keeps both streams in the order in which they were written.
        ("PYTHONUNBUFFERED", "1"),
        // Git runs no program that the repository names, and reads no one's settings.
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_PAGER", "cat"),
        ("GIT_CONFIG_COUNT", "3"),
        ("GIT_CONFIG_KEY_0", "core.fsmonitor"),
        ("GIT_CONFIG_VALUE_0", "false"),
        ("GIT_CONFIG_KEY_1", "core.hooksPath"),
        ("GIT_CONFIG_VALUE_1", "/dev/null"),
        ("GIT_CONFIG_KEY_2", "safe.directory"),
        ("GIT_CONFIG_VALUE_2", "*"),
    ];
    pairs.into_iter().chain(OFFLINE).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[derive(Default)]
struct Plan {
    home: Option<PathBuf>,
    /// Target → source, so that nested ones sort after their parent.
    found: BTreeMap<PathBuf, PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Plan {
    fn system(&mut self) {
        for dir in SYSTEM.map(Path::new) {
            match fs::symlink_metadata(dir) {
                Ok(found) if found.is_symlink() => {
                    if let Ok(to) = fs::read_link(dir) {
                        self.links.push((dir.to_owned(), to));
                    }
                }
                Ok(found) if found.is_dir() => drop(self.bind(dir)),
                _ => {}
            }
        }
        self.bind(Path::new("/usr"));
        self.bind(Path::new("/nix/store"));
        let etc = Path::new("/etc");
        for name in ETC {
            self.bind(&etc.join(name));
        }
        // Debian's Python reads its site hooks from there.
        for entry in fs::read_dir(etc).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("python3")) {
                self.bind(&entry.path());
            }
        }
    }

    /// The root, a home, or something that contains the home: more than anybody means to show.
    fn too_much(&self, path: &Path) -> bool {
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let shallow = path.components().count() < 3;
        !plain || shallow || self.home.as_ref().is_some_and(|home| home.starts_with(path))
    }

    fn bind(&mut self, path: &Path) -> bool {
        if self.covered(path) {
            return path.exists();
        }
        let Ok(source) = fs::canonicalize(path) else {
            return false;
        };
        // The launcher must be able to read it too; it is the same user.
        let readable = fs::metadata(&source).is_ok_and(|found| {
            if found.is_dir() { fs::read_dir(&source).is_ok() } else { found.is_file() && fs::File::open(&source).is_ok() }
        });
        if readable {
            self.found.insert(path.to_owned(), source);
        }
        readable
    }

    fn covered(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.found.contains_key(above)) || self.links.iter().any(|(link, _)| path.starts_with(link))
    }

    /// A PATH entry and what its programs need beside it.
    fn toolchain(&mut self, entry: &Path) -> bool {
        if !entry.is_absolute() || !entry.is_dir() {
            return false;
        }
        if self.covered(entry) {
            return true;
        }
        if self.too_much(entry) {
            return false;
        }
        let Some(parent) = entry.parent() else {
            return false;
        };
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let at_home = self.home.as_ref().is_some_and(|home| entry.starts_with(home));
        match name {
            // Shims (pyenv, asdf) start programs from beside them.
            "shims" if !self.too_much(parent) => self.bind(parent),
            "bin" if !at_home && !self.too_much(parent) => self.bind(parent),
            "bin" => {
                for beside in ["lib", "lib64", "libexec", "include"] {
                    let beside = parent.join(beside);
                    if beside.is_dir() && !self.too_much(&beside) {
                        self.bind(&beside);
                    }
                }
                self.bind(entry)
            }
            _ => self.bind(entry),
        }
    }

    /// Registry and programs, not the credentials beside them.
    fn cargo(&mut self, home: &Path) -> bool {
        if self.too_much(home) || !home.is_dir() {
            return false;
        }
        for part in ["bin", "registry", "git"] {
            self.bind(&home.join(part));
        }
        for name in ["config.toml", "config"] {
            let file = home.join(name);
            let secret = fs::read_to_string(&file).is_ok_and(|text| {
                let text = text.to_lowercase();
                ["token", "secret", "password", "credential", "@"].iter().any(|word| text.contains(word))
            });
            if file.is_file() && !secret {
                self.bind(&file);
            }
        }
        true
    }

    /// Without those that stand inside another one already.
    fn binds(&self) -> Vec<Bind> {
        self.found
            .iter()
            .filter(|(target, source)| {
                !target.ancestors().skip(1).any(|above| {
                    self.found.get(above).is_some_and(|from| target.strip_prefix(above).is_ok_and(|rest| from.join(rest) == **source))
                })
            })
            .map(|(target, source)| Bind { source: source.clone(), target: target.clone(), file: source.is_file() })
            .collect()
    }
}
