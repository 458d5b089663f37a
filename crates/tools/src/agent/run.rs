//! One errand: the agent's program in the sandbox, its prompt in, its lines out, its end.
//!
//! Nothing of it outlives the errand: the sandbox ends every process, the private home is removed, and what it did to
//! the view is thrown away unless it came to an answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brigade_kernel::call::{Answer, Call, CallError, Effort, ErrorClass};
use brigade_kernel::run::{Deed, ReportedWindow};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::config::{AgentConfig, Network};
use super::door::Door;
use super::find::find;
use super::lines::{Lines, Next};
use super::private::Private;
use super::prompt::prompt;
use super::quota;
use super::report::{Report, cut, trouble};
use crate::sandbox::{Limits, Primitive, Profile, Sandbox, SandboxError, Session, Spec, Status};
use crate::view::{Stage, View};

/// Standard error kept, head and tail.
const COMPLAINT_BYTES: usize = 16 << 10;
/// Where the private folder stands inside.
const INSIDE: &str = "/scratch";
/// Shorter values are not looked for in what an agent says: they are no secrets.
const SECRET_BYTES: usize = 8;

/// An agent that can be sent on errands.
#[derive(Debug, Clone)]
pub struct Agent {
    config: AgentConfig,
    env: BTreeMap<String, String>,
    launcher: Option<PathBuf>,
}

/// What it is sent to do, and where.
#[derive(Debug)]
pub struct Errand<'a> {
    /// What is asked.
    pub call: &'a Call,
    /// What it sees of the workspace.
    pub view: View,
    /// Whether it may change that.
    pub writable: bool,
    /// Made for the errand and removed after it.
    pub private_dir: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// Its answer, or why there is none.
    pub answer: Result<Answer, CallError>,
    /// What it says it did.
    pub deeds: Vec<Deed>,
    /// What its account tells of its quota.
    pub quota: Vec<ReportedWindow>,
}

/// How its lines came to an end.
enum Stopped {
    End,
    Late,
    Over,
    Flood,
}

impl Agent {
    /// An agent, and the variables of which some are passed on to it.
    pub fn new(config: AgentConfig, env: BTreeMap<String, String>) -> Self {
        Self { config, env, launcher: None }
    }

    /// Launches `program` for the sandbox instead of this binary.
    #[must_use]
    pub fn with_launcher(mut self, program: impl Into<PathBuf>) -> Self {
        self.launcher = Some(program.into());
        self
    }

    /// As it is configured.
    pub fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// Sends it on an errand. Dropping the future ends it, and the view is as it was.
    pub async fn run(&self, errand: &Errand<'_>) -> Done {
        let mut report = Report::default();
        let answer = match self.try_run(errand, &mut report).await {
            Ok(answer) | Err(answer) => answer,
        };
        self.without_secrets(Done { answer, deeds: report.deeds, quota: report.quota })
    }

    /// `Err`: it came to nothing, for a reason that is not in its lines.
    async fn try_run(&self, errand: &Errand<'_>, report: &mut Report) -> Result<Result<Answer, CallError>, Result<Answer, CallError>> {
        let unsent = |why: String| Err(CallError { sent: false, ..trouble(ErrorClass::Refused, &why) });
        let private = Private::make(errand.private_dir.clone(), self.inner())
            .map_err(|e| unsent(format!("no folder for {}: {e}", self.config.name)))?;
        self.furnish(&private, errand.call).map_err(|e| unsent(format!("the login of {} cannot be copied: {e}", self.config.name)))?;
        let (sandbox, argv) = self.program(errand.call).map_err(unsent)?;
        let mut spec = Spec {
            env: self.variables(errand),
            writable: errand.writable,
            scratch_dir: Some(private.dir().to_owned()),
            limits: Limits { output: COMPLAINT_BYTES, ..Limits::default() },
            ..Spec::new("", argv)
        };
        let view = errand.view.clone();
        let mut stage = blocking(move || view.stage()).await.map_err(|e| unsent(e.to_string()))?;
        let until = Instant::now() + errand.call.deadlines.total.into();
        loop {
            stage.set(&mut spec);
            let mut session = sandbox.open(spec.clone()).await.map_err(|e| unsent(e.to_string()))?;
            let door = self.door(&mut session).map_err(|e| unsent(format!("no way out for {}: {e}", self.config.name)))?;
            let stopped = self.talk(&mut session, errand.call, until, report).await;
            for host in door.iter().flat_map(Door::refused) {
                report.did("network", &host, Some(false));
            }
            let stderr = session.complaints();
            let ended = match session.close().await {
                Err(SandboxError::Unavailable { primitive: Primitive::Layers, why, .. }) if spec.layers.is_some() => {
                    stage = blocking(move || Stage::without_layers(stage, why)).await.map_err(|e| unsent(e.to_string()))?;
                    spec.layers = None;
                    continue;
                }
                Err(error) => return Ok(unsent(format!("{}: {error}", self.config.name))),
                Ok(ended) => ended,
            };
            if let (Some(inner), Some(sessions)) = (self.inner(), &self.config.preset.sessions) {
                let kept = private.dir().join("home").join(inner);
                let sessions = sessions.clone();
                let found = blocking(move || quota::on_record(&kept, &sessions)).await;
                report.quota = found.unwrap_or(std::mem::take(&mut report.quota));
            }
            let outcome = self.outcome(&stopped, ended, &stderr, report);
            if outcome.is_ok()
                && let Err(error) = blocking(move || stage.finish()).await
            {
                return Ok(Err(trouble(ErrorClass::BadRequest, &format!("what it did cannot be kept: {error}"))));
            }
            return Ok(outcome);
        }
    }

