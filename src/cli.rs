//! The command line: everything a person or a script says to `erlmcp-node`.
//!
//! Commands return the text they have to say and `run` prints it: only this folder writes to standard
//! output. Commands that ask a running node do so over HTTP like anyone else; none of them opens a store.

mod admin;
mod args;
mod ask;
mod doctor;
mod ensure;
mod error;
mod files;
mod http;
mod init;
mod paint;
mod private;
mod quota;
mod run;
mod settings;
mod show;
mod start;
mod status;

pub use error::CliError;
pub use files::OpenFiles;
pub use run::{fail, run};
pub use start::Launch;
