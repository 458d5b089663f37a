//! Who sees: subtasks that are shown images never reach a model that takes none, and one that nobody can see to is
//! refused before anything is spent.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Run;
use super::state::Key;
use crate::call::Item;
use crate::catalog::Catalog;
use crate::ids::{ModelRef, Tier};
use crate::image::{Image, MAX_CALL_IMAGE_BYTES, MAX_CALL_IMAGES};
use crate::plan::{Code, Fault, Plan, Subtask};
use crate::policy::{Policy, RouteTo};
use crate::route::{self, Facts};
use crate::tool::{ToolOutput, ToolSpec};

/// What makes a subtask need a model that sees, by the field that says so.
fn field(spec: &Subtask, tools: &[ToolSpec]) -> Option<&'static str> {
    let shows = |tool: &ToolSpec| tool.images;
    if !spec.images.is_empty() {
        Some("images")
    } else if spec.offered(tools).any(shows) {
        Some(if spec.tools.iter().any(|name| tools.iter().any(|t| t.name == *name && t.images)) { "tools" } else { "mcp_servers" })
    } else {
        None
    }
}

/// Whether a model can be shown images. An agent reads one text, and opens files itself.
pub fn sees(model: &ModelRef, policy: &Policy, catalog: &Catalog) -> bool {
    policy.agent(model).is_none() && catalog.sees(model)
}

/// The models that take no images, of all that a subtask could meet.
fn blind(spec: &Subtask, policy: &Policy, catalog: &Catalog) -> BTreeSet<ModelRef> {
    let bound = policy.tiers.values().flat_map(|tier| std::iter::once(&tier.model).chain(&tier.alternates));
    let routed = policy.routes.values().filter_map(|to| if let RouteTo::Model(model) = to { Some(model) } else { None });
    bound.chain(routed).chain(&spec.model).filter(|model| !sees(model, policy, catalog)).cloned().collect()
}

/// Adds to what routing knows of a subtask what it has to know of its images.
pub(super) fn look(facts: &mut Facts, spec: &Subtask, tools: &[ToolSpec], policy: &Policy, catalog: &Catalog) {
    if field(spec, tools).is_some() {
        facts.blind = blind(spec, policy, catalog);
    }
}

/// Subtasks that show images, and that no tier they may run on can see: each a fault with the field and the remedy.
pub fn unseen(plan: &Plan, policy: &Policy, catalog: &Catalog, tools: &[ToolSpec]) -> Vec<Fault> {
    let fault = |spec: &Subtask| {
        let field = field(spec, tools)?;
        let mut facts = Facts::of(spec);
        // Deadline and cost may be met in the end; eyes do not grow.
        look(&mut facts, spec, tools, policy, catalog);
        let stuck = route::start(&facts, policy).err()?;
        let message = format!(
            "{field} shows images, and {stuck}. Give a tier a model that takes them (`brigade models --json`), \
             or say that one does: [models.\"NAME\"] supports = [\"vision\"]"
        );
        Some(Fault { code: Code::BadValue, subtask: Some(spec.id.to_string()), field: Some(field.to_owned()), message })
    };
    plan.subtasks.iter().filter_map(fault).collect()
}

impl Run {
    /// The tools a planner may hand out: none that shows images where nobody sees.
    pub(super) fn assignable(&self) -> Cow<'_, [ToolSpec]> {
        let policy = &self.state.start().policy;
        let seen = policy.ladder.iter().filter_map(|tier| policy.tier(tier)).any(|tier| sees(&tier.model, policy, &self.catalog));
        if seen || !self.tools.iter().any(|tool| tool.images) {
            return Cow::Borrowed(&self.tools);
        }
        Cow::Owned(self.tools.iter().filter(|tool| !tool.images).cloned().collect())
    }

    /// The models that may stand in for a tier's own, for the flagship or a unit. Where images may come up, those that cannot
    /// see may not, if the tier's own can.
    pub(super) fn stand_ins(&self, key: Option<Key>, tier: &Tier) -> Vec<&ModelRef> {
        let start = self.state.start();
        let Some(bound) = start.policy.tier(tier) else { return Vec::new() };
        let images = match key {
            None => !start.images.is_empty(),
            Some(key) => {
                let spec = &self.state.task(key).spec;
                // What servers answer with is known when it comes, and must then be bearable.
                !spec.mcp_servers.is_empty() || field(spec, &self.tools).is_some()
            }
        };
        let can = |model: &ModelRef| sees(model, &start.policy, &self.catalog);
        let narrow = images && can(&bound.model);
        bound.alternates.iter().filter(|model| !narrow || can(model)).collect()
    }

    /// A tool's output as the unit's model can take it: without images, and with a word on each, where it takes none.
    pub(super) fn bearable(&self, key: Key, mut output: ToolOutput) -> ToolOutput {
        if output.images.is_empty() || sees(&self.model_of(key), &self.state.start().policy, &self.catalog) {
            return output;
        }
        for image in std::mem::take(&mut output.images) {
            output.output.push_str(&format!("\n[an image, {image}: not shown, this model takes none]"));
        }
        output
    }

    /// Tokens that an image counts as for a model, at the most.
    pub(super) fn image_tokens(&self, model: &ModelRef, image: &Image) -> u64 {
        self.catalog.model(model).map_or(0, |row| row.image_tokens(image.width, image.height))
    }
}

/// Takes the oldest images out of a conversation that shows more than a call may, with a word in their place.
pub(super) fn newest_images(items: &mut [Item]) {
    let (mut count, mut bytes) = (0, 0);
    for item in items.iter_mut().rev() {
        let (Item::Message { images, text, .. } | Item::ToolOutput { images, output: text, .. }) = item else { continue };
        let fits = |image: &Image| {
            count += 1;
            bytes += image.bytes;
            count <= MAX_CALL_IMAGES && bytes <= MAX_CALL_IMAGE_BYTES
        };
        let before = images.len();
        let mut fits = fits;
        images.retain(|image| fits(image));
        if images.len() < before {
            text.push_str(&format!("\n[{} image(s) no longer shown: the newest {MAX_CALL_IMAGES} are]", before - images.len()));
        }
    }
}
