//! The router itself: follows the providers' catalogs, routes each request by name, URI, reference or task.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::by_task::Tasks;
use super::follow::{follow, follow_events};
use super::headers::HeaderParam;
use super::merge::{Merged, Route};
use super::names::{Naming, prefixed};
use super::task_key::TaskKey;
use crate::mcp::{
    CallResult, Caller, Catalog, Era, Event, ListKind, Method, Notification, Provider, RawObject, Request,
    Responder, Routing, RpcError, Served, TaskName, add_cache_meta, code, raw,
};

/// Events of all providers that may wait for the slowest reader; one that lags takes it as "anything may have
/// changed".
const EVENTS_KEPT: usize = 1024;

/// Routes requests to providers and shows their lists as one.
pub struct Router {
    providers: Arc<[Arc<dyn Provider>]>,
    tasks: Tasks,
    legacy: watch::Receiver<Arc<Merged>>,
    modern: watch::Receiver<Arc<Merged>>,
    legacy_catalog: watch::Receiver<Arc<Catalog>>,
    modern_catalog: watch::Receiver<Arc<Catalog>>,
    events: broadcast::Sender<Event>,
}

impl Router {
    /// Starts the tasks that follow `providers`; they end with `stop`. `natives` of them, from the first, are
    /// the node's own. `task_key` seals the ids of the others' tasks.
    #[must_use]
    pub fn start(
        providers: Vec<Arc<dyn Provider>>,
        natives: usize,
        naming: Naming,
        task_key: TaskKey,
        stop: &CancellationToken,
    ) -> Arc<Router> {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (legacy, legacy_catalog) = follow(&providers, natives, naming, Era::Legacy, stop);
        let (modern, modern_catalog) = follow(&providers, natives, naming, Era::Modern, stop);
        for (place, provider) in providers.iter().enumerate() {
            let names = if provider.catalog(Era::Legacy).is_some() { legacy.clone() } else { modern.clone() };
            let upstream = (place >= natives).then(|| provider.name().into());
            let (from, to) = (provider.events(), events.clone());
            tokio::spawn(follow_events(place, upstream, from, to, names, stop.clone()));
        }
        let providers: Arc<[_]> = providers.into();
        let tasks = Tasks::new(providers.clone(), natives, task_key);
        Arc::new(Router { providers, tasks, legacy, modern, legacy_catalog, modern_catalog, events })
    }

    /// The merged catalog of `era`, names as clients see them.
    #[must_use]
    pub fn catalog(&self, era: Era) -> watch::Receiver<Arc<Catalog>> {
        match era {
            Era::Legacy => self.legacy_catalog.clone(),
            Era::Modern => self.modern_catalog.clone(),
        }
    }

    /// Events outside requests, of all providers.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells every provider of a client's notification.
    pub fn notify(&self, notification: &Notification, caller: &Caller) {
        for provider in &*self.providers {
            provider.notify(notification, caller);
        }
    }

    /// Tells every provider that a legacy session ended.
    pub fn session_ended(&self, session_key: &str) {
        for provider in &*self.providers {
            provider.session_ended(session_key);
        }
        self.tasks.session_ended(session_key);
    }

    /// The task that a modern listener names by `id`; `None` if it is not its own, or can be nobody's.
    #[must_use]
    pub fn task(&self, caller: &Caller, id: &str) -> Option<TaskName> {
        let merged = self.merged(Era::Modern);
        let natives_offer = (0..self.tasks.natives).any(|place| merged.offers_tasks(place));
        self.tasks.name(caller, id, natives_offer)
    }

    /// The params of a notification about `task` as this caller may see them.
    #[must_use]
    pub fn task_params(&self, caller: &Caller, task: &TaskName, params: &RawValue) -> RawObject {
        self.tasks.params_for(caller, task, params)
    }

