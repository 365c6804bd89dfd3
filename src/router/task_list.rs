//! `tasks/list` over all providers: a client sees what it created through this node, page by page.
//!
//! One provider after the other; our cursor, sealed, names the provider and holds its own cursor. A provider
//! that fails is left out rather than hiding the others' tasks.

use serde_json::value::RawValue;

use super::by_task::Tasks;
use super::created::Mine;
use super::dispatch::RoutedRequest;
use super::listing::PAGE_ITEMS_MAX;
use super::owner::Owner;
use super::task_ids::Says;
use super::task_key::Purpose;
use crate::mcp::{CallResult, Era, Method, RawObject, RpcError, code, raw};

/// Pages of providers read for one of ours: an upstream whose tasks are all others' must not keep one request
/// for ever, nor send the client through hundreds of empty pages.
const ASKS_MAX: usize = 16;

/// Beginning of the next page.
struct At {
    place: usize,
    cursor: Option<String>,
}

/// One page in the making.
#[derive(Default)]
struct Page {
    /// The first answer, whose unknown members stay.
    first: Option<RawObject>,
    tasks: Vec<Box<RawValue>>,
}

impl Page {
    fn finish(self, next: Option<String>) -> Box<RawValue> {
        let mut result = self.first.unwrap_or_default();
        result.set("tasks", raw(&self.tasks));
        result.remove("nextCursor");
        if let Some(next) = next {
            result.set("nextCursor", raw(&next));
        }
        result.to_raw()
    }
}

impl Tasks {
    /// # Errors
    /// For a client that cannot be told from others; -32602 for a cursor that is not its own; the last
    /// provider's fault if none answered.
    pub(super) async fn list(&self, asked: &RoutedRequest<'_>) -> CallResult {
        let owner = Owner::of(asked.caller);
        if !owner.is_somebody() {
            return Err(ownerless(asked.caller.era()));
        }
        let mut at = self.begin(asked, &owner)?;
        let (mine, mut page, mut failed) = (self.created.of(&owner), Page::default(), None);
        let mut asks = 0;
        while let Some(place) = (at.place..self.providers.len()).find(|place| asked.offers_tasks(*place)) {
            if place != at.place {
                at = At { place, cursor: None };
            }
            if asks == ASKS_MAX || page.tasks.len() >= PAGE_ITEMS_MAX {
                return Ok(page.finish(Some(self.cursor(&owner, &at))));
            }
            asks += 1;
            let next = match self.ask(asked, &at).await {
                Ok(answer) => self.take(&mut page, &owner, &mine, place, answer),
                Err(fault) if fault.code == code::INVALID_PARAMS && at.cursor.is_some() => return Err(fault),
                Err(fault) => {
                    let (provider, why) = (self.providers[place].name(), &fault.message);
                    tracing::debug!(provider, ?why, "tasks not listed");
                    failed = Some(fault);
                    None
                }
            };
            at = At { place: if next.is_some() { place } else { place + 1 }, cursor: next };
        }
        match failed {
            Some(fault) if page.first.is_none() => Err(fault),
            _ => Ok(page.finish(None)),
        }
    }

    fn begin(&self, asked: &RoutedRequest<'_>, owner: &Owner) -> Result<At, RpcError> {
        let given = asked.request.params.read::<String>("cursor");
        let given = given.map_err(|error| RpcError::invalid_params(format!("cursor: {error}")))?;
        let Some(given) = given else { return Ok(At { place: 0, cursor: None }) };
        let open = self.key.open(Purpose::Cursor, owner, &given);
        let at = open.and_then(|(name, own)| {
            let cursor = own.strip_prefix('=').map(ToOwned::to_owned);
            Some(At { place: self.place(&name)?, cursor })
        });
        at.ok_or_else(|| RpcError::invalid_params(format!("unknown cursor {given:?}")))
    }

    fn cursor(&self, owner: &Owner, at: &At) -> String {
        let own = at.cursor.as_ref().map(|cursor| format!("={cursor}")).unwrap_or_default();
        self.key.seal(Purpose::Cursor, owner, self.providers[at.place].name(), &own)
    }

    async fn ask(&self, asked: &RoutedRequest<'_>, at: &At) -> Result<RawObject, RpcError> {
        let mut request = asked.request.clone();
        request.params.remove("cursor");
        if let Some(cursor) = &at.cursor {
            request.params.set("cursor", raw(cursor));
        }
        let provider = &self.providers[at.place];
        let result = provider.serve(&request, asked.caller, asked.responder).await?;
        RawObject::parse(result.get())
            .map_err(|error| RpcError::internal(format!("{:?}: tasks/list: {error}", provider.name())))
    }

    /// Adds what of `answer` is the owner's; returns the provider's cursor if there is more.
    fn take(
        &self,
        page: &mut Page,
        owner: &Owner,
        mine: &Mine,
        place: usize,
        answer: RawObject,
    ) -> Option<String> {
        let name = self.providers[place].name();
        for mut task in answer.read::<Vec<RawObject>>("tasks").ok().flatten().unwrap_or_default() {
            if place >= self.natives {
                if !task.text("taskId").is_some_and(|own| mine.has(name, &own)) {
                    continue;
                }
                Says::IsTask.show(&mut task, &|own| self.key.seal(Purpose::Task, owner, name, own));
            }
            page.tasks.push(task.to_raw());
        }
        let next = answer.text("nextCursor");
        page.first.get_or_insert(answer);
        next
    }
}

/// Without an owner there is nothing to show; 2026-07-28 has no such method at all.
fn ownerless(era: Era) -> RpcError {
    let why = format!("{} shows a client's own tasks: it needs a session or credentials", Method::TasksList);
    match era {
        Era::Legacy => RpcError::invalid_params(why),
        Era::Modern => RpcError { message: why, ..RpcError::method_not_found(era, &Method::TasksList) },
    }
}
