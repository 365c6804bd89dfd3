//! A server as the node sees it: one provider among others.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::call::HandlerCall;
use super::calls::{CompleteCall, to_raw};
use super::prompt::Completion;
use super::registry::Registry;
use super::run::{self, HandlerFn};
use super::server::Server;
use super::tasks;
use super::tool::TaskSupport;
use super::tool_error::ToolError;
use crate::mcp::{
    CallResult, Caller, Catalog, Era, Event, ListKind, Method, Notification, Provider, RawObject, Request,
    Responder, RpcError, Served,
};

impl Provider for Server {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn catalog(&self, era: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
        Some(match era {
            Era::Legacy => self.shared.legacy.subscribe(),
            Era::Modern => self.shared.modern.subscribe(),
        })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, responder: &'a Responder) -> Served<'a> {
        let (method, era) = (&request.method, caller.era());
        match method {
            _ if !method.is_in(era) => {
                Box::pin(std::future::ready(Err(RpcError::method_not_found(era, method))))
            }
            Method::ToolsCall => Box::pin(self.call_tool(request, caller, responder)),
            Method::PromptsGet => Box::pin(self.prompt_text(request, caller, responder)),
            Method::ResourcesRead => Box::pin(self.read_resource(request, caller, responder)),
            Method::Complete => Box::pin(self.completed(request, caller, responder)),
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                Box::pin(std::future::ready(self.subscribe(request, era)))
            }
            Method::SetLevel => Box::pin(std::future::ready(Ok(RawObject::new().to_raw()))),
            method if method.is_about_task() => {
                Box::pin(std::future::ready(tasks::serve(&self.shared.tasks, request, caller)))
            }
            method => Box::pin(std::future::ready(Err(RpcError::method_not_found(era, method)))),
        }
    }

    fn notify(&self, notification: &Notification, caller: &Caller) {
        for hook in &self.shared.on_notification {
            hook(notification, caller);
        }
    }

    fn session_ended(&self, session_key: &str) {
        for hook in &self.shared.on_session_end {
            hook(session_key);
        }
    }
}

/// Handler that reads `uri`: of the resource of that name, else of the first template that fits.
fn reader(registry: &Registry, uri: &str) -> Option<HandlerFn> {
    let listed = registry.resources.find(uri).map(|entry| entry.work.clone());
    let by_pattern = || registry.templates.iter().find(|entry| entry.own.matches(uri).is_some());
    listed.or_else(|| by_pattern().map(|entry| entry.work.clone()))
}

impl Server {
    async fn call_tool(&self, request: &Request, caller: &Caller, responder: &Responder) -> CallResult {
        let name = request.params.required("name")?;
        let found = self
            .shared
            .read(|registry| registry.tools.find(&name).map(|entry| (entry.work.clone(), entry.own)));
        let is_hidden = |support| support == TaskSupport::Required && caller.era() == Era::Legacy;
        let Some((work, support)) = found.filter(|(_, support)| !is_hidden(*support)) else {
            return Err(RpcError::invalid_params(format!("unknown tool {name:?}")));
        };
        let call = HandlerCall::new(&self.shared, request, caller, responder)?;
        run::serve(work, call, support).await
    }

    async fn prompt_text(&self, request: &Request, caller: &Caller, responder: &Responder) -> CallResult {
        let name = request.params.required("name")?;
        let work = self.shared.read(|registry| registry.prompts.find(&name).map(|entry| entry.work.clone()));
        let work = work.ok_or_else(|| RpcError::invalid_params(format!("unknown prompt {name:?}")))?;
        let call = HandlerCall::new(&self.shared, request, caller, responder)?;
        run::serve(work, call, TaskSupport::Forbidden).await
    }

    async fn read_resource(&self, request: &Request, caller: &Caller, responder: &Responder) -> CallResult {
        let uri = request.params.required("uri")?;
        let work = self.shared.read(|registry| reader(registry, &uri));
        let work = work.ok_or_else(|| RpcError::resource_not_found(caller.era(), &uri))?;
        let call = HandlerCall::new(&self.shared, request, caller, responder)?;
        run::serve(work, call, TaskSupport::Forbidden).await
    }

    fn subscribe(&self, request: &Request, era: Era) -> CallResult {
        let uri = request.params.required("uri")?;
        match self.shared.read(|registry| reader(registry, &uri)) {
            Some(_) => Ok(RawObject::new().to_raw()),
            None => Err(RpcError::resource_not_found(era, &uri)),
        }
    }

    async fn completed(&self, request: &Request, caller: &Caller, responder: &Responder) -> CallResult {
        let member = |name: &str| {
            let members = request.params.read::<RawObject>(name).ok().flatten();
            members.ok_or_else(|| RpcError::invalid_params(format!("{name} is missing or no object")))
        };
        let (reference, argument) = (member("ref")?, member("argument")?);
        let (kind, name) = match reference.text("type").as_deref() {
            Some("ref/prompt") => (ListKind::Prompts, reference.required("name")?),
            Some("ref/resource") => (ListKind::Templates, reference.required("uri")?),
            _ => return Err(RpcError::invalid_params("ref.type must be ref/prompt or ref/resource")),
        };
        let key = (kind, name.as_str().into(), argument.required("name")?.into());
        let (is_known, complete) = self.shared.read(|registry| {
            let is_known = match kind {
                ListKind::Prompts => registry.prompts.find(&name).is_some(),
                _ => registry.templates.find(&name).is_some() || registry.resources.find(&name).is_some(),
            };
            (is_known, registry.completions.get(&key).cloned())
        });
        if !is_known {
            return Err(RpcError::invalid_params(format!(
                "ref names an unknown prompt or template {name:?}"
            )));
        }
        let call = CompleteCall::new(caller, &argument, &request.params)?;
        let completion = match complete {
            None => Ok(Completion::default()),
            Some(complete) => tokio::select! {
                ended = complete(call) => ended,
                () = responder.cancelled().cancelled() => Err(ToolError::failed("the request was cancelled")),
            },
        };
        match completion {
            Ok(completion) => {
                let mut result = RawObject::new();
                result.set("completion", to_raw(&completion.cut()));
                Ok(result.to_raw())
            }
            Err(ToolError::Rpc(fault)) => Err(fault),
            Err(ToolError::Failed(text)) => Err(RpcError::internal(text)),
            Err(ToolError::InputRequired(_)) => Err(RpcError::internal("a completion cannot ask for input")),
        }
    }
}
