//! One endpoint over HTTP: requests out, and what comes back as JSON or as events, both bounded.
//!
//! Redirects are not followed and no header of a client is passed on: what is sent beside the protocol's own
//! headers is the operator's.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::causes::with_causes;
use crate::upstream::options::UpstreamOptions;

use super::sse::{SseEvent, SseParser};

/// Longest body of a refusal that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long an idle connection is kept. Below the 5 s after which common servers (Node, uvicorn) close it
/// themselves: a request on a connection that is just being closed is lost, and may not be sent twice.
const IDLE_KEPT: Duration = Duration::from_secs(4);

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client(options: &UpstreamOptions) -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_millis(options.gateway.connect_timeout_ms)));
    tcp.enforce_http(false);
    let tls = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_all_versions();
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_KEPT)
        .pool_max_idle_per_host(options.gateway.pool_connections as usize)
        .build(tls.wrap_connector(tcp))
}

/// Where to send, and with which headers of the operator.
pub(super) struct Endpoint {
    client: HttpClient,
    uri: Uri,
    headers: HeaderMap,
    bytes_max: usize,
}

/// What came back.
pub(super) enum Reply {
    /// One message, and the headers that came with it.
    Json(Bytes, HeaderMap),
    /// Events.
    Events(EventStream, HeaderMap),
    /// Nothing, and that is fine (202, 204).
    Nothing,
    /// Another status, with the head of its body.
    Refused(StatusCode, Bytes),
}

impl Endpoint {
    /// URL and headers were proven by the check of `options`.
    pub(super) fn new(options: &UpstreamOptions) -> Endpoint {
        let uri = options.upstream.url.as_deref().and_then(|url| url.parse().ok());
        let read = |(name, value): &(String, String)| {
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        };
        Endpoint {
            client: client(options),
            uri: uri.unwrap_or_else(|| Uri::from_static("http://invalid.invalid/")),
            headers: options.headers.iter().filter_map(read).collect(),
            bytes_max: options.gateway.message_bytes_max,
        }
    }

    /// Sends one encoded message.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn post(&self, mut headers: HeaderMap, message: Bytes) -> Result<Reply, String> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        self.send(Method::POST, headers, message).await
    }

    /// Opens an event stream.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get(&self, mut headers: HeaderMap) -> Result<Reply, String> {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.send(Method::GET, headers, Bytes::new()).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// Why that is not known to have worked.
    pub(super) async fn delete(&self, headers: HeaderMap) -> Result<Reply, String> {
        self.send(Method::DELETE, headers, Bytes::new()).await
    }

    async fn send(&self, method: Method, headers: HeaderMap, body: Bytes) -> Result<Reply, String> {
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        // The protocol's own headers win over the operator's.
        for (name, value) in &headers {
            request.headers_mut().insert(name, value.clone());
        }
        let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
        let (head, body) = response.into_parts();
        if matches!(head.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(Reply::Nothing);
        }
        if head.status != StatusCode::OK {
            let body = whole(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
            return Ok(Reply::Refused(head.status, body));
        }
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return Ok(Reply::Events(EventStream::new(body, self.bytes_max), head.headers));
        }
        let body = whole(body, self.bytes_max).await?;
        if body.is_empty() {
            return Ok(Reply::Nothing);
        }
        Ok(Reply::Json(body, head.headers))
    }
}

/// The whole body on one line: JSON allows a space where it allows a line end.
async fn whole(body: Incoming, bytes_max: usize) -> Result<Bytes, String> {
    let whole = Limited::new(body, bytes_max).collect().await;
    let whole = whole.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => with_causes(&*error),
        Err(_) => format!("its answer is longer than {bytes_max} bytes"),
    })?;
    Ok(one_line(whole.to_bytes()))
}

fn one_line(bytes: Bytes) -> Bytes {
    if !bytes.iter().any(|b| matches!(b, b'\n' | b'\r')) {
        return bytes;
    }
    bytes.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect()
}

/// Events as they come. [`EventStream::next`] may be cancelled without loss; dropped, the stream is closed.
pub(super) struct EventStream {
    body: Pin<Box<Incoming>>,
    parser: SseParser,
}

impl EventStream {
    fn new(body: Incoming, bytes_max: usize) -> EventStream {
        EventStream { body: Box::pin(body), parser: SseParser::new(bytes_max) }
    }

    /// The next event; `None` at the end, however it came.
    pub(super) async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.parser.next() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(chunk) = frame.data_ref() {
                self.parser.feed(chunk);
            }
        }
    }
}
