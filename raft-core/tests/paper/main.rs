//! The sentences of the Raft paper (and of the dissertation, where the paper is silent), each checked
//! by a test that quotes it. One file per section; `departures.rs` has those that the CloudMessaging
//! sample got wrong.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "../support/bench.rs"]
mod bench;

mod departures;
mod dissertation;
mod fig2;
mod leadership;
mod s5_1;
mod s5_2;
mod s5_3;
mod s5_4;
mod s5_5;
mod s5_6;
mod s6;
mod s7;
mod s8;
