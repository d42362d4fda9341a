//! Sessions end at the same entry on every server (dissertation §6.3).
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/cluster.rs"]
mod cluster;

use raft_core::{
    ClientId, ClientResult, Message, RegisterClient, SequenceNumber, ServerId, SessionId,
};

use crate::cluster::{Cluster, request};

/// Registers a client at a server and says which session it got.
fn register(cluster: &mut Cluster, at: ServerId, client: u64) -> SessionId {
    let (client_id, registration) = (ClientId(client), SequenceNumber(1));
    let message = Message::RegisterClient(RegisterClient { client_id, registration });
    cluster.tell(at, client_id.into(), message).unwrap();
    cluster.stabilize();
    match answer(cluster) {
        ClientResult::Registered { session } => session,
        other => panic!("{other:?}"),
    }
}

/// The last answer that a client got.
fn answer(cluster: &mut Cluster) -> ClientResult {
    let envelope = cluster.answers.pop().expect("someone was answered");
    match envelope.message {
        Message::ClientResponse(response) => response.result,
        other => panic!("{other}"),
    }
}

/// How many sessions are kept is in the entry, as the leader that made it was set up. A server with
/// other settings that ended another session would run a repeated request again.
#[test]
fn sessions_end_as_the_log_says_and_not_by_a_servers_own_settings() {
    let [first, second] = [1, 2].map(ServerId);
    let mut cluster = Cluster::new(3, |config| {
        config.sessions_max = if config.server_id == first { 10 } else { 1 };
    });
    for id in cluster.ids() {
        cluster.join(id).unwrap();
    }
    cluster.elect(first);
    let session = register(&mut cluster, first, 1);
    register(&mut cluster, first, 2);

    cluster.elect(second);
    let mut asked = request(1, 1, "x");
    asked.session = session;
    cluster.request(second, asked).unwrap();
    cluster.stabilize();
    let result = answer(&mut cluster);
    assert!(matches!(result, ClientResult::Applied { .. }), "{result:?}");
}
