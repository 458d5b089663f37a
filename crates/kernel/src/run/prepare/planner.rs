//! What the planner is shown before anything happened, and its conversation since.

use super::Fetched;
use crate::call::Item;
use crate::context::{self, Picture, Planning, TierLine};
use crate::image::Image;
use crate::policy::Policy;
use crate::run::Run;
use crate::tool::mcp_parts;

impl Run {
    pub(super) fn planner_packed(&self, rules: &str, fetched: &Fetched) -> context::Packed {
        let (state, start) = (&self.state, self.state.start());
        let policy: &Policy = &start.policy;
        let model = self.desk_model().1;
        let picture = |(n, image): (usize, &Image)| {
            let (name, tokens) = (format!("image {} of the request", n + 1), self.image_tokens(&model, image));
            Picture { name, image: image.clone(), tokens }
        };
        let tools = self.assignable();
        context::planner(Planning {
            rules,
            earlier: start.continues.as_ref().map(|c| c.turns.clone()).unwrap_or_default(),
            request: &start.request,
            images: start.images.iter().enumerate().map(picture).collect(),
            tiers: policy.ladder.iter().filter_map(|t| Some(TierLine::of(t, policy.tier(t)?))).collect(),
            // Servers join by a person's hand, and their words have no place among ours.
            tools: tools.iter().filter(|t| mcp_parts(&t.name).is_none()).map(|t| (t.name.clone(), t.description.clone())).collect(),
            workspace: Some(start.listing.as_str()).filter(|l| !l.is_empty()),
            shared: self.shared(),
            roles: &start.roles,
            rows: fetched.rows.as_ref().map(|(count, sample)| context::Rows { count: *count, sample }),
            notes: &state.notes,
            max_subtasks: policy.limits.max_subtasks,
            run_usd: Some(policy.budget.run_usd),
        })
    }

    /// The planner's conversation up to now.
    pub(in crate::run) fn planner_base(&self, fetched: &Fetched) -> Vec<Item> {
        let start = self.state.start();
        let mut items = if start.planned {
            self.planner_packed("", fetched).items
        } else {
            start.continues.as_ref().map(|c| c.turns.clone()).unwrap_or_default()
        };
        items.extend(self.state.desk.turns.iter().cloned());
        items
    }
}
