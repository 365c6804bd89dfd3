//! `doctor`: what this host allows, what that means for a node, and how to raise it.
//!
//! Looks and measures, changes nothing that stays. Every line has a value that was read or measured here,
//! a verdict, its meaning, and a remedy when there is something to mend.

mod disk;
mod host;
mod ports;

use serde::Serialize;
use serde_json::json;

use crate::config::Config;

use super::args::DoctorArgs;
use super::error::CliError;
use super::paint::{Paint, Tone};
use super::settings;

/// How a finding bears on running a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// A node runs, with less than it could.
    Warn,
    /// A node does not run, or not safely.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) verdict: Verdict,
    pub(super) meaning: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &'static str, value: impl Into<String>, meaning: impl Into<String>) -> Self {
        let (value, meaning) = (value.into(), meaning.into());
        Finding { name, value, verdict: Verdict::Ok, meaning, remedy: None }
    }

    pub(super) fn warn(mut self, meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        (self.verdict, self.meaning, self.remedy) = (Verdict::Warn, meaning.into(), Some(remedy.into()));
        self
    }

    pub(super) fn fail(mut self, meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        (self.verdict, self.meaning, self.remedy) = (Verdict::Fail, meaning.into(), Some(remedy.into()));
        self
    }
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<String, CliError> {
    let config = settings::load(args.id, &args.config)?;
    let findings = examine(&config);
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    let text = if args.json {
        format!("{:#}\n", json!({"node": args.id, "verdict": worst, "findings": findings}))
    } else {
        draw(&findings, Paint::for_stdout())
    };
    if worst == Verdict::Fail {
        super::paint::print(&text)
            .map_err(|source| CliError::System { what: "write to standard output", source })?;
        return Err(CliError::Found("a node cannot run here as it is; see the lines that fail".to_string()));
    }
    Ok(text)
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut all = host::findings(config);
    all.extend(disk::findings(config));
    all.extend(ports::findings(config));
    all
}

fn draw(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let (word, tone) = match finding.verdict {
            Verdict::Ok => ("ok  ", Tone::Good),
            Verdict::Warn => ("warn", Tone::Warn),
            Verdict::Fail => ("FAIL", Tone::Bad),
        };
        let name = paint.tone(Tone::Strong, &format!("{:width$}", finding.name));
        out += &format!("{}  {name}  {}\n", paint.tone(tone, word), finding.value);
        let indent = " ".repeat(width + 8);
        out += &format!("{indent}{}\n", paint.tone(Tone::Dim, &finding.meaning));
        if let Some(remedy) = &finding.remedy {
            out += &format!("{indent}-> {remedy}\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_verdict_value_meaning_and_remedy() {
        let findings = [
            Finding::ok("cores", "2", "one worker each"),
            Finding::ok("files", "64", "").fail("too few", "raise"),
        ];
        let wanted = "ok    cores  2\n             one worker each\n\
                      FAIL  files  64\n             too few\n             -> raise\n";
        assert_eq!(draw(&findings, Paint::off()), wanted);
    }

    #[test]
    fn the_worst_verdict_counts() {
        assert!(Verdict::Ok < Verdict::Warn && Verdict::Warn < Verdict::Fail);
    }
}
