//! What all doors share, in one value.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;
use tracing::warn;

use crate::contract::Operation;
use crate::deadline::unix_time;
use crate::error::{Error, Kind};
use crate::nats::OwnLattice;
use crate::serve::admission::Admission;
use crate::serve::call::Operations;
use crate::serve::drain::{Drain, StopRequest};
use crate::serve::links::LinkTable;
use crate::serve::policy;
use crate::serve::replay::ReplayGuard;
use crate::settings::{CallLimits, LinkSettings, Policy, ProviderSettings, SettingsError};

/// What the provider's settings say of calls.
pub struct Rules {
    /// What actors may do whose links do not say, or what is wrong with the settings:
    /// then every call is refused.
    policy: Result<Policy, SettingsError>,
    calls: CallLimits,
    /// The longest time for a call, where it is less than hosts allow.
    pub call_budget: Option<Duration>,
}

impl Rules {
    /// Takes them from settings. Wrong settings give the default limits.
    pub fn of(settings: &Result<ProviderSettings, SettingsError>) -> Self {
        let known = settings.as_ref().ok();
        Self {
            policy: match settings {
                Ok(settings) => Ok(settings.default_policy.clone()),
                Err(error) => Err(error.clone()),
            },
            calls: known.map_or_else(CallLimits::default, |settings| settings.calls),
            call_budget: known.and_then(|settings| settings.limits.call_budget),
        }
    }

    /// Returns the policy of the settings.
    ///
    /// # Errors
    /// `Misconfigured`, with every mistake in them.
    fn policy(&self) -> Result<&Policy, Error> {
        self.policy.as_ref().map_err(|problem| {
            let message = format!("the provider's configuration is wrong: {problem}");
            Error::new(Kind::Misconfigured, message).caused_by(problem.clone())
        })
    }
}

/// What every call passes, and what carries it out.
pub struct Service<O> {
    /// What carries calls out.
    pub operations: O,
    /// Which actors may call.
    pub links: Arc<LinkTable>,
    /// How many calls are in flight at once.
    pub admission: Admission,
    /// Which commands came already.
    pub replay: ReplayGuard,
    /// How calls end when the provider stops.
    pub drain: Drain,
    rules: Rules,
}

impl<O: Operations> Service<O> {
    /// Makes a service without links.
    pub fn new(operations: O, rules: Rules, links: LinkTable) -> Self {
        let drain = Drain::default();
        Self {
            operations,
            links: Arc::new(links),
            admission: Admission::new(&rules.calls, drain.in_flight.clone()),
            replay: ReplayGuard::new(rules.calls.window()),
            drain,
            rules,
        }
    }

    /// Checks that the link of an actor, or else the provider, allows an operation.
    ///
    /// # Errors
    /// `Misconfigured`, `Denied`.
    pub fn authorize(
        &self,
        operation: Operation,
        actor: &str,
        link: &LinkSettings,
    ) -> Result<(), Error> {
        policy::check_operation(self.rules.policy()?, link, actor, operation)
    }

    /// Begins what goes on beside calls. With wrong settings nothing does: every call is
    /// refused.
    pub fn begin(&self, home: &OwnLattice) {
        if self.rules.policy.is_ok() {
            self.operations.begin(home.clone());
        }
    }

    /// Says whether all is well.
    ///
    /// # Errors
    /// What is not.
    pub fn health(&self) -> Result<(), String> {
        self.rules.policy().map_err(|error| error.to_string())?;
        self.operations.health()?;
        let clock = self.replay.check_clock(unix_time().as_secs());
        clock.map_err(|set_back| set_back.to_string())
    }

    /// Refuses new calls from now on, and waits for those in flight and for the work that
    /// goes on after its call. What has not ended when its time is over is cut off.
    pub async fn stop(&self, request: &StopRequest) {
        self.drain.stop();
        // Both at once: with `finish`, work that could be left half done begins no more.
        let ended = async { tokio::join!(self.drain.in_flight.wait(), self.operations.finish()) };
        if timeout_at(request.cut_off, ended).await.is_err() {
            warn!(in_flight = self.drain.in_flight.len(), "calls are cut off");
            self.drain.cut_off();
        }
    }

    /// Waits until every call is answered and no work goes on after its call.
    pub async fn ended(&self) {
        self.drain.in_flight.wait().await;
        self.operations.finish().await;
    }
}
