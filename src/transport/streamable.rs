//! Streamable HTTP on one path: POST brings a message, GET opens a legacy session's stream, DELETE ends the
//! session.
//!
//! Checks run from cheap to dear, and before the body is read wherever they can.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};

use super::answer::{self, SESSION_ID};
use super::body::BodyLimits;
use super::{HttpService, OriginError, Principal, body, headers, legacy, modern};
use crate::client_address::ClientAddress;
use crate::exchange::{MessageOrigin, Rejected, Reply, VersionHeader, detect_revision, parse_revision};
use crate::mcp::{Era, Message, RpcError, parse};
use crate::refusal::Refusal;

const METHODS: &str = "GET, POST, DELETE, OPTIONS";
/// Headers of ours that pages may read.
const EXPOSED: &str = "Mcp-Session-Id, Mcp-Protocol-Version, Retry-After, WWW-Authenticate";

/// Serves one HTTP request.
pub(super) async fn handle(service: Arc<HttpService>, request: Request<Body>) -> Response {
    let origin = match service.host_check.check(request.uri(), request.headers()) {
        Ok(origin) => origin,
        Err(foreign) => return refuse_origin(&service, &foreign),
    };
    let (is_stopping, version) = (service.exchange.stop().is_cancelled(), request.version());
    let answered = match *request.method() {
        Method::POST | Method::GET if is_stopping => Ok(stopping(&service, version)),
        Method::OPTIONS => Ok(preflight(request.headers())),
        Method::POST => post(&service, request).await,
        Method::GET => get(&service, &request),
        Method::DELETE => delete(&service, &request),
        _ => Ok(not_allowed(METHODS)),
    };
    let mut response = answered.unwrap_or_else(|refused| service.refuse(&refused, version));
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

async fn post(service: &Arc<HttpService>, request: Request<Body>) -> Result<Response, Rejected> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    check_content(headers)?;
    if !(accepts(headers, "application", "json") && accepts(headers, "text", "event-stream")) {
        let text = "Accept must list application/json and text/event-stream";
        return Err(RpcError::invalid_request(text).with_status(406).into());
    }
    let http = &service.config.http;
    let limits = BodyLimits {
        bytes_max: http.body_bytes_max,
        time_ms: http.first_message_timeout_ms,
        budget: &service.bodies,
        sender: address(&parts.extensions),
    };
    let (body, charged) = body::read(headers, body, limits).await?;
    let mut message = parse(&body)?;
    drop(body);
    let version = version_header(headers).map_err(|fault| Rejected { id: id_of(&message), fault })?;
    let revision = detect_revision(&message, version)?;
    if let (Message::Request(request), Era::Modern) = (&mut message, revision.era()) {
        let params_of = |tool: &str| service.exchange.header_params(tool);
        headers::check(headers, request, params_of).map_err(|fault| Rejected::of(&request.id, fault))?;
        request.param_headers = headers::params(headers);
    }
    let is_modern = revision.era() == Era::Modern;
    let reply = service.exchange.receive(message, revision, sender(service, &parts))?;
    Ok(match reply {
        Reply::Accepted => answer::empty(StatusCode::ACCEPTED),
        Reply::Answer(outcome) => modern::answered(service, outcome, is_modern && prefers_stream(headers)),
        Reply::Opened(outcome, session) => {
            let mut response = answer::json(outcome, service.jitter());
            let Ok(id) = HeaderValue::from_str(session.id()) else { unreachable!("an id is visible ASCII") };
            response.headers_mut().insert(SESSION_ID, id);
            response
        }
        Reply::Call(call, session) => {
            let call = call.holding(charged);
            match session {
                Some(session) => legacy::respond(service, call, session).await,
                None => modern::respond(service, call, prefers_stream(headers)).await,
            }
        }
    })
}

fn get(service: &Arc<HttpService>, request: &Request<Body>) -> Result<Response, Rejected> {
    if is_modern(request.headers())? {
        return Ok(not_allowed("POST, OPTIONS"));
    }
    if !accepts(request.headers(), "text", "event-stream") {
        return Err(RpcError::invalid_request("Accept must list text/event-stream").with_status(406).into());
    }
    let session = service.exchange.session(sender(service, request))?;
    legacy::listen(service, &session, request.headers())
}

