//! The service a call asks for: priority only where a person asked for it, flex where the subtask may wait, and each
//! only where the model has a price for it.

use crate::call::{Deadlines, Service};
use crate::catalog::Day;
use crate::ids::ModelRef;
use crate::run::Run;
use crate::run::state::Key;
use crate::time::Millis;

/// Flex answers may take so long to begin (responses-api.md §6.6).
const FLEX_PATIENCE: Millis = Millis(15 * 60_000);

/// The optional field of a request that names the service; dropped, the default is asked for.
pub(in crate::run) const FIELD: &str = "service_tier";

/// Deadlines that leave a service the time it takes.
pub(super) fn patient(mut deadlines: Deadlines, service: Service) -> Deadlines {
    if service == Service::Flex {
        deadlines.first_token = deadlines.first_token.max(FLEX_PATIENCE);
        deadlines.total = deadlines.total.max(FLEX_PATIENCE);
    }
    deadlines
}

impl Run {
    /// The service of an executor's next call.
    pub(in crate::run) fn executor_service(&self, key: Key, model: &ModelRef, omit: &[String]) -> Service {
        if self.may_travel(key, model) && self.offered(Service::Batch, model, omit) == Service::Batch {
            return Service::Batch;
        }
        if self.state.task(key).spec.flex { self.offered(Service::Flex, model, omit) } else { self.flagship_service(model, omit) }
    }

    /// Whether a unit's calls may travel by batch: a row's that are fit for it.
    fn may_travel(&self, key: Key, model: &ModelRef) -> bool {
        key.row.is_some() && self.state.start().policy.may_travel(&self.state.task(key).spec, model)
    }

    /// The service of a planner's or reviewer's next call.
    pub(in crate::run) fn flagship_service(&self, model: &ModelRef, omit: &[String]) -> Service {
        if self.state.start().policy.service.fast { self.offered(Service::Priority, model, omit) } else { Service::Default }
    }

    /// A service, or the default where the model has no price for it, an agent answers, or the provider would not take it.
    fn offered(&self, service: Service, model: &ModelRef, omit: &[String]) -> Service {
        let dropped = omit.iter().any(|field| field == FIELD);
        let agent = self.state.start().policy.agent(model).is_some();
        let priced = || self.catalog.priced(model, Day::of(self.now)).is_ok_and(|found| found.price.offers(service));
        if !dropped && !agent && priced() { service } else { Service::Default }
    }
}
