//! The official MCP conformance suite against the fixture, which is written on the library's own API.
//!
//! Three runs, as the reference server of the official Rust SDK was measured: no failure, scored or not,
//! and no fewer checks. It needs Node and the suite's files; without them the test says so and passes, but
//! in CI (`CI=true`) it fails.

#![forbid(unsafe_code)]

mod suite;

#[path = "fixture.rs"]
mod fixture;

use std::net::{Ipv4Addr, SocketAddr};

use erlmcp::transport::Alone;
use suite::{Run, Suite};

/// Each run with the checks that the reference passes.
const RUNS: [(Run, usize); 3] = [(Run::Legacy, 83), (Run::Modern, 197), (Run::First, 46)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixture_passes_every_check_of_the_official_suite() {
    let Some(suite) = Suite::find().await else { return };
    let server = fixture::server();
    let info = server.info();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let alone = Alone::start(server, info, any).await.expect("a free port");
    // The suite checks rebinding of names, so it wants a name.
    let url = format!("http://localhost:{}/mcp", alone.address().port());
    for (run, passed_min) in RUNS {
        let outcome = suite.run(run, &url).await;
        println!("{run:?}: {} passed, {} failed", outcome.passed, outcome.failures.len());
        assert!(outcome.failures.is_empty(), "{run:?}:\n{}", outcome.failures.join("\n"));
        assert!(outcome.passed >= passed_min, "{run:?}: only {} of {passed_min} checks", outcome.passed);
    }
    alone.stop().await.expect("the server ends well");
}
