//! A small server to copy from: tools with arguments, progress and a question to the user, a resource, a
//! template, a prompt.
//!
//! `cargo run --example hello-tools`, then point an MCP client at the URL that it prints.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use erlmcp::handler::{
    CompleteCall, ElicitForm, Prompt, PromptCall, ReadCall, Resource, Server, Template, Tool,
    ToolAnnotations, ToolCall, ToolError, ToolResult,
};
use erlmcp::transport::StandaloneServer;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = server();
    let info = server.info();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8090));
    let alone = StandaloneServer::start(server, info, address).await?;
    writeln!(std::io::stdout(), "serving MCP at {}; stop with Ctrl-C", alone.url())?;
    tokio::signal::ctrl_c().await?;
    Ok(alone.stop().await?)
}

fn server() -> Server {
    let city = || json!({ "type": "string", "description": "Name of the city, such as Oslo" });
    Server::new("hello-tools", "1.0.0")
        .instructions("Weather of a few cities, and a table for dinner.")
        .tool(
            Tool::new("forecast")
                .title("Forecast")
                .describe("Tomorrow's weather in a city")
                .required("city", city())
                .annotate(ToolAnnotations { read_only_hint: Some(true), ..ToolAnnotations::default() }),
            forecast,
        )
        .tool(Tool::new("survey").describe("Asks all stations; takes a few seconds"), survey)
        .tool(
            Tool::new("book_table").describe("Books a table for dinner").required("city", city()),
            book_table,
        )
        .resource(
            Resource::new("weather://cities", "cities").describe("All cities").mime("application/json"),
            |_: ReadCall| async { Ok(json!(CITIES.map(|city| city.name)).to_string()) },
        )
        .template(
            Template::new("weather://city/{name}", "city").describe("One city").mime("application/json"),
            |call: ReadCall| async move {
                match find(call.variable("name")) {
                    Some(city) => Ok(serde_json::to_string(city)?),
                    None => Err(call.not_found()),
                }
            },
        )
        .complete_template("weather://city/{name}", "name", cities_like)
        .prompt(
            Prompt::new("plan_day").describe("Plans a day outside").required("city", "where to go"),
            |call: PromptCall| async move {
                let city = call.argument("city");
                Ok(format!("Plan a day in {city}. Call `forecast` first, and pack for the weather."))
            },
        )
        .complete_prompt("plan_day", "city", cities_like)
}

#[derive(Serialize)]
struct City {
    name: &'static str,
    degrees: i32,
    sky: &'static str,
}

const CITIES: [City; 3] = [
    City { name: "Lisbon", degrees: 24, sky: "clear" },
    City { name: "Oslo", degrees: 7, sky: "rain" },
    City { name: "Osaka", degrees: 19, sky: "clouds" },
];

fn find(name: &str) -> Option<&'static City> {
    CITIES.iter().find(|city| city.name.eq_ignore_ascii_case(name))
}

async fn cities_like(call: CompleteCall) -> Result<Vec<String>, ToolError> {
    Ok(call.matching(CITIES.map(|city| city.name)))
}

#[derive(Deserialize)]
struct In {
    city: String,
}

/// Structured content for programs; the model gets the same as text. A failure is text for the model too.
async fn forecast(call: ToolCall) -> Result<ToolResult, ToolError> {
    let In { city } = call.arguments()?;
    let Some(city) = find(&city) else { return Err(ToolError::failed(format!("no station in {city}"))) };
    Ok(ToolResult::structured(city)?)
}

/// Progress reaches clients that asked for it. If the client goes away, this ends at its next `.await`.
async fn survey(call: ToolCall) -> Result<String, ToolError> {
    for (asked, city) in (1_u32..).zip(&CITIES) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        call.progress(f64::from(asked), Some(3.0), Some(city.name)).await;
    }
    let warmest = CITIES.iter().max_by_key(|city| city.degrees).map_or("none", |city| city.name);
    Ok(format!("The warmest is {warmest}."))
}

#[derive(Deserialize)]
struct Booking {
    guests: u32,
}

/// The question works for old and new clients alike: a new one answers by calling again, so this runs twice.
async fn book_table(call: ToolCall) -> Result<String, ToolError> {
    let In { city } = call.arguments()?;
    let form = ElicitForm::new(format!("Dinner in {city}: for how many?"))
        .required("guests", json!({ "type": "integer", "minimum": 1, "maximum": 12 }));
    let Booking { guests } = call.elicit("booking", form).await?.accepted()?;
    Ok(format!("A table for {guests} in {city} is booked."))
}
