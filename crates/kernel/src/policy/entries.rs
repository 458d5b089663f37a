//! A policy as the settings that would make it: what `config show` prints.

use std::collections::BTreeSet;

use super::{Cap, Ground, MAIN_WINDOW, Policy, RouteTo, Slots};
use crate::ids::Tier;
use crate::plan::write_span;
use crate::units::NanoUsd;

impl Policy {
    /// Every effective setting, key and value as they would be written; those that are at a limitless or
    /// undecided default stand as `none` where the key takes it. Prompts and additions show their text.
    pub fn entries(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |key: String, value: String| rows.push((key, value));
        row("ladder".into(), join(&self.ladder));
        for tier in &self.ladder {
            let Some(bound) = self.tiers.get(tier) else {
                continue;
            };
            let at = |field: &str| format!("tiers.{tier}.{field}");
            row(at("model"), bound.model.to_string());
            if !bound.alternates.is_empty() {
                row(at("alternates"), bound.alternates.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
            }
            if let Some(effort) = bound.effort {
                row(at("effort"), word(&effort));
            }
            if let Some(verbosity) = bound.verbosity {
                row(at("verbosity"), word(&verbosity));
            }
            row(at("max_context_tokens"), or_none(bound.max_context_tokens));
            row(at("max_tools"), or_none(bound.max_tools));
            row(at("max_tool_calls"), or_none(bound.max_tool_calls));
            row(at("hedge"), bound.hedge.to_string());
            for (field, span) in [
                ("first_token_deadline", bound.deadlines.first_token),
                ("idle_deadline", bound.deadlines.idle),
                ("call_deadline", bound.deadlines.total),
            ] {
                if let Some(span) = span {
                    row(at(field), write_span(span));
                }
            }
            row(at("never"), bound.never.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(","));
        }
        row("roles.planner".into(), self.planner().to_string());
        row("roles.reviewer".into(), self.reviewer().to_string());
        row("roles.executor".into(), or_none(self.roles.executor.as_ref()));
        row("escalation.start_at_most".into(), or_none(self.escalation.start_at_most.as_ref()));
        let grounds = |grounds: &BTreeSet<Ground>| grounds.iter().map(|ground| ground.as_str()).collect::<Vec<_>>().join(",");
        row("escalation.only_on".into(), self.escalation.only_on.as_ref().map_or_else(|| "any".to_owned(), grounds));
        for (kind, route) in &self.routes {
            let to = match route {
                RouteTo::Tier(tier) => tier.to_string(),
                RouteTo::Model(model) => model.to_string(),
            };
            row(format!("routes.{kind}"), to);
        }
        for (kind, ladder) in &self.ladders {
            row(format!("ladders.{kind}"), join(ladder));
        }
        for (who, effort) in &self.effort {
            row(format!("effort.{}", who.as_str()), word(effort));
        }
        for (who, verbosity) in &self.verbosity {
            row(format!("verbosity.{}", who.as_str()), word(verbosity));
        }
        for (who, text) in &self.prompts {
            row(format!("prompts.{}", who.as_str()), text.clone());
        }
        for (who, text) in &self.additions {
            row(format!("additions.{}", who.as_str()), text.clone());
        }
        for (who, on) in &self.prompt_cache {
            row(format!("prompt_cache.{}", who.as_str()), on.to_string());
        }
        for (who, retention) in &self.prompt_cache_retention {
            row(format!("prompt_cache_retention.{}", who.as_str()), retention.as_ref().map_or_else(|| "none".to_owned(), word));
        }
        row("hedging.percentile".into(), self.hedging.percentile.to_string());
        row("hedging.min_samples".into(), self.hedging.min_samples.to_string());
        row("hedging.max_share".into(), self.hedging.max_share.to_string());
        self.bounds(&mut row);
        rows
    }

    fn bounds(&self, row: &mut impl FnMut(String, String)) {
        let limits = &self.limits;
        let slots = match limits.max_concurrent_subagents {
            Slots::Auto => "auto".to_owned(),
            Slots::At(n) => n.to_string(),
        };
        row("limits.max_concurrent_subagents".into(), slots);
        for (field, n) in [
            ("max_attempts", limits.max_attempts),
            ("max_replans", limits.max_replans),
            ("max_review_rounds", limits.max_review_rounds),
            ("compact_tokens", limits.compact_tokens),
            ("compact_results", limits.compact_results),
            ("max_compactions", limits.max_compactions),
            ("max_subtasks", limits.max_subtasks),
            ("max_turns", limits.max_turns),
            ("max_tool_calls", limits.max_tool_calls),
            ("max_identical_calls", limits.max_identical_calls),
            ("max_tries", limits.max_tries),
            ("planner_output_tokens", limits.output_tokens.planner),
            ("reviewer_output_tokens", limits.output_tokens.reviewer),
            ("executor_output_tokens", limits.output_tokens.executor),
        ] {
            row(format!("limits.{field}"), n.to_string());
        }
        for (kind, n) in &limits.max_of_type {
            row(format!("limits.types.{kind}.max_concurrent"), n.to_string());
        }
        for (tier, n) in &limits.max_on_tier {
            row(format!("limits.tiers.{tier}.max_concurrent"), n.to_string());
        }
        row("limits.spill".into(), limits.spill.to_string());
        for (field, span) in [
            ("first_token_deadline", Some(limits.call.first_token)),
            ("idle_deadline", Some(limits.call.idle)),
            ("call_deadline", Some(limits.call.total)),
            ("subtask_deadline", limits.subtask),
        ] {
            row(format!("limits.{field}"), span.map_or_else(|| "none".to_owned(), write_span));
        }
        row("budget.run_usd".into(), self.budget.run_usd.usd());
        for (field, cap) in self.budget.clone().caps() {
            let value = match cap {
                Cap::Usd(usd) => or_none(usd.map(NanoUsd::usd)),
                Cap::Tokens(tokens) => or_none(*tokens),
            };
            row(format!("budget.{field}"), value);
        }
        let main = self.quota.windows.get(MAIN_WINDOW);
        row("quota.window".into(), main.map_or_else(|| "none".to_owned(), |window| write_span(window.span)));
        row("quota.units".into(), or_none(main.map(|window| window.units)));
        for (name, window) in self.quota.windows.iter().filter(|(name, _)| *name != MAIN_WINDOW) {
            row(format!("quota.windows.{name}.window"), write_span(window.span));
            row(format!("quota.windows.{name}.units"), window.units.to_string());
        }
        for (tier, weight) in &self.quota.weights {
            row(format!("quota.weights.{tier}"), weight.to_string());
        }
        row("service.batch".into(), self.service.batch.to_string());
        row("service.batch_rows".into(), self.service.batch_rows.to_string());
        row("service.batch_poll".into(), write_span(self.service.batch_poll));
        row("service.flex_fallback".into(), self.service.flex_fallback.to_string());
    }
}

fn join(tiers: &[Tier]) -> String {
    tiers.iter().map(Tier::as_str).collect::<Vec<_>>().join(",")
}

fn or_none(n: Option<impl ToString>) -> String {
    n.map_or_else(|| "none".to_owned(), |n| n.to_string())
}

/// The serde name of an effort or verbosity.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
