//! Why a handler ends without a result.
//!
//! Three ends that a client can tell apart: the model may read a failure and try again, the program that
//! called gets a fault, and a person is asked for input. `?` on any error makes a failure, so its text
//! reaches the client: put no secret in it.

use std::error::Error;
use std::fmt::Display;

use super::input::Ask;
use crate::causes::with_causes;
use crate::mcp::RpcError;

/// The end of a handler that has no result.
#[derive(Debug)]
pub enum ToolError {
    /// The client must answer first; the handler then runs again from its start. Made by
    /// [`HandlerCall::elicit`](super::HandlerCall::elicit) and its like; pass it on with `?`.
    InputRequired(InputRequired),
    /// The request itself is wrong, or cannot be served: a JSON-RPC error.
    Rpc(RpcError),
    /// The work failed: for tools a result with `isError` that the model sees, else -32603.
    Failed(String),
}

/// Questions that the client must answer before the handler can go on. With none, the client just comes
/// back with the state.
#[derive(Debug, Default)]
pub struct InputRequired {
    /// The questions, by key.
    pub asks: Vec<Ask>,
}

impl ToolError {
    /// A failure with this text.
    pub fn failed(why: impl Display) -> ToolError {
        ToolError::Failed(why.to_string())
    }

    /// Asks for this input, in the explicit form.
    #[must_use]
    pub fn input_required(asks: Vec<Ask>) -> ToolError {
        ToolError::InputRequired(InputRequired { asks })
    }
}

/// A [`RpcError`] stays one; any other error is a failure with its text and that of its sources.
impl<E: Error + Send + Sync + 'static> From<E> for ToolError {
    fn from(error: E) -> ToolError {
        let error: Box<dyn Error + Send + Sync> = Box::new(error);
        match error.downcast::<RpcError>() {
            Ok(fault) => ToolError::Rpc(*fault),
            Err(error) => ToolError::Failed(with_causes(&*error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stays_a_fault_and_other_errors_become_failures() {
        let invalid = ToolError::from(RpcError::invalid_params("x"));
        assert!(matches!(invalid, ToolError::Rpc(fault) if fault.code == -32602));
        let error = "x".parse::<u8>().unwrap_err();
        assert!(matches!(ToolError::from(error), ToolError::Failed(text) if text.contains("invalid digit")));
    }
}
