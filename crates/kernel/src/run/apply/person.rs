//! What a person's answer makes of the state.

use crate::run::event::{Ask as AskFor, Reply};
use crate::run::state::{InboxItem, Phase, Pricing, Reason, Stage, State, Stop};

impl State {
    pub(super) fn replied(&mut self, number: u32, item: &InboxItem, reply: &Reply) {
        match (item.ask, item.unit, reply) {
            (AskFor::Failed | AskFor::Approve, Some(key), Reply::Text { text }) => {
                let Some(work) = self.work.get_mut(&key).filter(|w| w.stage == Stage::Person(number)) else { return };
                work.instructions.push(text.clone());
                work.granted += 1;
                work.since = None;
                self.enter(key, Stage::Ready);
            }
            (AskFor::Price, _, Reply::Approve) => self.pricing = Pricing::Settled,
            (AskFor::Price, _, Reply::Reject) => self.stop = Some(Stop::Failed("a person rejected the price".to_owned())),
            (AskFor::Price, _, Reply::Text { text }) => {
                self.pricing = Pricing::Open;
                let text = format!("A person saw what the plan is expected to cost, and says: {text}");
                self.desk.reasons.push_back(Reason { unit: None, text });
                self.next_job();
            }
            (AskFor::Review, _, Reply::Approve) => self.phase = Phase::Closing,
            (AskFor::Review, _, Reply::Text { text }) => {
                let text = format!("A person judged the result and says: {text}");
                self.desk.reasons.push_back(Reason { unit: None, text });
                self.phase = Phase::Running;
                self.next_job();
            }
            (AskFor::Review, _, Reply::Reject) => self.stop = Some(Stop::Failed("a person rejected the result".to_owned())),
            (AskFor::Composed, _, reply) => {
                if let Some(composed) = self.composed.as_mut().filter(|composed| composed.asked == Some(number)) {
                    composed.asked = None;
                    composed.waived = *reply == Reply::Approve;
                    if *reply == Reply::Reject {
                        self.stop = Some(Stop::Failed("a person rejected the result".to_owned()));
                    }
                }
            }
            (AskFor::Rates, Some(key), reply) => {
                let Some(i) = self.tasks[key.task as usize].source.map(|s| s as usize) else { return };
                if *reply == Reply::Reject {
                    let total = self.sources[i].finished + self.sources[i].rows.len() as u64;
                    self.cut_rows(i, total);
                } else {
                    self.sources[i].waived = true;
                    self.sources[i].halted = false;
                }
            }
            _ => {}
        }
    }
}