    /// The parameters of `tool` that modern clients repeat in headers.
    #[must_use]
    pub fn header_params(&self, era: Era, tool: &str) -> Vec<HeaderParam> {
        self.merged(era).header_params(tool)
    }

    /// The page of the list `kind` that `params` ask for, as `stamp` completes it when the list is new.
    ///
    /// # Errors
    /// -32602 for a cursor that is not one of ours.
    pub fn page(
        &self,
        era: Era,
        kind: ListKind,
        params: &RawObject,
        stamp: impl FnOnce(Box<RawValue>) -> Box<RawValue>,
    ) -> Result<Arc<RawValue>, RpcError> {
        let cursor = params.read::<String>("cursor");
        let cursor = cursor.map_err(|error| RpcError::invalid_params(format!("cursor: {error}")))?;
        self.merged(era).page(kind, cursor.as_deref(), stamp)
    }

    /// Lets the provider serve that the request names; lists are not served but are [`Router::page`]s.
    ///
    /// # Errors
    /// The provider's own fault; -32602 for an unknown tool, prompt or task; the era's "resource not found";
    /// -32601 for an unknown method.
    pub fn serve<'a>(
        &'a self,
        request: &'a Request,
        caller: &'a Caller,
        responder: &'a Responder,
    ) -> Served<'a> {
        Box::pin(async move {
            let merged = self.merged(caller.era());
            let asked = RoutedRequest { merged: &merged, request, caller, responder };
            let result = match request.method.routing() {
                Routing::Name(kind) => self.by_name(&asked, kind).await,
                Routing::Uri => self.by_uri(&asked).await,
                Routing::Reference => self.by_reference(&asked).await,
                Routing::All => self.to_all(&asked).await,
                Routing::Task => self.tasks.serve(&asked).await,
                Routing::List(_) | Routing::Edge => {
                    Err(RpcError::method_not_found(caller.era(), &request.method))
                }
            }?;
            Ok(match request.method.ttl_ms() {
                Some(ttl_ms) if caller.era() == Era::Modern => add_cache_meta(&result, ttl_ms, "private"),
                _ => result,
            })
        })
    }

    fn merged(&self, era: Era) -> Arc<Merged> {
        match era {
            Era::Legacy => self.legacy.borrow().clone(),
            Era::Modern => self.modern.borrow().clone(),
        }
    }

    async fn by_name(&self, asked: &RoutedRequest<'_>, kind: ListKind) -> CallResult {
        let name = asked.request.params.required("name")?;
        let Some(route) = asked.merged.route(kind, &name) else {
            return Err(RpcError::invalid_params(format!("unknown {} {name:?}", kind.noun())));
        };
        self.forward(asked, route, "name", &name).await
    }

    /// By the list, then by the templates, then whoever offers resources may know a URI that it does not
    /// list.
    async fn by_uri(&self, asked: &RoutedRequest<'_>) -> CallResult {
        let uri = asked.request.params.required("uri")?;
        if let Some(route) = asked.merged.route(ListKind::Resources, &uri) {
            return self.forward(asked, route, "uri", &uri).await;
        }
        if let Some(route) = self.by_template(asked.merged, &uri) {
            return self.forward(asked, &route, "uri", &uri).await;
        }
        for (provider, offers) in asked.merged.offers.iter().enumerate() {
            if offers.0.get("resources").is_none() {
                continue;
            }
            let route = Route { provider, own: uri.as_str().into() };
            match self.forward(asked, &route, "uri", &uri).await {
                Err(fault) if is_not_found(&fault) => {}
                answer => return answer,
            }
        }
        Err(RpcError::resource_not_found(asked.caller.era(), &uri))
    }

    /// The template whose literal ends fit `uri`, the longest start first.
    fn by_template(&self, merged: &Merged, uri: &str) -> Option<Route> {
        let fits = merged.templates().filter_map(|(template, route)| {
            let (start, _) = template.split_once('{')?;
            let (_, end) = template.rsplit_once('}')?;
            let fits = uri.len() >= start.len() + end.len() && uri.starts_with(start) && uri.ends_with(end);
            fits.then_some((start.len(), template, route))
        });
        let (_, template, route) = fits.max_by_key(|(start, template, _)| (*start, (*template).clone()))?;
        let name = self.providers[route.provider].name();
        let prefix = prefixed(ListKind::Templates, name, "");
        let is_prefixed = **template != *route.own && uri.starts_with(&prefix);
        let own = if is_prefixed { &uri[prefix.len()..] } else { uri };
        Some(Route { provider: route.provider, own: own.into() })
    }

    async fn by_reference(&self, asked: &RoutedRequest<'_>) -> CallResult {
        let reference = asked.request.params.read::<RawObject>("ref").ok().flatten();
        let reference =
            reference.ok_or_else(|| RpcError::invalid_params("params.ref is missing or no object"))?;
        let (kind, member) = match reference.text("type").as_deref() {
            Some("ref/prompt") => (ListKind::Prompts, "name"),
            Some("ref/resource") => (ListKind::Templates, "uri"),
            _ => return Err(RpcError::invalid_params("params.ref.type must be ref/prompt or ref/resource")),
        };
        let name = reference.required(member)?;
        let route =
            asked.merged.route(kind, &name).or_else(|| asked.merged.route(ListKind::Resources, &name));
        let Some(route) = route else {
            return Err(RpcError::invalid_params(format!("params.ref names an unknown {member} {name:?}")));
        };
        let mut own = reference.clone();
        own.set(member, raw(&*route.own));
        let mut request = asked.request.clone();
        request.params.set("ref", own.to_raw());
        self.ask(asked, route.provider, &request).await
    }

    async fn to_all(&self, asked: &RoutedRequest<'_>) -> CallResult {
        let capability = asked.request.method.capability().unwrap_or_default();
        for (provider, offers) in self.providers.iter().zip(&asked.merged.offers) {
            if offers.0.get(capability).is_some()
                && let Err(fault) = provider.serve(asked.request, asked.caller, asked.responder).await
            {
                let method = &*asked.request.method;
                tracing::debug!(provider = provider.name(), fault = ?fault.message, method, "not taken");
            }
        }
        Ok(RawObject::new().to_raw())
    }

    async fn ask(&self, asked: &RoutedRequest<'_>, place: usize, request: &Request) -> CallResult {
        let result = self.providers[place].serve(request, asked.caller, asked.responder).await?;
        Ok(self.tasks.shown(asked, place, result))
    }

    async fn forward(
        &self,
        asked: &RoutedRequest<'_>,
        route: &Route,
        member: &str,
        shown: &str,
    ) -> CallResult {
        if *route.own == *shown {
            return self.ask(asked, route.provider, asked.request).await;
        }
        let mut request = asked.request.clone();
        request.params.set(member, raw(&*route.own));
        let result = self.ask(asked, route.provider, &request).await?;
        Ok(if request.method == Method::ResourcesRead {
            shown_contents(&result, &route.own, shown)
        } else {
            result
        })
    }
}