fn delete(service: &Arc<HttpService>, request: &Request<Body>) -> Result<Response, Rejected> {
    if is_modern(request.headers())? {
        return Ok(not_allowed("POST, OPTIONS"));
    }
    let session = service.exchange.session(sender(service, request))?;
    service.exchange.end(&session);
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// The parts of a request that say who sends it.
trait Head {
    fn headers(&self) -> &HeaderMap;
    fn extensions(&self) -> &Extensions;
}

impl Head for Request<Body> {
    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
    fn extensions(&self) -> &Extensions {
        self.extensions()
    }
}

impl Head for http::request::Parts {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

fn sender<'a>(service: &'a HttpService, head: &'a impl Head) -> MessageOrigin<'a> {
    let known = head.extensions();
    MessageOrigin {
        principal: known.get().map_or(&service.anonymous, |principal: &Principal| &principal.0),
        session_id: head.headers().get(SESSION_ID).and_then(|id| id.to_str().ok()),
        address: address(known),
        arrival: known.get().copied().unwrap_or_default(),
    }
}

fn address(known: &Extensions) -> IpAddr {
    known.get().map_or(IpAddr::from([0; 4]), |client: &ClientAddress| client.0)
}

fn id_of(message: &Message) -> Option<crate::mcp::Id> {
    match message {
        Message::Request(request) => Some(request.id.clone()),
        Message::Notification(_) | Message::Response(_) => None,
    }
}

fn version_header(headers: &HeaderMap) -> Result<VersionHeader<'_>, RpcError> {
    Ok(headers::single(headers, "mcp-protocol-version")?.map_or(VersionHeader::Missing, VersionHeader::Is))
}

/// Whether a request without a body is of the modern era, which has none.
fn is_modern(headers: &HeaderMap) -> Result<bool, RpcError> {
    match version_header(headers)? {
        VersionHeader::Is(text) => Ok(parse_revision(text)?.era() == Era::Modern),
        VersionHeader::Missing | VersionHeader::NoSuchThing => Ok(false),
    }
}

fn check_content(headers: &HeaderMap) -> Result<(), RpcError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(RpcError::invalid_request("Content-Type must be application/json").with_status(415));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(RpcError::invalid_request("Content-Encoding is not taken here").with_status(415))
        }
        _ => Ok(()),
    }
}

/// Whether the client takes `kind/name`; one that says nothing takes everything (RFC 9110, section 12.5.1).
fn accepts(headers: &HeaderMap, kind: &str, name: &str) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let ranges = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.map(|range| range.split(';').next().unwrap_or_default().trim()).any(|range| {
        let Some((range_kind, range_name)) = range.split_once('/') else { return false };
        range == "*/*"
            || range_kind.eq_ignore_ascii_case(kind)
                && (range_name == "*" || range_name.eq_ignore_ascii_case(name))
    })
}

/// Whether the client would rather have a stream than JSON: it gives it more weight, or the same and names it
/// first.
fn prefers_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut stream, mut json) = (None, None);
    for (place, range) in values.flat_map(|value| value.split(',')).enumerate() {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        let rank = (weight.unwrap_or(0.0), std::cmp::Reverse(place));
        if kind.eq_ignore_ascii_case("text/event-stream") {
            stream = stream.or(Some(rank));
        } else if kind.eq_ignore_ascii_case("application/json") {
            json = json.or(Some(rank));
        }
    }
    matches!((stream, json), (Some(stream), Some(json)) if stream > json)
}

/// The origin is one of ours by now, so its pages may send what they ask to.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn not_allowed(methods: &'static str) -> Response {
    let text = format!("only {methods} are served here");
    let mut response = answer::fault(RpcError::invalid_request(text).with_status(405));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// A client that is still connected to a node that drains.
fn stopping(service: &HttpService, version: Version) -> Response {
    service.exchange.recorder().refused(Refusal::Stopping.name());
    let mut response = answer::refusal(Refusal::Stopping, service.jitter());
    answer::close(&mut response, version);
    response
}

fn refuse_origin(service: &HttpService, foreign: &OriginError) -> Response {
    service.exchange.recorder().refused(match foreign {
        OriginError::Host => "foreign_host",
        OriginError::Origin => "foreign_origin",
    });
    answer::fault(RpcError::invalid_request(foreign.to_string()).with_status(403))
}

impl HttpService {
    fn refuse(&self, refused: &Rejected, version: Version) -> Response {
        self.exchange.recorder().refused(refused.reason());
        let mut response = answer::json(refused.outcome(), self.jitter());
        if refused.fault.code == Refusal::Draining.code() {
            // Its next connection may reach another node.
            answer::close(&mut response, version);
        }
        response
    }

    /// Spreads what clients are told to wait.
    pub(super) fn jitter(&self) -> u64 {
        self.clock.monotonic_us()
    }
}
