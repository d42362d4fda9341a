//! The Service Bus emulator as a program.
fn main() {}
