//! What `brigade doctor` and `brigade models` may ask of a provider: nothing that costs a token.

use std::time::Duration;

use brigade_kernel::call::{CallError, ErrorClass};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault;
use crate::http::Http;
use crate::loose::{Count, Text, parse};

/// Long enough for a slow link, short enough for a person who waits.
const DEADLINE: Duration = Duration::from_secs(10);

/// A model as `/models` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The name to ask for it by.
    pub id: String,
    /// `YYYY-MM-DD` from which on it is gone, where the provider says so.
    pub shutdown_date: Option<String>,
    /// Its context window, where a local server says so.
    pub window_tokens: Option<u64>,
}

/// What a probe found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Whether something answered HTTP at the address.
    pub reachable: bool,
    /// Whether the key was taken; `None` when nothing asked for one or nobody answered.
    pub key_accepted: Option<bool>,
    /// Whether `/models` is there; a proxy may lack it and work all the same.
    pub lists_models: bool,
    /// The models, when they were listed.
    pub models: Vec<ListedModel>,
    /// What went wrong, if anything did.
    pub error: Option<CallError>,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    models: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    shutdown_date: Text<'a>,
    /// vLLM's word.
    #[serde(default)]
    max_model_len: Count,
}

impl Http {
    /// The models of this provider, as `GET /models` lists them.
    ///
    /// # Errors
    /// Whatever kept the list from coming; [`ErrorClass::Garbage`] when what came is no list.
    pub async fn list_models(&self) -> Result<Vec<ListedModel>, CallError> {
        let (_, body) = self.get_models(DEADLINE).await?;
        let text = String::from_utf8_lossy(&body);
        let garbage = || fault::error(ErrorClass::Garbage, "the answer to /models is no list of models", true);
        let list: List<'_> = serde_json::from_str(&text).map_err(|_| garbage())?;
        let rows = list.data.or(list.models).and_then(parse::<Vec<Row<'_>>>).ok_or_else(garbage)?;
        let models = rows.into_iter().filter_map(|row| {
            let id = row.id.filled().or(row.name.filled())?.to_owned();
            Some(ListedModel { id, shutdown_date: row.shutdown_date.owned(), window_tokens: row.max_model_len.0 })
        });
        Ok(models.collect())
    }

    /// Finds out whether the provider is there and takes the key, without spending a token.
    pub async fn probe(&self) -> Probe {
        let has_key = self.endpoint.key.as_ref().is_some_and(|key| !key.is_empty());
        match self.list_models().await {
            Ok(models) => Probe { reachable: true, key_accepted: has_key.then_some(true), lists_models: true, models, error: None },
            Err(error) => {
                let reachable = error.status.is_some() || error.class == ErrorClass::Garbage;
                let key_accepted = match error.class {
                    ErrorClass::Refused => Some(false),
                    // Whoever answers 404 or 429 has not refused the key; whether it was looked at is unknown.
                    _ => None,
                };
                Probe { reachable, key_accepted, lists_models: false, models: Vec::new(), error: Some(error) }
            }
        }
    }
}
