//! Which names are never written and which are never read, wherever they stand and however they are cased.
//!
//! Writing one of the first kind would let a model change what runs or what instructs the next model
//! (promises.md I21); reading one of the second would put a secret into a prompt (I20).

/// A name as file systems that fold might see it: case, trailing dots and blanks, invisible characters.
fn folded(name: &str) -> String {
    let visible = name.chars().filter(|c| !crate::screen::is_format(*c));
    let upper: String = visible.flat_map(char::to_uppercase).collect();
    let lower: String = upper.chars().flat_map(char::to_lowercase).collect();
    lower.trim_end_matches(['.', ' ']).to_owned()
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
const KEY_ENDS: &[&str] = &[
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
    ".asc.key",
    ".tfstate",
];
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
    let parts: Vec<String> = path.split('/').map(folded).collect();
    let forge_ci = |pair: &[String]| {
        FORGES.contains(&pair[0].as_str()) && FORGE_CI.contains(&pair[1].as_str())
    };
    parts
        .iter()
        .any(|part| NEVER_WRITTEN.contains(&part.as_str()))
        || parts.windows(2).any(forge_ci)
}

/// Whether `path` holds a secret by its name.
pub fn is_secret(path: &str) -> bool {
    let parts: Vec<String> = path.split('/').map(folded).collect();
    let named = |part: &String| {
        let part = part.as_str();
        let env = part == ".env"
            || part.strip_prefix(".env.").is_some_and(|rest| {
                !ENV_SAMPLES.contains(&rest.rsplit('.').next().unwrap_or(rest))
            });
        env || NEVER_READ.contains(&part) || KEY_ENDS.iter().any(|end| part.ends_with(end))
    };
    let pair = |two: &[String]| {
        NEVER_READ_PAIRS
            .iter()
            .any(|(a, b)| two[0] == *a && two[1] == *b)
    };
    parts.iter().any(named) || parts.windows(2).any(pair)
}
