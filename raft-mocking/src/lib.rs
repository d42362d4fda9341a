//! An in-memory bus, mocks, and a Service Bus emulator on loopback: tests without Docker.
//!
//! - [`broker`]: the bus as a pure model with an injected clock.
//! - [`bus`]: its async face, for tests and in-process drivers.
//! - `emulator` (feature `emulator`): the same broker over AMQP 1.0 and the Atom management API.

pub mod broker;
pub mod bus;
#[cfg(feature = "emulator")]
pub mod emulator;

/// The examples of the README run as doctests.
#[cfg(all(doctest, feature = "emulator"))]
#[doc = include_str!("../README.md")]
struct Readme;
