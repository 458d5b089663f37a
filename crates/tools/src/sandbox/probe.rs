//! Which layers of the sandbox work here, found by building them all once around nothing.

use super::{Primitive, Sandbox, SandboxError};

/// Whether a layer works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Works,
    Missing {
        why: String,
        remedy: &'static str,
    },
    /// A layer that it stands on is missing.
    Untried,
}

/// What [`Sandbox::probe`] found, in the order in which the layers are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub primitives: Vec<(Primitive, State)>,
    /// `full` or `partial`: how much of what brigade asks of Landlock this kernel enforces.
    pub landlock: Option<String>,
    /// Set where there is no sandbox at all on this system.
    pub not_supported: bool,
}

impl Probe {
    /// Whether commands can run.
    pub fn usable(&self) -> bool {
        !self.not_supported && self.primitives.iter().all(|(_, state)| *state == State::Works)
    }

    /// The error every command would end with.
    pub fn fault(&self) -> Option<SandboxError> {
        if self.not_supported {
            return Some(SandboxError::NotSupported);
        }
        self.primitives.iter().find_map(|(primitive, state)| match state {
            State::Missing { why, remedy } => Some(SandboxError::Unavailable { primitive: *primitive, why: why.clone(), remedy }),
            State::Works | State::Untried => None,
        })
    }

    #[cfg(target_os = "linux")]
    fn up_to(fault: Option<(Primitive, String)>, landlock: Option<String>) -> Self {
        let mut broken = false;
        let primitives = Primitive::ALL.map(|primitive| {
            let state = match &fault {
                Some((missing, why)) if *missing == primitive => {
                    broken = true;
                    State::Missing { why: why.clone(), remedy: primitive.remedy() }
                }
                _ if broken => State::Untried,
                _ => State::Works,
            };
            (primitive, state)
        });
        Self { primitives: primitives.into(), landlock, not_supported: false }
    }
}

impl Sandbox {
    /// Builds every layer around nothing and says what stands. A few milliseconds; done once per
    /// process, and never at start: [`Sandbox::run`] finds out by itself.
    ///
    /// # Errors
    /// What is no layer's fault: no process to be had, no directory for the empty view.
    pub async fn probe(&self) -> Result<Probe, SandboxError> {
        #[cfg(target_os = "linux")]
        {
            static FOUND: tokio::sync::OnceCell<Probe> = tokio::sync::OnceCell::const_new();
            let probe = FOUND
                .get_or_try_init(|| async {
                    match super::run::probe(self).await {
                        Ok(landlock) => Ok(Probe::up_to(None, Some(landlock))),
                        Err(SandboxError::Unavailable { primitive, why, .. }) => Ok(Probe::up_to(Some((primitive, why)), None)),
                        Err(other) => Err(other),
                    }
                })
                .await?;
            Ok(probe.clone())
        }
        #[cfg(not(target_os = "linux"))]
        Ok(Probe { primitives: Vec::new(), landlock: None, not_supported: true })
    }

    /// Whether the views of a store in `home` can be mounted for a command, or why it works on a copy instead.
    ///
    /// # Errors
    /// The reason, as [`SandboxError::Unavailable`] where there is a remedy.
    pub async fn probe_layers(&self, home: &std::path::Path) -> Result<(), SandboxError> {
        #[cfg(target_os = "linux")]
        return super::run::probe_layers(self, &home.join(format!(".layers-{}", std::process::id()))).await;
        #[cfg(not(target_os = "linux"))]
        {
            let _ = home;
            Err(SandboxError::NotSupported)
        }
    }
}
