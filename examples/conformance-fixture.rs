//! The conformance fixture as a process: prints its URL, then serves until it is killed or interrupted.
//!
//! `cargo run --example conformance-fixture -- --port 0`

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Parser;
use erlmcp::transport::StandaloneServer;

#[path = "../tests/conformance/fixture.rs"]
mod fixture;

/// The server that the official conformance suite calls.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// TCP port; 0 takes any
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server = fixture::server();
    let info = server.info();
    let alone =
        StandaloneServer::start(server, info, SocketAddr::from((arguments.host, arguments.port))).await?;
    writeln!(std::io::stdout(), "{}", alone.url())?;
    tokio::signal::ctrl_c().await?;
    Ok(alone.stop().await?)
}
