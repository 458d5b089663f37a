//! Errors in the shape callers know: `{"error": {message, type, param, code}}`.

use serde::Serialize;

/// A request that is answered with an error body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip)]
    pub(crate) status: u16,
    pub(crate) message: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<String>,
}

impl Refusal {
    /// 400 about one parameter.
    pub(crate) fn bad(param: &str, message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), kind: "invalid_request_error".into(), param: Some(param.into()), code: None }
    }

    /// 400 about the request as a whole.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { param: None, ..Self::bad("", message) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { status: 404, ..Self::bad_request(message) }
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self { status: 401, ..Self::bad_request(message) }.code("invalid_api_key")
    }

    /// The script is at fault, not the caller.
    pub(crate) fn scenario(message: impl Into<String>) -> Self {
        Self { status: 500, message: message.into(), kind: "server_error".into(), param: None, code: Some("scenario_error".into()) }
    }

    pub(crate) fn code(mut self, code: &str) -> Self {
        self.code = Some(code.into());
        self
    }

    pub(crate) fn param(mut self, param: &str) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The body as it is sent.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        crate::json::raw(&mut out, "{\"error\":");
        crate::json::value(&mut out, self);
        out.push(b'}');
        out
    }
}
