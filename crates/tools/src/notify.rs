//! Tells a person what became of a run, by the desktop or by a command of their own configuration.
//!
//! The command is theirs and runs outside the sandbox, with a few variables and no key. Texts are arguments, never a shell's;
//! what it prints is thrown away, it is ended when it takes too long, and what becomes of it changes nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::escape_for_screen;

/// How long one may take.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest text of a title or body, in characters.
const MOST_CHARS: usize = 300;
/// What of the environment it gets: where programs and the desktop are.
const VARIABLES: [&str; 9] =
    ["PATH", "HOME", "USER", "LANG", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "XDG_DATA_DIRS"];

/// Programs that show a notification, and how each takes its texts.
const DESKTOPS: [&[&str]; 2] = [
    &["notify-send", "--app-name=brigade", "--", "{title}", "{body}"],
    &[
        "osascript",
        "-e",
        "on run argv",
        "-e",
        "display notification (item 2 of argv) with title (item 1 of argv)",
        "-e",
        "end run",
        "{title}",
        "{body}",
    ],
];

/// The command that shows a notification on this desktop, if there is one on `path` (as the variable PATH has it).
pub fn desktop(path: &str) -> Option<Vec<String>> {
    let there = |words: &&&[&str]| std::env::split_paths(path).any(|dir| dir.is_absolute() && dir.join(words[0]).is_file());
    let found = DESKTOPS.iter().find(there)?;
    Some(found.iter().map(|word| (*word).to_owned()).collect())
}

/// Runs a command to its end, with `{title}` and `{body}` in its arguments filled in. Whether it ended well.
pub async fn notify(command: &[String], title: &str, body: &str) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let inert = |text: &str| escape_for_screen(text).replace(['\n', '\r'], " ").chars().take(MOST_CHARS).collect::<String>();
    let (title, body) = (inert(title), inert(body));
    // One pass, so that a text that holds a name in braces stays as it is.
    let fill = |word: &String| match word.split_once("{title}") {
        Some((before, after)) => format!("{}{title}{}", before.replace("{body}", &body), after.replace("{body}", &body)),
        None => word.replace("{body}", &body),
    };
    let mut told = Command::new(Path::new(program));
    told.args(arguments.iter().map(fill)).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    told.envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let Ok(mut child) = told.spawn() else { return false };
    matches!(tokio::time::timeout(LONGEST, child.wait()).await, Ok(Ok(status)) if status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn texts_are_data_and_a_command_that_fails_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("said");
        let script = "printf '%s|%s' \"$1\" \"$2\" > \"$3\"";
        let words = ["sh", "-c", script, "sh", "{title}", "<{body}>", file.to_str().unwrap()].map(str::to_owned);
        assert!(notify(&words, "$(id) {body}", "a\nb; rm -rf / \u{1b}[31m").await);
        let said = std::fs::read_to_string(&file).unwrap();
        assert!(said.starts_with("$(id) {body}|<a b; rm -rf / ") && !said.contains('\u{1b}'), "{said}");
        assert!(!notify(&["no-such-program-here".to_owned()], "t", "b").await);
        assert!(!notify(&["false".to_owned()], "t", "b").await);
        assert!(!notify(&[], "t", "b").await);
    }

    #[test]
    fn a_desktop_is_one_of_the_known_programs_on_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(desktop(path), None);
        std::fs::write(dir.path().join("notify-send"), "").unwrap();
        assert_eq!(desktop(path).unwrap()[0], "notify-send");
    }
}
