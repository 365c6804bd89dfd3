//! Consensus: the ledger replicated over peers.
