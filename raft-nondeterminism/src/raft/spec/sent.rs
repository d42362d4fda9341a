//! The messages that were ever sent (the specification's `messages`, with those that were received).
//!
//! Guarantees: whatever arrives, late, twice or never, was sent to that receiver, or to all; so
//!             DuplicateMessage and DropMessage are allowed at any time.
//! Relies on:  digests of 64 bits; a forged message that has the digest of a real one goes unnoticed.

use raft_core::{
    Address, AppendEntriesResult, ClientRequest, Envelope, Message, VoteRequest, VoteResponse,
};

/// A set of digests. Nothing depends on their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// A table with open addressing; 0 is an empty place.
    table: Vec<u64>,
    count: usize,
}

impl Sent {
    pub(super) fn insert(&mut self, envelope: &Envelope) {
        if 2 * (self.count + 1) > self.table.len() {
            let larger = vec![0; (2 * self.table.len()).max(256)];
            let smaller = std::mem::replace(&mut self.table, larger);
            self.count = 0;
            smaller.into_iter().filter(|&digest| digest != 0).for_each(|it| self.put(it));
        }
        self.put(digest(envelope, envelope.to));
    }

    fn put(&mut self, digest: u64) {
        let place = self.place(digest);
        if self.table[place] == 0 {
            self.table[place] = digest;
            self.count += 1;
        }
    }

    /// Where a digest is, or would be.
    fn place(&self, digest: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut place = digest as usize & mask;
        while self.table[place] != 0 && self.table[place] != digest {
            place = (place + 1) & mask;
        }
        place
    }

    /// True if this message was sent, to its receiver or to all servers.
    pub(super) fn contains(&self, envelope: &Envelope) -> bool {
        let is_known = |to| {
            let digest = digest(envelope, to);
            !self.table.is_empty() && self.table[self.place(digest)] == digest
        };
        is_known(envelope.to) || is_known(Address::AllServers)
    }
}

/// Mixes numbers into one.
struct Digest(u64);

impl Digest {
    fn mix(mut self, number: u64) -> Self {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 29;
        self
    }

    fn address(self, address: Address) -> Self {
        match address {
            Address::Server(server) => self.mix(1).mix(server.0),
            Address::Client(client) => self.mix(2).mix(client.0),
            Address::AllServers => self.mix(3),
        }
    }

    fn vote_request(self, request: &VoteRequest) -> Self {
        self.mix(request.term.0)
            .mix(request.candidate_id.0)
            .mix(request.last_log_index.0)
            .mix(request.last_log_term.0)
            .mix(u64::from(request.is_transfer))
    }

    fn vote_response(self, response: &VoteResponse) -> Self {
        self.mix(response.term.0).mix(u64::from(response.vote_granted))
    }

    fn client_request(self, request: &ClientRequest) -> Self {
        self.mix(request.client_id.0).mix(request.session.0).mix(request.sequence_number.0)
    }
}

/// Stands for a message from its sender to `to`. What index and term name is not looked into.
fn digest(envelope: &Envelope, to: Address) -> u64 {
    let digest = Digest(0x243F_6A88_85A3_08D3).address(envelope.from).address(to);
    let digest = match &envelope.message {
        Message::PreVoteRequest(request) => digest.mix(1).vote_request(request),
        Message::PreVoteResponse(response) => digest.mix(2).vote_response(response),
        Message::VoteRequest(request) => digest.mix(3).vote_request(request),
        Message::VoteResponse(response) => digest.mix(4).vote_response(response),
        Message::AppendEntriesRequest(request) => {
            let last = request.entries.last().map_or(0, |entry| entry.term.0);
            digest
                .mix(5)
                .mix(request.term.0)
                .mix(request.prev_log_index.0)
                .mix(request.prev_log_term.0)
                .mix(request.entries.len() as u64)
                .mix(last)
                .mix(request.leader_commit.0)
                .mix(request.round.0)
        }
        Message::AppendEntriesResponse(response) => {
            let digest = digest.mix(6).mix(response.term.0).mix(response.round.0);
            match response.result {
                AppendEntriesResult::Success { match_index } => digest.mix(1).mix(match_index.0),
                AppendEntriesResult::Conflict { prev_log_index, hint } => digest
                    .mix(2)
                    .mix(prev_log_index.0)
                    .mix(hint.index.0)
                    .mix(hint.term.map_or(0, |term| term.0)),
                AppendEntriesResult::StaleTerm => digest.mix(3),
            }
        }
        Message::InstallSnapshotRequest(request) => digest
            .mix(7)
            .mix(request.term.0)
            .mix(request.round.0)
            .mix(request.id.last.index.0)
            .mix(u64::from(request.id.checksum))
            .mix(request.offset),
        Message::InstallSnapshotResponse(response) => digest
            .mix(8)
            .mix(response.term.0)
            .mix(response.round.0)
            .mix(u64::from(response.id.checksum))
            .mix(response.offset),
        Message::TimeoutNow(request) => {
            digest.mix(9).mix(request.term.0).mix(request.last.index.0).mix(request.last.term.0)
        }
        Message::ReadIndexRequest(request) => digest.mix(10).mix(request.id.0),
        Message::ReadIndexResponse(response) => {
            digest.mix(11).mix(response.id.0).mix(response.index.map_or(u64::MAX, |index| index.0))
        }
        Message::RegisterClient(request) => {
            digest.mix(12).mix(request.client_id.0).mix(request.registration.0)
        }
        Message::ClientRequest(request) => digest.mix(13).client_request(request),
        Message::ClientResponse(response) => {
            digest.mix(14).mix(response.client_id.0).mix(response.sequence_number.0)
        }
    };
    digest.0.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::{ClusterId, ServerId, Term};

    fn vote(from: u64, to: Address, term: u64) -> Envelope {
        let response = VoteResponse { term: Term(term), vote_granted: true };
        Envelope {
            cluster_id: ClusterId::default(),
            from: ServerId(from).into(),
            to,
            message: Message::VoteResponse(response),
        }
    }

    #[test]
    fn only_what_was_sent_can_arrive_and_as_often_as_it_likes() {
        let mut sent = Sent::default();
        assert!(!sent.contains(&vote(1, ServerId(2).into(), 1)));
        for term in 1..=1000 {
            sent.insert(&vote(1, ServerId(2).into(), term));
            sent.insert(&vote(1, ServerId(2).into(), term));
        }
        assert_eq!(sent.count, 1000);
        assert!(sent.contains(&vote(1, ServerId(2).into(), 777)));
        assert!(!sent.contains(&vote(1, ServerId(2).into(), 1001)), "it has another content");
        assert!(!sent.contains(&vote(1, ServerId(3).into(), 777)), "it is for another server");
        assert!(!sent.contains(&vote(3, ServerId(2).into(), 777)), "it is from another server");
    }

    #[test]
    fn what_was_sent_to_all_servers_can_arrive_at_each() {
        let mut sent = Sent::default();
        sent.insert(&vote(1, Address::AllServers, 1));
        assert!(sent.contains(&vote(1, ServerId(2).into(), 1)));
        assert!(!sent.contains(&vote(2, ServerId(1).into(), 1)));
    }
}
