//! The node as a program.

fn main() {}
