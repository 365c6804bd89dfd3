//! The ledger: the replicated truth, as a pure function.
