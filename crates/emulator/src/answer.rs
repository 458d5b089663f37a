//! What a model "says" to a request: the script's words, kept within what the request allows.
//!
//! Tool choice, `parallel_tool_calls` and `max_output_tokens` are obeyed unless the rule says
//! `disobey`. How it is written on the wire is not decided here.

use serde_json::Value;

use crate::ask::{Ask, Choice, Tool, ToolKind, tokens};
use crate::ledger::Spent;
use crate::refusal::Refusal;
use crate::rules::{Payload, Pick};
use crate::schema::{Schemas, sample};
use crate::template::Vars;

/// One entry of the output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Reasoning {
        id: String,
        summary: String,
        encrypted: Option<String>,
    },
    Message {
        id: String,
        text: String,
        refusal: bool,
        cut: bool,
    },
    Call {
        id: String,
        call_id: String,
        name: String,
        arguments: String,
        custom: bool,
        cut: bool,
    },
    /// A kind that no client knows.
    Unknown {
        id: String,
    },
}

impl Item {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. } | Self::Message { id, .. } | Self::Call { id, .. } | Self::Unknown { id } => id,
        }
    }
}

/// What is said, and what it costs.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) items: Vec<Item>,
    /// Why it is not complete.
    pub(crate) incomplete: Option<&'static str>,
    pub(crate) usage: Spent,
    pub(crate) usage_sent: bool,
    pub(crate) model: String,
    pub(crate) service_tier: String,
    /// Where the text leaves the strict schema that was asked for.
    pub(crate) note: Option<String>,
}

struct Said {
    name: String,
    arguments: String,
    custom: bool,
    call_id: Option<String>,
}

/// Writes the answer to a request.
pub(crate) fn answer(
    pick: &Pick<'_>,
    ask: &Ask<'_>,
    seq: u64,
    snapshot: Option<&str>,
    schemas: &Schemas,
    enforce: bool,
) -> Result<Answer, Refusal> {
    let reply = &pick.rule.reply;
    let vars = reply.template.then(|| Vars { model: &ask.model, seq, message: ask.last_message(), captures: pick.captures.clone() });
    let schema = match &ask.format {
        Some(format) if format.strict => schemas.strict(format.schema.get()).ok(),
        _ => None,
    };
    let text = match &pick.found {
        Some(row) => Some(vars.as_ref().map_or_else(|| row.to_string(), |vars| vars.fill(row))),
        None => match &reply.payload {
            Payload::None => None,
            Payload::Text(text) => Some(vars.as_ref().map_or_else(|| text.to_string(), |vars| vars.fill(text))),
            Payload::Json(value) if vars.is_none() && schema.is_none() => Some(value.to_string()),
            Payload::Json(value) => {
                let mut value = vars.as_ref().map_or_else(|| Value::clone(value), |vars| vars.fill_value(value));
                if let Some(schema) = &schema {
                    schema.complete(&mut value);
                }
                Some(value.to_string())
            }
        },
    };
    let mut said: Vec<Said> = reply
        .calls
        .iter()
        .map(|call| Said {
            name: call.name.clone(),
            arguments: match (&call.arguments, &vars) {
                (Payload::None, _) => String::new(),
                (Payload::Text(text), Some(vars)) => vars.fill(text),
                (Payload::Text(text), None) => text.to_string(),
                (Payload::Json(value), Some(vars)) => vars.fill_value(value).to_string(),
                (Payload::Json(value), None) => value.to_string(),
            },
            custom: call.custom || ask.tool(&call.name).is_some_and(|tool| tool.kind == ToolKind::Custom),
            call_id: call.call_id.clone(),
        })
        .collect();
    if !pick.rule.disobey {
        obey(ask, &mut said);
    }

    let note = match (&schema, &text) {
        (Some(schema), Some(text)) if reply.refusal.is_none() => match serde_json::from_str(text) {
            Ok(value) => schema.conforms(&value).err().map(|fault| format!("{}: {}", fault.path, fault.message)),
            Err(error) => Some(format!("is no JSON: {error}")),
        },
        _ => None,
    };
    if let Some(note) = note.as_ref().filter(|_| enforce) {
        return Err(Refusal::scenario(format!("rule {}: the reply leaves the strict schema: {note}", pick.rule.number)));
    }

    let mut items = Vec::with_capacity(2);
    let mut next = 0;
    let mut number = || {
        next += 1;
        next - 1
    };
    let mut reasoning = reply.usage.reasoning.unwrap_or(0);
    if let Some(summary) = &reply.reasoning {
        reasoning = reply.usage.reasoning.unwrap_or_else(|| tokens(summary));
        let at = number();
        items.push(Item::Reasoning {
            id: format!("rs_{seq:012x}_{at}"),
            summary: summary.clone(),
            encrypted: ask.wants_encrypted.then(|| format!("scripted-{seq:012x}-{}", ask.model)),
        });
    }
    // a model that neither calls nor refuses says something, if only nothing
    if text.is_some() || reply.refusal.is_some() || said.is_empty() {
        let at = number();
        items.push(Item::Message {
            id: format!("msg_{seq:012x}_{at}"),
            refusal: reply.refusal.is_some(),
            text: reply.refusal.clone().or(text).unwrap_or_default(),
            cut: false,
        });
    }
    for call in said {
        let at = number();
        let prefix = if call.custom { "ctc" } else { "fc" };
        items.push(Item::Call {
            id: format!("{prefix}_{seq:012x}_{at}"),
            call_id: call.call_id.unwrap_or_else(|| format!("call_{seq:012x}_{at}")),
            name: call.name,
            arguments: call.arguments,
            custom: call.custom,
            cut: false,
        });
    }
    let limit = ask.max_output.filter(|_| !pick.rule.disobey);
    let mut incomplete = limit.and_then(|limit| cut(&mut items, limit.saturating_sub(reasoning)));
    if let Some(reason) = &reply.incomplete {
        mark_last_cut(&mut items);
        incomplete = Some(if reason == "content_filter" { "content_filter" } else { "max_output_tokens" });
    }

    let shown: u64 = items.iter().map(item_tokens).sum();
    let output_tokens = reply.usage.output.unwrap_or(shown + reasoning);
    let input_tokens = reply.usage.input.unwrap_or(ask.input_tokens);
    let cached_tokens = reply.usage.cached.unwrap_or(0).min(input_tokens);
    let usage = Spent {
        input_tokens,
        cached_tokens,
        cache_write_tokens: reply.usage.cache_write.unwrap_or(0).min(input_tokens - cached_tokens),
        output_tokens,
        reasoning_tokens: reasoning.min(output_tokens),
    };
    Ok(Answer {
        items,
        incomplete,
        usage,
        usage_sent: !reply.usage.missing,
        model: reply.model.as_deref().or(snapshot).unwrap_or(&ask.model).to_owned(),
        service_tier: reply.service_tier.clone().unwrap_or_else(|| served(&ask.service_tier).to_owned()),
        note,
    })
}

