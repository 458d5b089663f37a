//! How a scripted answer goes wrong on the wire.

/// What a client must survive, by name. One rule may ask for several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Faults {
    names: Vec<Fault>,
    pub(crate) cut_after_bytes: Option<usize>,
    /// How long a stall lasts; absent = until the caller leaves.
    pub(crate) stall_ms: Option<u64>,
    pub(crate) keepalive_ms: u64,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One way to go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[$doc])* $variant,)* }

        const ALL: &[(&str, Fault)] = &[$(($name, Fault::$variant),)*];
    };
}

faults! {
    /// The connection closes in the middle of an event.
    EofMidEvent = "eof_mid_event",
    /// The body ends in good order, but before the terminal event.
    EofNoTerminal = "eof_no_terminal",
    /// Half of the content, then silence.
    Stall = "stall",
    /// Half of the content, then only comments.
    StallKeepalive = "stall_keepalive",
    /// Half of the content, then a flat `error` event.
    ErrorEvent = "error_event",
    /// Half of the content, then `{"type":"error","error":{…}}`.
    ErrorNested = "error_nested",
    /// Half of the content, then `data: {"error":{…}}` without an event line.
    ErrorBare = "error_bare",
    /// Half of the content, then `response.failed`.
    Failed = "failed",
    /// Comments and keep-alive events between all events.
    Keepalive = "keepalive",
    /// An event of a kind nobody knows.
    UnknownEvent = "unknown_event",
    /// An output item of a kind nobody knows, before the others.
    UnknownItem = "unknown_item",
    /// Pieces that end inside a character.
    SplitUtf8 = "split_utf8",
    /// Lines end in CR LF.
    Crlf = "crlf",
    /// No `event:` lines.
    NoEventLine = "no_event_line",
    /// The JSON of an event stands on two `data:` lines.
    MultiLineData = "multi_line_data",
    /// No `sequence_number`.
    NoSequence = "no_sequence",
    /// `data: [DONE]` at the end (Responses) or its absence (Chat).
    DoneMarker = "done_marker",
    /// The terminal event comes twice.
    DoubleTerminal = "double_terminal",
    /// The terminal event has an empty `output`.
    EmptyTerminal = "empty_terminal",
    /// `usage` has fields nobody knows.
    ExtraUsage = "extra_usage",
}

impl Faults {
    /// Reads names as written in a scenario.
    pub(crate) fn named(names: &[String]) -> Result<Self, String> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match ALL.iter().find(|(known, _)| known == name) {
                Some((_, fault)) => found.push(*fault),
                None => {
                    let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
                    return Err(format!("stream_faults: {name:?} is not one of {}", known.join(", ")));
                }
            }
        }
        Ok(Self { names: found, keepalive_ms: 1_000, ..Self::default() })
    }

    /// These and those.
    pub(crate) fn and(mut self, wide: &Self) -> Self {
        for fault in &wide.names {
            if !self.names.contains(fault) {
                self.names.push(*fault);
            }
        }
        self
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.names.contains(&fault)
    }

    pub(crate) fn has_stall(&self) -> bool {
        self.has(Fault::Stall) || self.has(Fault::StallKeepalive)
    }

    /// The fault that ends the answer with an error, if any.
    pub(crate) fn error(&self) -> Option<Fault> {
        self.names.iter().copied().find(|f| matches!(f, Fault::ErrorEvent | Fault::ErrorNested | Fault::ErrorBare | Fault::Failed))
    }

    /// A fault that only Responses streams can have.
    pub(crate) fn foreign_to_chat(&self) -> Option<&'static str> {
        let foreign = [
            Fault::UnknownItem,
            Fault::UnknownEvent,
            Fault::NoSequence,
            Fault::NoEventLine,
            Fault::EmptyTerminal,
            Fault::Failed,
            Fault::ErrorEvent,
            Fault::DoubleTerminal,
        ];
        let found = self.names.iter().find(|fault| foreign.contains(fault))?;
        ALL.iter().find(|(_, fault)| fault == found).map(|(name, _)| *name)
    }
}