    /// Opens its way to its provider.
    fn door(&self, session: &mut Session) -> std::io::Result<Option<Door>> {
        match (session.take_door(), &self.config.network) {
            (Some(listener), Network::Hosts(hosts)) => Door::open(listener, hosts.clone()).map(Some),
            _ => Ok(None),
        }
    }

    /// Gives it the prompt and hears it out.
    async fn talk(&self, session: &mut Session, call: &Call, until: Instant, report: &mut Report) -> Stopped {
        let Some(stream) = session.take_stream() else { return Stopped::End };
        let (read, mut write) = stream.into_split();
        let asked = prompt(call, self.config.preset.schema_args.is_empty() || !strict(call));
        let told = async move {
            // One that does not listen is found out by its answer.
            let _ = write.write_all(asked.as_bytes()).await;
            let _ = write.shutdown().await;
            // The line stays open until its answer is in.
            write
        };
        let heard = async {
            let mut lines = Lines::new(read);
            loop {
                match timeout_at(until, lines.next()).await {
                    Err(_) => return Stopped::Late,
                    Ok(Next::End) => return Stopped::End,
                    Ok(Next::Flood) => return Stopped::Flood,
                    Ok(Next::TooLong(bytes)) => report.did("note", &format!("a line of {bytes} bytes was passed over"), None),
                    Ok(Next::Line(line)) => report.line(self.config.preset.reader, &line),
                }
                if report.is_over(self.config.policy.max_input_tokens, u64::from(self.config.policy.max_output_tokens)) && !report.finished
                {
                    return Stopped::Over;
                }
            }
        };
        tokio::pin!(told);
        tokio::pin!(heard);
        tokio::select! {
            stopped = &mut heard => stopped,
            _write = &mut told => heard.await,
        }
    }

    fn outcome(&self, stopped: &Stopped, ended: Option<Status>, stderr: &str, report: &mut Report) -> Result<Answer, CallError> {
        let name = &self.config.name;
        let cut_off = |class, why: String, report: &Report| Err(CallError { usage: report.usage, ..trouble(class, &why) });
        match stopped {
            Stopped::Late => {
                // What it used up to here is not all that it used.
                let error = trouble(ErrorClass::TimedOut, &format!("{name} was stopped: it had no answer in its time"));
                Err(error)
            }
            Stopped::Flood => {
                Err(trouble(ErrorClass::Garbage, &format!("{name} was stopped: it wrote more than 256 MiB or 500,000 lines")))
            }
            Stopped::Over => cut_off(
                ErrorClass::BadRequest,
                format!("{name} was stopped: it reports more tokens than one errand may use (max_input_tokens, max_output_tokens)"),
                report,
            ),
            Stopped::End => {
                let (well, how) = match ended {
                    Some(Status::Exit(0)) => (true, String::new()),
                    Some(Status::Exit(code)) => (false, format!("{name} ended with exit status {code}")),
                    Some(Status::Signal(signal)) => (false, format!("{name} was ended by signal {signal}")),
                    Some(Status::Killed(reason)) => (false, format!("{name} was stopped: {reason}")),
                    // It closed its output and stayed: it has said what it had to say.
                    Some(Status::TimedOut) | None => (true, String::new()),
                };
                report.outcome(well, &how, stderr, &self.config.preset.complaints)
            }
        }
    }

    /// The folder of its login beneath its private home.
    fn inner(&self) -> Option<&str> {
        self.config.preset.home.as_deref().or(self.config.home.as_ref().map(|_| ".login"))
    }

    fn furnish(&self, private: &Private, call: &Call) -> std::io::Result<()> {
        if let Some(format) = &call.format {
            private.put(Path::new("schema.json"), format.schema.text().get().as_bytes())?;
        }
        let users = self.env.get("HOME").map(PathBuf::from);
        let from = match &self.config.home {
            Some(home) => home.strip_prefix("~").map_or_else(|_| Some(home.clone()), |rest| Some(users?.join(rest))),
            // Where the user's own variable points, the login lies.
            None => self.login_dir(),
        };
        match (from, self.inner()) {
            (Some(from), Some(inner)) => private.copy(&from, inner, &self.config.preset.home_files),
            _ => Ok(()),
        }
    }

