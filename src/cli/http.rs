//! A very small HTTP client for asking a node: one request, one bounded answer, one deadline.
//!
//! Plain HTTP only, as nodes listen on loopback or behind a proxy. A token goes in a header and never
//! into a URL or a message.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Time to be told a state. A node that takes longer is in trouble.
const VIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for an action of an operator: longer than the node itself waits for it by default
/// (`raft.operate_timeout_ms`), so that its own words arrive.
const ACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The address is not one we can call.
    #[error("\"{url}\" is no address of a node; it must look like http://127.0.0.1:8080")]
    Address {
        /// Address as it was given.
        url: String,
    },
    /// Nobody is there.
    #[error("no node answers at {url} ({why})")]
    Unreachable {
        /// Whom we called.
        url: String,
        /// Why not.
        why: String,
    },
    /// An action was sent and nothing is known of its fate.
    #[error("{url} may or may not have done it ({why}); look at: erlmcp-node status")]
    Unknown {
        /// Whom we called.
        url: String,
        /// Why we do not know.
        why: String,
    },
    /// Somebody is there but does not answer properly.
    #[error("{url} gives no proper answer: {why}")]
    Broken {
        /// Whom we called.
        url: String,
        /// Reason.
        why: String,
    },
}

/// Answer of a node.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// The client.
#[derive(Clone)]
pub(super) struct HttpCaller {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpCaller {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        HttpCaller { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    pub(super) async fn get(&self, base: &str, path: &str) -> Result<HttpAnswer, CallError> {
        self.call(base, path, Request::builder().method(Method::GET), Bytes::new()).await
    }

    pub(super) async fn post(
        &self,
        base: &str,
        path: &str,
        token: &str,
        body: Vec<u8>,
    ) -> Result<HttpAnswer, CallError> {
        let request = Request::builder()
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.call(base, path, request, body.into()).await
    }

    async fn call(
        &self,
        base: &str,
        path: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<HttpAnswer, CallError> {
        let base = base.trim_end_matches('/');
        let url = format!("{base}{path}");
        let bad = || CallError::Address { url: base.to_string() };
        if !base.starts_with("http://") {
            return Err(bad());
        }
        let request = request
            .uri(&url)
            .header(header::ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|_| bad())?;
        let base = base.to_string();
        let is_view = request.method() == Method::GET;
        let limit = if is_view { VIEW_TIMEOUT } else { ACTION_TIMEOUT };
        let late = |_| {
            let (url, why) = (base.clone(), format!("no answer in {} s", limit.as_secs()));
            if is_view { CallError::Unreachable { url, why } } else { CallError::Unknown { url, why } }
        };
        tokio::time::timeout(limit, self.exchange(&base, request)).await.unwrap_or_else(|e| Err(late(e)))
    }

    async fn exchange(&self, base: &str, request: Request<Full<Bytes>>) -> Result<HttpAnswer, CallError> {
        let response = self.client.request(request).await.map_err(|error| {
            let (url, why) = (base.to_string(), root_cause(&error));
            if error.is_connect() {
                CallError::Unreachable { url, why }
            } else {
                CallError::Broken { url, why }
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| CallError::Broken { url: base.to_string(), why: root_cause(error.as_ref()) })?;
        Ok(HttpAnswer { status, body: body.to_bytes() })
    }
}

/// The innermost reason, in the system's words but without its number.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn serve(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = vec![0; 4096];
            let n = stream.read(&mut seen).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&seen[..n]).to_lowercase()
        });
        (url, server)
    }

    #[tokio::test]
    async fn an_answer_comes_with_status_and_body() {
        let (url, server) = serve("HTTP/1.1 503 X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        let answer = HttpCaller::new().get(&format!("{url}/"), "/readyz").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (503, b"{}".as_slice()));
        assert!(server.join().unwrap().starts_with("get /readyz http/1.1"));
    }

    #[tokio::test]
    async fn the_token_goes_in_the_header() {
        let (url, server) = serve("HTTP/1.1 200 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        HttpCaller::new().post(&url, "/cluster/drain", "t0ken", b"{}".to_vec()).await.unwrap();
        assert!(server.join().unwrap().contains("authorization: bearer t0ken\r\n"));
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address_and_the_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = HttpCaller::new().get(&url, "/").await.unwrap_err().to_string();
        assert_eq!(error, format!("no node answers at {url} (connection refused)"));
    }

    #[tokio::test]
    async fn something_that_is_no_node_is_told_apart_from_nobody() {
        let (url, server) = serve("SSH-2.0-Open\r\n\r\n");
        let error = HttpCaller::new().get(&url, "/").await.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. }), "{error}");
        server.join().unwrap();
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused() {
        for url in ["https://h", "127.0.0.1:8080", "http://"] {
            let error = HttpCaller::new().get(url, "/").await.unwrap_err();
            assert!(matches!(error, CallError::Address { .. }), "{url}: {error}");
        }
    }
}
