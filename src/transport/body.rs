//! Reads the body of a request within bytes and time, its own and the node's.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::body_budget::{BodyBudget, ChargedBody};
use crate::mcp::RpcError;

/// Bytes beyond the limit that are read and dropped, so that the refusal arrives: who still writes when the
/// connection closes often sees nothing but that.
const DROPPED_BYTES_MAX: usize = 16_777_216;
/// Time for that.
const DROPPED_TIME: Duration = Duration::from_secs(2);

/// From here on a message that comes in one piece is charged too.
const CHARGED_BYTES_MIN: usize = 16_384;

/// A body that was read, and its charge: to be kept until the message is served.
type Collected = (Bytes, Option<ChargedBody>);

/// Limits for one body.
#[derive(Clone, Copy)]
pub(super) struct BodyLimits<'a> {
    /// The most that one message has.
    pub(super) bytes_max: usize,
    /// Time for the whole of it.
    pub(super) time_ms: u64,
    /// Bytes of all bodies that arrive.
    pub(super) budget: &'a BodyBudget,
    /// The address that it comes from.
    pub(super) sender: IpAddr,
}

/// Reads all of `body`.
///
/// # Errors
/// -32600 under 413 beyond the limit, under 408 after its time or when it had to give way, under 400 if it
/// breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limits: BodyLimits<'_>,
) -> Result<Collected, RpcError> {
    let BodyLimits { bytes_max, time_ms, .. } = limits;
    if let Some(bytes) = announced(headers).filter(|bytes| *bytes > bytes_max as u64) {
        // Who waits for our word, or has far too much, is told at once.
        let is_waiting = headers.contains_key(header::EXPECT);
        if !is_waiting && bytes <= DROPPED_BYTES_MAX as u64 {
            drop_rest(body).await;
        }
        return Err(too_large(bytes_max));
    }
    let read = tokio::time::timeout(Duration::from_millis(time_ms), collect(&mut body, limits)).await;
    match read {
        Ok(Err(Stopped::TooLarge)) => {
            drop_rest(body).await;
            Err(too_large(bytes_max))
        }
        Ok(Err(Stopped::BrokeOff)) => Err(RpcError::invalid_request("the message broke off")),
        Ok(Err(Stopped::GaveWay)) => {
            let text = format!(
                "the messages that arrive and are served here hold {} bytes together, and this is the oldest \
                 that arrives of the address that holds most (http.bodies_bytes_max); try again soon",
                limits.budget.bytes_max()
            );
            Err(RpcError::invalid_request(text).with_status(408))
        }
        Ok(Ok(read)) => Ok(read),
        Err(_) => {
            let text = format!("the message did not arrive within {time_ms} ms");
            Err(RpcError::invalid_request(text).with_status(408))
        }
    }
}

/// Why a body was not read to its end.
enum Stopped {
    TooLarge,
    BrokeOff,
    GaveWay,
}

/// One small frame, the usual case, is neither copied nor charged.
async fn collect(body: &mut Body, limits: BodyLimits<'_>) -> Result<Collected, Stopped> {
    let Some(first) = next_part(body).await? else { return Ok((Bytes::new(), None)) };
    if first.len() > limits.bytes_max {
        return Err(Stopped::TooLarge);
    }
    if body.is_end_stream() && first.len() < CHARGED_BYTES_MIN {
        return Ok((first, None));
    }
    let charged = limits.budget.begin(limits.sender);
    charged.charge(first.len());
    if body.is_end_stream() {
        return if charged.arrived() { Ok((first, Some(charged))) } else { Err(Stopped::GaveWay) };
    }
    let mut parts = BytesMut::from(first);
    loop {
        let part = tokio::select! {
            biased;
            () = charged.given_up() => return Err(Stopped::GaveWay),
            part = next_part(body) => part?,
        };
        let Some(part) = part else {
            let arrived = charged.arrived();
            return if arrived { Ok((parts.freeze(), Some(charged))) } else { Err(Stopped::GaveWay) };
        };
        if parts.len() + part.len() > limits.bytes_max {
            return Err(Stopped::TooLarge);
        }
        charged.charge(part.len());
        parts.extend_from_slice(&part);
    }
}

/// The next bytes of `body`; `None` at its end. Loses nothing if it is dropped while it waits.
async fn next_part(body: &mut Body) -> Result<Option<Bytes>, Stopped> {
    while let Some(frame) = body.frame().await {
        // Trailers say nothing to us.
        if let Ok(part) = frame.map_err(|_| Stopped::BrokeOff)?.into_data() {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

/// Reads on and keeps nothing, within bytes and time.
async fn drop_rest(mut body: Body) {
    let mut dropped = 0;
    let dropping = async {
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, Bytes::len);
            if dropped > DROPPED_BYTES_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DROPPED_TIME, dropping).await;
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

    async fn read_within(headers: &HeaderMap, body: Body, time_ms: u64) -> Result<Bytes, RpcError> {
        let budget = BodyBudget::new(15);
        let sender = IpAddr::from([127, 0, 0, 1]);
        let limits = BodyLimits { bytes_max: 10, time_ms, budget: &budget, sender };
        read(headers, body, limits).await.map(|(bytes, _)| bytes)
    }

    async fn status(parts: &[usize]) -> Result<usize, u16> {
        let read = read_within(&HeaderMap::new(), in_parts(parts), 1000).await;
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

    #[tokio::test(start_paused = true)]
    async fn what_is_announced_too_long_is_dropped_within_two_seconds_and_not_awaited_by_one_who_waits() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 11.into());
        let never = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let start = tokio::time::Instant::now();
        assert_eq!(read_within(&headers, never(), u64::from(u32::MAX)).await.unwrap_err().status, 413);
        assert_eq!(start.elapsed(), DROPPED_TIME);
        headers.insert(header::EXPECT, http::HeaderValue::from_static("100-continue"));
        let start = tokio::time::Instant::now();
        assert_eq!(read_within(&headers, never(), u64::from(u32::MAX)).await.unwrap_err().status, 413);
        assert!(start.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up_in_time() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read_within(&HeaderMap::new(), never, 1000).await.unwrap_err().status, 408);
    }

    #[tokio::test]
    async fn a_body_gives_way_when_all_together_are_too_much() {
        let budget = BodyBudget::new(15);
        let reading = |last: u8| {
            let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"12345678"))]);
            let body = Body::from_stream(futures_util::StreamExt::chain(begun, stream::pending()));
            let budget = budget.clone();
            let sender = IpAddr::from([127, 0, 0, last]);
            async move {
                let limits = BodyLimits { bytes_max: 10, time_ms: 60_000, budget: &budget, sender };
                read(&HeaderMap::new(), body, limits).await
            }
        };
        let first = tokio::spawn(reading(2));
        tokio::task::yield_now().await;
        let second = tokio::spawn(reading(2));
        let fault = first.await.unwrap().unwrap_err();
        assert_eq!(fault.status, 408);
        assert!(fault.message.contains("http.bodies_bytes_max"), "{fault:?}");
        assert!(!second.is_finished());
        second.abort();
    }
}