    /// Where the user's login lies, when nothing is configured.
    fn login_dir(&self) -> Option<PathBuf> {
        super::doctor::login_dir(&self.config.preset, &self.env)
    }

    fn program(&self, call: &Call) -> Result<(Sandbox, Vec<String>), String> {
        let preset = &self.config.preset;
        let path = self.env.get("PATH").map_or("", String::as_str);
        let found = find(self.config.program(), path)
            .ok_or_else(|| format!("{:?} is not on PATH: install it, or name its path in command", self.config.program()))?;
        let mut profile = Profile::from_env();
        match &self.config.network {
            Network::All => profile.network = true,
            Network::Hosts(hosts) => profile.door = !hosts.is_empty(),
        }
        profile.read_only.push(found.shown);
        profile.read_only.extend(self.config.read_only.iter().cloned());
        let sandbox = Sandbox::new(&profile).map_err(|e| e.to_string())?;
        let sandbox = match &self.launcher {
            Some(program) => sandbox.with_launcher(program),
            None => sandbox,
        };
        let Some(program) = found.program.to_str() else { return Err("the agent's path is not UTF-8".to_owned()) };
        let fill = |words: &[String], name: &str, value: &str| -> Vec<String> {
            words.iter().map(|word| word.replace(&format!("{{{name}}}"), value)).collect()
        };
        let mut argv = vec![program.to_owned()];
        argv.extend(preset.command.iter().skip(1).cloned());
        argv.extend(fill(&preset.model_args, "model", call.model.model()));
        if let Some(effort) = call.effort {
            argv.extend(fill(&preset.effort_args, "effort", word(effort)));
        }
        if let Some(format) = call.format.as_ref().filter(|_| strict(call)) {
            let words = fill(&preset.schema_args, "schema_file", &format!("{INSIDE}/schema.json"));
            argv.extend(fill(&words, "schema", format.schema.text().get()));
        }
        if let Some((url, key)) = &self.config.endpoint {
            argv.extend(fill(&preset.endpoint_args, "base_url", &quoted(url)));
            if let Some(key) = key {
                argv.extend(fill(&preset.endpoint_key_args, "env_key", &quoted(key)));
            }
        }
        argv.extend(self.config.args.iter().chain(&preset.last_args).cloned());
        Ok((sandbox, argv))
    }

    fn variables(&self, errand: &Errand<'_>) -> BTreeMap<String, String> {
        let preset = &self.config.preset;
        let call = errand.call;
        let mut env: BTreeMap<String, String> = preset.set_env.clone();
        for name in self.config.env() {
            if let Some(value) = self.env.get(name) {
                env.insert(name.to_owned(), value.clone());
            }
        }
        if let Some((url, _)) = &self.config.endpoint {
            env.extend(preset.endpoint_env.iter().map(|(name, value)| (name.clone(), value.replace("{base_url}", url))));
        }
        let home = format!("{INSIDE}/home");
        if let (Some(name), Some(inner)) = (&preset.home_env, self.inner()) {
            env.insert(name.clone(), format!("{home}/{inner}"));
        }
        for (name, value) in [("XDG_CACHE_HOME", format!("{home}/.cache")), ("npm_config_cache", format!("{home}/.npm")), ("HOME", home)] {
            env.insert(name.to_owned(), value);
        }
        env.insert("BRIGADE_AGENT_MODEL".to_owned(), call.model.model().to_owned());
        env.insert("BRIGADE_AGENT_WRITES".to_owned(), errand.writable.to_string());
        if let Some(effort) = call.effort {
            env.insert("BRIGADE_AGENT_EFFORT".to_owned(), word(effort).to_owned());
        }
        if call.format.is_some() {
            env.insert("BRIGADE_AGENT_SCHEMA".to_owned(), format!("{INSIDE}/schema.json"));
        }
        env
    }

    /// What was passed on to it is not to come back in what it says.
    fn without_secrets(&self, mut done: Done) -> Done {
        let secrets: Vec<&String> =
            self.config.env().filter_map(|name| self.env.get(name)).filter(|value| value.len() >= SECRET_BYTES).collect();
        let clean = |text: &mut String| {
            for secret in secrets.iter().filter(|secret| text.contains(secret.as_str())).collect::<Vec<_>>() {
                *text = text.replace(secret.as_str(), "(redacted)");
            }
        };
        done.deeds.iter_mut().for_each(|deed| clean(&mut deed.what));
        match &mut done.answer {
            Ok(answer) => clean(&mut answer.text),
            Err(error) => {
                clean(&mut error.message);
                error.message = cut(&error.message, 2_000);
            }
        }
        done
    }
}

/// Whether the agent may be held to the form by its own provider.
fn strict(call: &Call) -> bool {
    call.format.as_ref().is_some_and(|format| format.strict)
}

/// A basic string of TOML; JSON's escapes are its own.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.expect("work on files does not panic and is not cancelled")
}
