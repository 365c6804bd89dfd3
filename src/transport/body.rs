//! Reads the body of a request within bytes and time, and stops reading as soon as it is too much.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;

use crate::mcp::RpcError;

/// Reads all of `body`.
///
/// # Errors
/// -32600 under 413 beyond `bytes_max`, under 408 after `time_ms`, under 400 if it breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    time_ms: u64,
) -> Result<Bytes, RpcError> {
    if announced(headers).is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(Duration::from_millis(time_ms), collect(body, bytes_max)).await {
        Ok(read) => read,
        Err(_) => {
            let text = format!("the message did not arrive within {time_ms} ms");
            Err(RpcError::invalid_request(text).with_status(408))
        }
    }
}

/// One frame, the usual case, is not copied.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, RpcError> {
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| RpcError::invalid_request("the message broke off"))?;
        let Ok(part) = frame.into_data() else { continue };
        if whole.len() + parts.len() + part.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if whole.is_empty() && parts.is_empty() {
            whole = part;
        } else {
            if parts.is_empty() {
                parts.extend_from_slice(&std::mem::take(&mut whole));
            }
            parts.extend_from_slice(&part);
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(bytes_max: usize) -> RpcError {
    RpcError::invalid_request(format!("a message has at most {bytes_max} bytes")).with_status(413)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn in_parts(parts: &[usize]) -> Body {
        let parts: Vec<_> =
            parts.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size]))).collect();
        Body::from_stream(stream::iter(parts))
    }

    async fn status(parts: &[usize]) -> Result<usize, u16> {
        let read = read(&HeaderMap::new(), in_parts(parts), 10, 1000).await;
        read.map(|bytes| bytes.len()).map_err(|fault| fault.status)
    }

    #[tokio::test]
    async fn the_limit_holds_one_below_at_and_above_however_it_is_cut() {
        for parts in [&[9_usize][..], &[4, 5], &[10], &[3, 3, 4]] {
            assert_eq!(status(parts).await, Ok(parts.iter().sum()));
        }
        for parts in [&[11_usize][..], &[10, 1], &[3, 3, 5]] {
            assert_eq!(status(parts).await, Err(413));
        }
    }

    #[tokio::test]
    async fn an_announced_size_is_refused_before_anything_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 11.into());
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&headers, never, 10, u64::from(u32::MAX)).await.unwrap_err().status, 413);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up_in_time() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&HeaderMap::new(), never, 10, 1000).await.unwrap_err().status, 408);
    }
}
