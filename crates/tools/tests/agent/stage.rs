//! A workspace with a store, a user's home with a login, and an agent that is a shell script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brigade_kernel::call::{Call, CallError, Deadlines, Format, Item, Speaker};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::policy::Setting;
use brigade_kernel::time::Millis;
use brigade_tools::View;
use brigade_tools::agent::{Agent, Done, Draft, Errand};
use brigade_tools::view::Store;
use serde_json::json;

pub struct Stage {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub view: View,
    pub env: BTreeMap<String, String>,
    pub fields: Vec<(&'static str, Setting)>,
    pub deadline: Millis,
    pub format: Option<Format>,
}

pub fn list(words: &[&str]) -> Setting {
    Setting::List(words.iter().map(|word| (*word).to_owned()).collect())
}

impl Stage {
    /// An agent that is this script.
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("ws/a.txt", "a\n"), ("ws/.env", "KEY=1\n"), ("user/.agent/login.json", "login\n"), ("user/.agent/history", "private\n")]
        {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let store = Store::create(&dir.path().join("ws"), &dir.path().join("store")).unwrap();
        let view = store.view("u", &store.base()).unwrap();
        let env = BTreeMap::from([
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            ("HOME".to_owned(), dir.path().join("user").to_str().unwrap().to_owned()),
        ]);
        let fields = vec![("command", list(&["sh", "-c", script]))];
        Self { dir, store, view, env, fields, deadline: Millis(60_000), format: None }
    }

    pub fn with(mut self, field: &'static str, value: Setting) -> Self {
        self.fields.push((field, value));
        self
    }

    pub fn agent(&self) -> Agent {
        let mut draft = Draft::default();
        for (field, value) in &self.fields {
            draft.set(field, value).unwrap().unwrap();
        }
        Agent::new(draft.finish("a", None).unwrap(), self.env.clone())
    }

    pub fn call(&self) -> Call {
        Call {
            model: ModelRef::new("a/small-1").unwrap(),
            instructions: "Rules.".to_owned(),
            items: vec![Item::message(Speaker::User, "Do it.")],
            tools: Vec::new(),
            allowed_tools: Vec::new(),
            format: self.format.clone(),
            max_output_tokens: 1_000,
            effort: None,
            verbosity: None,
            cache_key: None,
            cache_retention: None,
            service: Default::default(),
            request_id: String::new(),
            deadlines: Deadlines { total: self.deadline, ..Deadlines::default() },
            pictures: Default::default(),
        }
    }

    pub fn private(&self) -> PathBuf {
        self.dir.path().join("private")
    }

    pub fn sent(&self, writable: bool) -> Done {
        let call = self.call();
        let errand = Errand { call: &call, view: self.view.clone(), writable, private_dir: self.private() };
        let done = block_on(self.agent().run(&errand));
        assert!(!self.private().exists(), "its private folder goes with it");
        done
    }

    /// Its answer's text; or its error's words.
    pub fn says(&self) -> Result<String, CallError> {
        self.sent(true).answer.map(|answer| answer.text)
    }

    /// A file of the view as it is now.
    pub fn seen(&self, name: &str) -> Option<String> {
        let tree = self.view.snapshot().unwrap();
        let patch = self.store.diff(&self.store.base(), &tree).unwrap();
        patch.text.contains(name).then_some(patch.text)
    }

    pub fn unchanged(&self) -> bool {
        self.view.snapshot().unwrap() == self.store.base()
    }

    pub fn in_workspace(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join("ws").join(name)).ok()
    }
}

pub fn schema() -> Format {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false});
    Format { name: "f".to_owned(), schema: schema.into(), strict: true }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Processes of this machine whose command line holds `mark`.
pub fn alive(mark: &str) -> usize {
    let own = std::process::id();
    let line = |entry: &fs::DirEntry| fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let pid = |entry: &fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|e| pid(e).is_some_and(|pid| pid != own)).filter(|e| String::from_utf8_lossy(&line(e)).contains(mark)).count()
}

/// Waits until as many as wanted are alive.
pub fn until(mark: &str, wanted: impl Fn(usize) -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if wanted(alive(mark)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Words that stand in no other command line.
pub fn mark(what: &str) -> String {
    format!("{what}-{}-mark", std::process::id())
}

pub fn has(program: &str) -> bool {
    std::env::split_paths(&std::env::var("PATH").unwrap()).any(|dir| Path::new(&dir).join(program).is_file())
}