fn served(asked: &str) -> &str {
    match asked {
        "auto" => "default",
        "fast" => "priority",
        other => other,
    }
}

/// Keeps to tool choice and to one call where only one is allowed.
fn obey(ask: &Ask<'_>, said: &mut Vec<Said>) {
    match &ask.choice {
        Choice::Auto => {}
        Choice::None => said.clear(),
        Choice::Required => {
            if said.is_empty() {
                said.extend(ask.tools.iter().find(|tool| tool.kind != ToolKind::Hosted).map(invent));
            }
        }
        Choice::Named(name) => {
            said.retain(|call| call.name == *name);
            if said.is_empty() {
                said.extend(ask.tool(name).map(invent));
            }
        }
        Choice::Allowed { required, names } => {
            said.retain(|call| names.contains(&call.name));
            if said.is_empty() && *required {
                said.extend(names.first().and_then(|name| ask.tool(name)).map(invent));
            }
        }
    }
    if !ask.parallel {
        said.truncate(1);
    }
}

/// A call the script does not have but the request demands: the smallest valid arguments.
fn invent(tool: &Tool<'_>) -> Said {
    let arguments = match tool.parameters.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()) {
        _ if tool.kind == ToolKind::Custom => String::new(),
        Some(schema) => sample(&schema).to_string(),
        None => "{}".into(),
    };
    Said { name: tool.name.clone().into_owned(), arguments, custom: tool.kind == ToolKind::Custom, call_id: None }
}

pub(crate) fn item_tokens(item: &Item) -> u64 {
    match item {
        Item::Message { text, .. } => tokens(text),
        Item::Call { name, arguments, .. } => tokens(name) + tokens(arguments),
        Item::Reasoning { .. } | Item::Unknown { .. } => 0,
    }
}

/// Cuts the output where its tokens end.
fn cut(items: &mut Vec<Item>, limit: u64) -> Option<&'static str> {
    let mut left = limit;
    for at in 0..items.len() {
        let need = item_tokens(&items[at]);
        if need <= left {
            left -= need;
            continue;
        }
        match &mut items[at] {
            Item::Message { text, cut, .. } => {
                shorten(text, left);
                *cut = true;
            }
            Item::Call { name, arguments, cut, .. } => {
                let room = left.saturating_sub(tokens(name));
                shorten(arguments, room);
                *cut = true;
            }
            Item::Reasoning { .. } | Item::Unknown { .. } => {}
        }
        items.truncate(at + 1);
        return Some("max_output_tokens");
    }
    None
}

fn shorten(text: &mut String, tokens: u64) {
    let bytes = usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX).min(text.len());
    text.truncate(text.floor_char_boundary(bytes));
}

fn mark_last_cut(items: &mut [Item]) {
    if let Some(Item::Message { cut, .. } | Item::Call { cut, .. }) = items.last_mut() {
        *cut = true;
    }
}
