//! A person's word: an inbox item answered.

use crate::run::Run;
use crate::run::event::{Ask, Event, Reply, SubtaskStatus};
use crate::run::state::Stage;
use crate::time::Millis;
use crate::tool::ToolOutput;

impl Run {
    pub(super) fn replied(&mut self, item: u32, reply: Reply) {
        let Some(entry) = self.state.inbox.get(&item).cloned() else { return };
        self.record(Event::InboxAnswered { item, reply: reply.clone() });
        let Some(key) = entry.unit else { return };
        if let (Ask::Composed, Reply::Text { text }) = (entry.ask, &reply) {
            return self.mend_as_told(key, text.clone());
        }
        let waits = self.state.work.get(&key).is_some_and(|w| w.stage == Stage::Person(item));
        if matches!(entry.ask, Ask::Failed | Ask::Approve) && !waits {
            return; // the plan changed under the question
        }
        match (entry.ask, reply) {
            (Ask::Question, reply) => {
                let text = match reply {
                    Reply::Approve => "yes".to_owned(),
                    Reply::Reject => "no".to_owned(),
                    Reply::Text { text } => text,
                };
                let attempt = self.state.work.get(&key).and_then(|w| w.attempt.as_ref()).map(|a| a.no);
                if let (Some(attempt), Some(call_id)) = (attempt, entry.call_id) {
                    let output = ToolOutput { ok: true, output: text, ..ToolOutput::default() };
                    let unit = self.state.unit(key);
                    self.record(Event::ToolEnded {
                        unit,
                        attempt,
                        call_id,
                        name: "ask".to_owned(),
                        output,
                        saved: None,
                        tree: None,
                        touched: None,
                        ms: Millis(0),
                    });
                }
            }
            (Ask::Failed | Ask::Approve, Reply::Approve) => {
                let output = self.accepted(key);
                let by = self.state.work.get(&key).and_then(|w| w.tried.last()).map(|t| t.tier.clone());
                let by = by.and_then(|tier| {
                    let model = self.state.start().policy.tier(&tier)?.model.clone();
                    Some((tier, model))
                });
                self.end_unit(key, SubtaskStatus::Done, output, None, by);
            }
            (Ask::Failed | Ask::Approve, Reply::Reject) => {
                let output = self.accepted(key);
                self.end_unit(key, SubtaskStatus::Failed, output, Some("a person rejected it".to_owned()), None);
            }
            _ => {}
        }
    }
}
