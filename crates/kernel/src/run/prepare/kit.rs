//! The tools a call offers, and which of them may be called.

use super::Turn;
use crate::call::Service;
use crate::catalog::Day;
use crate::context::{self, Alike, InputRates, tokens_est, tool_bytes};
use crate::ids::{ModelRef, Tier};
use crate::plan::TaskType;
use crate::policy::Who;
use crate::run::Run;
use crate::run::state::Key;
use crate::tool::ToolSpec;

impl Run {
    /// The tools of a call and the names of those that may be called (none named: all). `end` comes first and others
    /// join behind, so that a plan that grows leaves the front as it was.
    ///
    /// Siblings are offered one set for all where that is cheaper by the catalog's price of cached input, and where
    /// their rung bears as many tools: a rung that bears one is never shown two.
    pub(super) fn kit(&self, kind: TaskType, own: &[&ToolSpec], turn: &Turn<'_>, front: usize) -> (Vec<ToolSpec>, Vec<String>) {
        let offered = |tools: &[&ToolSpec]| std::iter::once(context::end_tool()).chain(tools.iter().map(|&tool| tool.clone())).collect();
        let sets = self.state.grants.get(&kind).map_or(&[][..], |sets| sets);
        let Some(rates) = (sets.len() > 1).then(|| self.input_rates(&turn.model)).flatten() else { return (offered(own), Vec::new()) };
        let mut all: Vec<&ToolSpec> = Vec::new();
        for tool in sets.iter().flat_map(|set| set.of.offered(&self.tools)) {
            if !all.iter().any(|known| known.name == tool.name) {
                all.push(tool);
            }
        }
        let tier = self.state.start().policy.tier(turn.tier);
        let bears = tier.and_then(|tier| tier.max_tools).is_none_or(|most| all.len() <= most as usize);
        let tokens = |tools: &mut dyn Iterator<Item = &ToolSpec>| tokens_est(tools.map(tool_bytes).sum());
        let groups: Vec<Alike> =
            sets.iter().map(|set| Alike { units: set.units, tools: tokens(&mut set.of.offered(&self.tools)) }).collect();
        let rest = tokens_est(front + tool_bytes(&context::end_tool()));
        if !bears || !context::one_kit(&groups, tokens(&mut all.iter().copied()), rest, rates) {
            return (offered(own), Vec::new());
        }
        let may = |tool: &&&ToolSpec| own.iter().any(|granted| granted.name == tool.name);
        let names = all.iter().filter(may).map(|tool| tool.name.clone());
        (offered(&all), std::iter::once(context::END.to_owned()).chain(names).collect())
    }

    /// Estimated tokens of what all units of a type have in front of their own part, form aside.
    pub(in crate::run) fn shared_tokens(&self, key: Key, tier: &Tier, model: &ModelRef) -> u64 {
        let spec = &self.state.task(key).spec;
        let own: Vec<&ToolSpec> = spec.offered(&self.tools).collect();
        let shared = self.shared_with(key);
        let rules = self.openings.of(Who::Type(spec.kind), &self.state.start().policy, shared);
        let front = rules.text.len() + shared.map_or(0, |shared| shared.text.len());
        let turn = Turn { tier, model: model.clone(), items: &[], doubled: false, omit: &[] };
        let (tools, _) = self.kit(spec.kind, &own, &turn, front);
        tokens_est(front + tools.iter().map(tool_bytes).sum::<usize>())
    }

    /// What input costs on a model today.
    pub(in crate::run) fn input_rates(&self, model: &ModelRef) -> Option<InputRates> {
        let found = self.catalog.lookup(model, Day::of(self.now)).ok()?;
        let rates = found.price.rates(Service::Default, 0);
        Some(InputRates { plain: rates.input, cached: rates.cached, write: rates.write })
    }
}
