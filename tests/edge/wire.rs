//! A client that writes bytes and reads bytes, so that nothing is done for the server on the way.

use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::fake::in_time;

pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
    /// Decoded bytes of a chunked body that no event has used yet.
    text: String,
    chunked: bool,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct SseEvent {
    pub id: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u64>,
    pub comment: bool,
}

impl SseEvent {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The status with the JSON-RPC code.
    pub fn fault(&self) -> (u16, i64) {
        (self.status, self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error in {self:?}")))
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire::connect_from(address.ip(), address).await
    }

    /// From an address of its own, of the loopback network.
    pub async fn connect_from(source: IpAddr, address: SocketAddr) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, read: Vec::new(), text: String::new(), chunked: false }
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends what may be refused before it is read to its end.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a POST with the headers of a good client, save those that are given.
    pub async fn send_post(&mut self, headers: &[(&str, &str)], body: &str) {
        let mut all =
            vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        all.push(("host", "localhost"));
        all.retain(|(name, _)| !headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        all.extend(headers);
        let head: String = all
            .iter()
            .filter(|(_, v)| *v != "-")
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let text = format!("POST /mcp HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
        self.send(&text).await;
    }

    pub async fn post(&mut self, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_post(headers, body).await;
        self.answer().await
    }

    /// POST by a legacy client with a session.
    pub async fn legacy(&mut self, session: &str, body: &str) -> Answer {
        self.post(&[("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")], body).await
    }

    pub async fn send_other(&mut self, method: &str, headers: &[(&str, &str)]) {
        let mut all = vec![("host", "localhost"), ("accept", "text/event-stream")];
        all.retain(|(name, _)| !headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        all.extend(headers);
        let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(&format!("{method} /mcp HTTP/1.1\r\n{head}\r\n")).await;
    }

    pub async fn other(&mut self, method: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_other(method, headers).await;
        self.answer().await
    }

    /// Reads a whole answer that is no stream.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended in a body: {answer:?}");
        }
        answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        answer
    }

    /// Reads the head of an answer.
    pub async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await, "the connection ended before an answer");
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        self.chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Answer { status, headers, body: String::new() }
    }

    /// The head of an answer that has to be a stream.
    pub async fn stream(&mut self) -> Answer {
        let head = self.head().await;
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{head:?}");
        head
    }

    /// The next event; `None` when the stream has ended.
    pub async fn event(&mut self) -> Option<SseEvent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = read_event(event);
                self.text = rest.to_owned();
                return Some(event);
            }
            if !self.chunk().await {
                return None;
            }
        }
    }

    /// The next event that carries data.
    pub async fn message(&mut self) -> Option<SseEvent> {
        loop {
            let event = self.event().await?;
            if event.data.as_ref().is_some_and(|data| !data.is_empty()) {
                return Some(event);
            }
        }
    }

    async fn chunk(&mut self) -> bool {
        assert!(self.chunked, "a stream that is not chunked");
        let (start, size) = loop {
            if let Some(at) = self.read.windows(2).position(|window| window == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&self.read[..at]).unwrap(), 16).unwrap();
                break (at + 2, size);
            }
            if !self.more().await {
                return false;
            }
        };
        while self.read.len() < start + size + 2 {
            if !self.more().await {
                return false;
            }
        }
        self.text.push_str(std::str::from_utf8(&self.read[start..start + size]).unwrap());
        self.read.drain(..start + size + 2);
        size > 0
    }

    /// Reads more bytes; false at the end.
    async fn more(&mut self) -> bool {
        let mut part = [0_u8; 16 * 1024];
        let read = in_time("bytes", self.stream.read(&mut part)).await;
        match read {
            Ok(size) => {
                self.read.extend_from_slice(&part[..size]);
                size > 0
            }
            Err(_) => false,
        }
    }

    /// Waits until the server closes the connection.
    pub async fn closed(&mut self) {
        while self.more().await {}
    }
}

fn read_event(text: &str) -> SseEvent {
    let mut event = SseEvent::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("id", value)) => event.id = Some(value.trim_start().to_owned()),
            Some(("data", value)) => {
                assert!(event.data.is_none(), "data of more than one line: {text}");
                event.data = Some(value.strip_prefix(' ').unwrap_or(value).to_owned());
            }
            Some(("retry", value)) => event.retry = Some(value.trim().parse().unwrap()),
            Some(("", _)) => event.comment = true,
            _ => {}
        }
    }
    event
}
