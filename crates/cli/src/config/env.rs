//! Settings in variables: `BRIGADE_` + the key in capitals, `__` for the dot, lists with commas.

use brigade_kernel::policy::{KEYS, Setting, distance};

use super::Env;

/// Variables with a meaning of their own, which are no settings.
const OWN: [&str; 4] = ["BRIGADE_HOME", "BRIGADE_TOKEN", "BRIGADE_DATA", "BRIGADE_LOG"];

/// What a variable turned out to be.
#[derive(Debug)]
pub(super) enum Found {
    /// A setting; whether its key is known is the gate's to say.
    Set { name: String, key: String, value: Setting },
    /// Meant as a setting, to all appearances, and none.
    Stray { name: String, message: String },
}

/// All settings among the variables, by name. A `BRIGADE_` variable that resembles no setting is left alone:
/// it may belong to a script around us.
pub(super) fn settings(env: &Env) -> Vec<Found> {
    let mut found = Vec::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix("BRIGADE_") else {
            continue;
        };
        if OWN.contains(&name.as_str()) || value.is_empty() {
            continue;
        }
        if rest.contains("__") || rest == "LADDER" {
            let key = rest.to_ascii_lowercase().replace("__", ".");
            found.push(Found::Set { name: name.clone(), key, value: Setting::from(value.as_str()) });
        } else if let Some(meant) = meant(rest) {
            found.push(Found::Stray { name: name.clone(), message: format!("is no setting; did you mean BRIGADE_{meant}?") });
        }
    }
    found
}

/// The setting whose variable differs only by underscores or a slip.
fn meant(rest: &str) -> Option<String> {
    let bare = |text: &str| text.replace('_', "");
    let names = KEYS.iter().filter(|key| !key.name.contains('*')).map(|key| key.name.to_ascii_uppercase().replace('.', "__"));
    names.map(|name| (distance(&bare(rest), &bare(&name)), name)).min().filter(|(slips, _)| *slips <= 2).map(|(_, name)| name)
}
