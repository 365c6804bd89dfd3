//! Requests about tasks: whom they concern, and what a client may know of others' tasks, which is nothing.
//!
//! An upstream may be shared by all clients and names its tasks as it likes, so clients never see its ids:
//! they get [sealed ones](super::task_key). An id that is not sealed goes to the node's own providers only,
//! which check it themselves; it never reaches an upstream.

use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use super::created::{Created, HELD_MAX, OWNED_MAX};
use super::dispatch::RoutedRequest;
use super::owner::Owner;
use super::task_ids::Says;
use super::task_key::{Purpose, TaskKey};
use crate::mcp::{
    CallResult, Caller, Era, Method, Provider, RawObject, RpcError, TASKS_EXTENSION, TaskName, code,
    created_task, may_name_task, raw,
};

/// The tasks of all providers.
pub(super) struct Tasks {
    pub(super) key: TaskKey,
    pub(super) created: Created,
    pub(super) providers: Arc<[Arc<dyn Provider>]>,
    pub(super) natives: usize,
}

impl Tasks {
    /// `natives` of `providers`, from the first, are the node's own.
    pub(super) fn new(providers: Arc<[Arc<dyn Provider>]>, natives: usize, key: TaskKey) -> Tasks {
        Tasks { key, created: Created::new(OWNED_MAX, HELD_MAX), providers, natives }
    }

    /// A legacy session ended: its tasks are nobody's.
    pub(super) fn session_ended(&self, session_key: &str) {
        self.created.forget(&Owner::session(session_key));
    }

    /// A result of the provider in `place`, with task ids as this caller may know them; a task that it
    /// creates is the caller's from now on.
    pub(super) fn shown(
        &self,
        asked: &RoutedRequest<'_>,
        place: usize,
        result: Box<RawValue>,
    ) -> Box<RawValue> {
        if place < self.natives || !may_name_task(&result) {
            return result;
        }
        let Ok(mut members) = RawObject::parse(result.get()) else { return result };
        let (owner, upstream) = (Owner::of(asked.caller), self.providers[place].name());
        let says = Says::in_result_of(&asked.request.method);
        let has_ended = asked.caller.session.as_ref().is_some_and(|session| session.ended().is_cancelled());
        if says == Says::MayCreate
            && owner.is_somebody()
            && !has_ended
            && let Some(own) = created_task(&members).and_then(|task| task.text("taskId"))
        {
            self.created.note(&owner, upstream, &own);
        }
        says.show(&mut members, &|own| self.key.seal(Purpose::Task, &owner, upstream, own));
        members.to_raw()
    }

    /// Serves a `tasks/*` request.
    ///
    /// # Errors
    /// The provider's own fault; -32602 for a task that is unknown or another's; -32601 where nobody offers
    /// tasks, or the revision has no such method; -32021 for a modern client without the extension.
    pub(super) async fn serve(&self, asked: &RoutedRequest<'_>) -> CallResult {
        let (method, era) = (&asked.request.method, asked.caller.era());
        if !(0..self.providers.len()).any(|place| asked.offers_tasks(place)) {
            return Err(RpcError::method_not_found(era, method));
        }
        if *method == Method::TasksList {
            return self.list(asked).await;
        }
        if era == Era::Modern
            && is_known(era, method)
            && !asked.caller.capabilities.has_extension(TASKS_EXTENSION)
        {
            return Err(RpcError::capability_missing(&json!({ "extensions": { TASKS_EXTENSION: {} } })));
        }
        match asked.request.params.text("taskId") {
            Some(id) if TaskKey::is_sealed(&id) => {
                let (place, own) = self.open(asked.caller, &id).ok_or_else(|| unknown(&id))?;
                let mut request = asked.request.clone();
                request.params.set("taskId", raw(&own));
                let result = self.providers[place].serve(&request, asked.caller, asked.responder).await?;
                Ok(self.shown(asked, place, result))
            }
            id => self.ask_natives(asked, id.as_deref()).await,
        }
    }

    /// Place of the upstream and its own id, if `id` is sealed for this caller.
    fn open(&self, caller: &Caller, id: &str) -> Option<(usize, String)> {
        let (upstream, own) = self.key.open(Purpose::Task, &Owner::of(caller), id)?;
        Some((self.place(&upstream)?, own))
    }

    /// Place of the provider `name`.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.providers.iter().position(|provider| provider.name() == name)
    }

    async fn ask_natives(&self, asked: &RoutedRequest<'_>, id: Option<&str>) -> CallResult {
        let mut last = None;
        for place in (0..self.natives).filter(|place| asked.offers_tasks(*place)) {
            match self.providers[place].serve(asked.request, asked.caller, asked.responder).await {
                Err(fault) if fault.code == code::INVALID_PARAMS => last = Some(fault),
                answer => return answer,
            }
        }
        let (method, era) = (&asked.request.method, asked.caller.era());
        Err(last.unwrap_or_else(|| match id {
            _ if !is_known(era, method) => RpcError::method_not_found(era, method),
            Some(id) => unknown(id),
            None => RpcError::invalid_params("taskId is missing or no string"),
        }))
    }

    /// The task that `id` names for this caller, to compare events with. `natives_offer`: whether an id that
    /// is not sealed can name one at all.
    pub(super) fn name(&self, caller: &Caller, id: &str, natives_offer: bool) -> Option<TaskName> {
        if !TaskKey::is_sealed(id) {
            return natives_offer.then(|| TaskName { upstream: None, own: id.into() });
        }
        let (place, own) = self.open(caller, id)?;
        Some(TaskName { upstream: Some(self.providers[place].name().into()), own: own.into() })
    }

    /// The params of a notification about `task`, with ids as this caller may know them.
    pub(super) fn params_for(&self, caller: &Caller, task: &TaskName, params: &RawValue) -> RawObject {
        let mut members = RawObject::parse(params.get()).unwrap_or_default();
        if let Some(upstream) = &task.upstream {
            let owner = Owner::of(caller);
            let show = |own: &str| self.key.seal(Purpose::Task, &owner, upstream, own);
            Says::IsTask.show(&mut members, &show);
        }
        members
    }
}

/// One text for all causes: whoever tries must not learn which it was.
fn unknown(id: &str) -> RpcError {
    RpcError::invalid_params(format!("unknown task {id:?}"))
}

fn is_known(era: Era, method: &Method) -> bool {
    !matches!(method, Method::Other(_)) && method.is_in(era)
}
