//! The container side of the contract.