/// A read resource names itself in its contents: there too it gets the name that the client used.
fn shown_contents(result: &RawValue, own: &str, shown: &str) -> Box<RawValue> {
    let Ok(mut members) = RawObject::parse(result.get()) else { return result.to_owned() };
    let Ok(Some(mut contents)) = members.read::<Vec<RawObject>>("contents") else { return result.to_owned() };
    for content in &mut contents {
        if content.text("uri").as_deref() == Some(own) {
            content.set("uri", raw(shown));
        }
    }
    members.set("contents", raw(&contents));
    members.to_raw()
}

/// One request on its way to a provider.
pub(super) struct RoutedRequest<'a> {
    merged: &'a Merged,
    pub(super) request: &'a Request,
    pub(super) caller: &'a Caller,
    pub(super) responder: &'a Responder,
}

impl RoutedRequest<'_> {
    /// Whether the provider in `place` has tasks for this caller's era.
    pub(super) fn offers_tasks(&self, place: usize) -> bool {
        self.merged.offers_tasks(place)
    }
}

fn is_not_found(fault: &RpcError) -> bool {
    [code::RESOURCE_NOT_FOUND_LEGACY, code::INVALID_PARAMS, code::METHOD_NOT_FOUND].contains(&fault.code)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mcp::{Item, LEGACY_LATEST, List, Message, parse};

    /// Answers each request with what it was asked, so that a test sees what arrived.
    struct Mirror {
        name: &'static str,
        catalog: watch::Sender<Arc<Catalog>>,
        events: broadcast::Sender<Event>,
        knows: &'static [&'static str],
    }

    impl Provider for Mirror {
        fn name(&self) -> &str {
            self.name
        }
        fn catalog(&self, _: Era) -> Option<watch::Receiver<Arc<Catalog>>> {
            Some(self.catalog.subscribe())
        }
        fn events(&self) -> broadcast::Receiver<Event> {
            self.events.subscribe()
        }
        fn serve<'a>(&'a self, request: &'a Request, caller: &'a Caller, _: &'a Responder) -> Served<'a> {
            Box::pin(async move {
                if let Some(uri) = request.params.text("uri") {
                    if !self.knows.contains(&&*uri) {
                        return Err(RpcError::resource_not_found(caller.era(), &uri));
                    }
                    let contents = [BTreeMap::from([("uri", uri.as_str()), ("from", self.name)])];
                    return Ok(raw(&BTreeMap::from([("contents", contents)])));
                }
                let mut seen = request.params.clone();
                seen.set("from", raw(self.name));
                Ok(seen.to_raw())
            })
        }
        fn notify(&self, _: &Notification, _: &Caller) {}
        fn session_ended(&self, _: &str) {}
    }

    fn list(kind: ListKind, keys: &[&str], version: u64) -> List {
        let items = keys.iter().map(|key| {
            let value = raw(&BTreeMap::from([(kind.key(), key)]));
            Item::read(kind, &value).unwrap()
        });
        List { version, items: items.collect() }
    }

    fn mirror(
        name: &'static str,
        tools: &[&str],
        resources: &[&str],
        knows: &'static [&'static str],
    ) -> Arc<Mirror> {
        let mut offers = RawObject::new();
        offers.set("resources", raw(&serde_json::json!({})));
        let catalog = Catalog {
            offers: crate::mcp::ServerCapabilities(offers),
            tools: list(ListKind::Tools, tools, 1),
            resources: list(ListKind::Resources, resources, 1),
            templates: list(ListKind::Templates, &[&format!("{name}://{{id}}/x")], 1),
            ..Catalog::default()
        };
        let (catalog, _) = watch::channel(Arc::new(catalog));
        Arc::new(Mirror { name, catalog, events: broadcast::channel(8).0, knows })
    }

    fn caller() -> Caller {
        Caller {
            version: LEGACY_LATEST,
            principal: crate::mcp::ANONYMOUS.into(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            capabilities: Arc::default(),
            client_info: None,
            log_level: None,
            session: None,
        }
    }

    async fn ask(router: &Router, method: &str, params: &str) -> Result<String, i64> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let Ok(Message::Request(request)) = parse(text.as_bytes()) else { panic!("no request: {text}") };
        let (responder, _frames) = Responder::new(None, CancellationToken::new());
        let answer = router.serve(&request, &caller(), &responder).await;
        answer.map(|result| result.get().to_owned()).map_err(|fault| fault.code)
    }

    fn start(providers: &[Arc<Mirror>]) -> (Arc<Router>, tokio_util::sync::DropGuard) {
        let stop = CancellationToken::new();
        let all = providers.iter().map(|p| p.clone() as Arc<dyn Provider>).collect();
        (Router::start(all, 0, Naming::OnConflict, TaskKey::derive(b"test"), &stop), stop.drop_guard())
    }

    #[tokio::test]
    async fn a_call_reaches_its_provider_under_the_providers_own_name() {
        let (router, _stop) = start(&[mirror("a", &["x", "y"], &[], &[]), mirror("b", &["x"], &[], &[])]);
        let big = r#"{"name":"b__x","arguments":{"n":123456789012345678901234567890}}"#;
        let answer = ask(&router, "tools/call", big).await.unwrap();
        assert!(answer.contains(r#""from":"b""#) && answer.contains(r#""name":"x""#), "{answer}");
        assert!(answer.contains("123456789012345678901234567890"), "{answer}");
        assert_eq!(ask(&router, "tools/call", r#"{"name":"x"}"#).await, Err(-32602));
        assert_eq!(ask(&router, "tools/call", "{}").await, Err(-32602));
        assert_eq!(ask(&router, "nonsense", "{}").await, Err(-32601));
        let cursor = RawObject::parse(r#"{"cursor":7}"#).unwrap();
        let refused = router.page(Era::Legacy, ListKind::Tools, &cursor, |result| result);
        assert_eq!(refused.unwrap_err().code, -32602);
    }

    #[tokio::test]
    async fn a_resource_is_found_by_list_by_template_and_by_asking() {
        let providers = [
            mirror("a", &[], &["t://same"], &["t://same", "a://7/x"]),
            mirror("b", &[], &["t://same"], &["t://same", "hidden://z"]),
        ];
        let (router, _stop) = start(&providers);
        for (uri, from) in [("a://7/x", "a"), ("hidden://z", "b"), ("b+t://same", "b")] {
            let answer = ask(&router, "resources/read", &format!(r#"{{"uri":"{uri}"}}"#)).await.unwrap();
            assert_eq!(answer, format!(r#"{{"contents":[{{"from":"{from}","uri":"{uri}"}}]}}"#));
        }
        assert_eq!(ask(&router, "resources/read", r#"{"uri":"none://"}"#).await, Err(-32002));
    }

    #[tokio::test]
    async fn a_directory_is_read_from_the_provider_that_has_it() {
        let providers = [mirror("a", &[], &[], &["skill://x"]), mirror("b", &[], &[], &["skill://y"])];
        let (router, _stop) = start(&providers);
        let read = async |uri: &str| {
            ask(&router, "resources/directory/read", &format!(r#"{{"uri":"{uri}"}}"#)).await
        };
        assert!(read("skill://y").await.unwrap().contains(r#""from":"b""#));
        assert_eq!(read("skill://z").await, Err(-32002));
    }

    #[tokio::test]
    async fn a_changed_catalog_is_seen_and_its_new_tool_can_be_called() {
        let provider = mirror("a", &["x"], &[], &[]);
        let (router, _stop) = start(std::slice::from_ref(&provider));
        let mut catalog = router.catalog(Era::Legacy);
        let before = catalog.borrow_and_update().tools.version;
        let next = Catalog { tools: list(ListKind::Tools, &["x", "new"], 2), ..Catalog::default() };
        provider.catalog.send(Arc::new(next)).unwrap();
        catalog.changed().await.unwrap();
        assert!(catalog.borrow().tools.version > before);
        assert!(ask(&router, "tools/call", r#"{"name":"new"}"#).await.is_ok());
    }

    #[tokio::test]
    async fn an_event_names_the_resource_as_clients_do() {
        let providers = [mirror("a", &[], &["t://same"], &[]), mirror("b", &[], &["t://same"], &[])];
        let (router, _stop) = start(&providers);
        let mut events = router.events();
        providers[1].events.send(Event::ResourceUpdated { uri: "t://same".into() }).unwrap();
        let Event::ResourceUpdated { uri } = events.recv().await.unwrap() else { panic!("another event") };
        assert_eq!(&*uri, "b+t://same");
    }
}
