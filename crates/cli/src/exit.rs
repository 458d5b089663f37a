//! Exit codes, chosen here and nowhere else (design.md "Faces").

use std::process::ExitCode;

use brigade_kernel::call::ErrorClass;
use brigade_kernel::run::{RunStatus, RunSummary};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// Usage, configuration or plan.
    Usage = 2,
    /// Waits for a person.
    NeedsPerson = 3,
    /// The budget is reached.
    Budget = 4,
    /// Parked on quota.
    Quota = 5,
    /// The provider cannot be reached or refused the key.
    Provider = 6,
    /// Interrupted; resumable.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// How a session's end shows to the shell. `interrupted`: a signal ended it.
    pub fn of(summary: &RunSummary, interrupted: bool) -> Self {
        match summary.status {
            RunStatus::Completed => Self::Done,
            RunStatus::NeedsPerson => Self::NeedsPerson,
            RunStatus::BudgetReached => Self::Budget,
            RunStatus::QuotaParked => Self::Quota,
            RunStatus::Cancelled if interrupted => Self::Interrupted,
            RunStatus::Failed if summary.error.is_some_and(is_the_providers) => Self::Provider,
            RunStatus::Cancelled | RunStatus::Failed => Self::Failed,
        }
    }
}

fn is_the_providers(class: ErrorClass) -> bool {
    class.is_availability() || matches!(class, ErrorClass::Refused | ErrorClass::ModelNotFound)
}

/// A failure to be told on stderr, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// Lines for a person.
    pub message: String,
}

impl Failure {
    /// Usage, configuration or plan at fault: exit 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Anything else: exit 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }
}

/// An error with its sources, one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = next.source();
    }
    text
}

impl From<brigade_runtime::HomeError> for Failure {
    fn from(error: brigade_runtime::HomeError) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<brigade_runtime::StartError> for Failure {
    fn from(error: brigade_runtime::StartError) -> Self {
        use brigade_runtime::StartError as E;
        let exit = match error {
            E::Journal(_) | E::Read(_) | E::Lock(brigade_journal::LockError::Unreachable { .. }) => Exit::Failed,
            E::Lock(_) | E::Load(_) | E::Input(_) | E::Over { .. } => Exit::Usage,
        };
        Self { exit, message: chain(&error) }
    }
}

impl From<brigade_runtime::record::LoadError> for Failure {
    fn from(error: brigade_runtime::record::LoadError) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<brigade_journal::ReadError> for Failure {
    fn from(error: brigade_journal::ReadError) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<brigade_journal::AppendError> for Failure {
    fn from(error: brigade_journal::AppendError) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<brigade_runtime::commands::DeliverError> for Failure {
    fn from(error: brigade_runtime::commands::DeliverError) -> Self {
        use brigade_runtime::commands::DeliverError as E;
        let exit = match error {
            E::Load(_) | E::Lock(_) | E::Refused(_) => Exit::Usage,
            E::Read(_) | E::Append(_) => Exit::Failed,
        };
        Self { exit, message: chain(&error) }
    }
}

impl From<brigade_runtime::home::ForgetError> for Failure {
    fn from(error: brigade_runtime::home::ForgetError) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<crate::config::ConfigErrors> for Failure {
    fn from(errors: crate::config::ConfigErrors) -> Self {
        Self::usage(errors.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
