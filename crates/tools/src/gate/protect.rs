//! Which names are never written and which are never read, wherever they stand and however they are cased.
//!
//! Writing one of the first kind would let a model change what runs or what instructs the next model
//! (promises.md I21); reading one of the second would put a secret into a prompt (I20).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

/// A name as file systems that fold might see it: case, trailing dots and blanks, invisible characters.
fn folded(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if name.bytes().all(plain) && !name.ends_with('.') {
        return Cow::Borrowed(name);
    }
    let visible = name.chars().filter(|c| !crate::screen::is_format(*c));
    let upper: String = visible.flat_map(char::to_uppercase).collect();
    let lower: String = upper.chars().flat_map(char::to_lowercase).collect();
    Cow::Owned(lower.trim_end_matches(['.', ' ']).to_owned())
}

/// Whole names: version control, brigade's own, agents' instructions and settings, editors' tasks, hooks, shell start files.
const NEVER_WRITTEN: &[&str] = &[
    ".git",
    "git~1",
    ".hg",
    ".svn",
    ".jj",
    ".bzr",
    ".gitmodules",
    ".gitconfig",
    ".brigade",
    "agents.md",
    "agents.override.md",
    "claude.md",
    "claude.local.md",
    "gemini.md",
    "copilot-instructions.md",
    ".claude",
    ".codex",
    ".agents",
    ".cursor",
    ".cursorrules",
    ".windsurf",
    ".windsurfrules",
    ".clinerules",
    ".gemini",
    ".mcp.json",
    ".aider.conf.yml",
    ".vscode",
    ".idea",
    ".devcontainer",
    ".githooks",
    ".husky",
    ".pre-commit-config.yaml",
    ".pre-commit-config.yml",
    "lefthook.yml",
    ".lefthook.yml",
    ".circleci",
    ".gitlab-ci.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "jenkinsfile",
    ".buildkite",
    ".drone.yml",
    ".woodpecker.yml",
    ".woodpecker",
    "bitbucket-pipelines.yml",
    "appveyor.yml",
    ".appveyor.yml",
    ".cirrus.yml",
    ".ci",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".kshrc",
    ".cshrc",
    ".tcshrc",
    ".login",
    ".logout",
    ".inputrc",
    ".envrc",
    ".xprofile",
    ".xinitrc",
];

/// Folders within `.github` and `.gitea`/`.forgejo` that hold what runs on a server.
const FORGES: &[&str] = &[".github", ".gitea", ".forgejo"];
const FORGE_CI: &[&str] = &["workflows", "actions"];

/// Whole names of secrets and credential stores; a folder's name covers all in it.
const NEVER_READ: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".npmrc",
    ".yarnrc",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    ".dockercfg",
    ".vault-token",
    ".password-store",
    ".credentials",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "credentials.json",
    "service-account.json",
    "auth.json",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "master.key",
    ".terraformrc",
];
/// Ends of names that hold keys.
const KEY_ENDS: &[&str] = &[".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".asc.key", ".tfstate"];
/// Paths of two names.
const NEVER_READ_PAIRS: &[(&str, &str)] = &[
    (".docker", "config.json"),
    (".cargo", "credentials"),
    (".cargo", "credentials.toml"),
    (".git", "config"),
    (".git", "credentials"),
    (".config", "gcloud"),
    (".config", "gh"),
    (".gem", "credentials"),
    (".brigade", "token"),
];
/// `.env.…` files that are made to be shared.
const ENV_SAMPLES: &[&str] = &["example", "sample", "template", "dist", "defaults"];

/// Whether `path` may never be written, even when nothing is there yet.
pub fn is_protected(path: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| NEVER_WRITTEN.iter().copied().collect());
    any(path, |before, name| NAMES.contains(name) || (FORGES.contains(&before) && FORGE_CI.contains(&name)))
}

/// Whether `path` holds a secret by its name.
pub fn is_secret(path: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| NEVER_READ.iter().copied().collect());
    any(path, |before, name| {
        let last = |rest: &str| !ENV_SAMPLES.contains(&rest.rsplit('.').next().unwrap_or(rest));
        name == ".env"
            || name.strip_prefix(".env.").is_some_and(last)
            || NAMES.contains(name)
            || KEY_ENDS.iter().any(|end| name.ends_with(end))
            || NEVER_READ_PAIRS.contains(&(before, name))
    })
}

/// Whether `test` holds for any name of the path, folded, given with the name before it.
fn any(path: &str, test: impl Fn(&str, &str) -> bool) -> bool {
    let mut before = Cow::Borrowed("");
    path.split('/').any(|name| {
        let name = folded(name);
        let found = test(&before, &name);
        before = name;
        found
    })
}
