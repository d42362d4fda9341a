//! The header of a log file: whose log it is (feature `file-storage`).
//!
//! Guarantees: a file of another server or cluster, and one that is damaged, is never taken for this
//!             server's; and it is told which voters the cluster began with.
//! Elsewhere:  when a header is made, and what follows it, is in [`crate::file_storage`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use bytes::Buf;

use crate::types::{ClusterId, ServerId};

/// The first bytes of every file; the last one is the format version.
const MAGIC: [u8; 8] = *b"RAFTLOG\x03";
/// Magic, cluster, server, number of voters. The voters follow, and the CRC-32 of all these.
const HEADER_START_BYTES: usize = 8 + 8 + 8 + 4;

/// Whose log the file is, as its header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    cluster_id: ClusterId,
    server_id: ServerId,
    /// Those that the cluster began with. Sorted, each once.
    voters: Vec<ServerId>,
}

impl Owner {
    pub(crate) fn new(cluster_id: ClusterId, server_id: ServerId, voters: &[ServerId]) -> Self {
        let voters = voters.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        Self { cluster_id, server_id, voters }
    }

    /// The header of this owner's file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&self.cluster_id.0.to_le_bytes());
        header.extend_from_slice(&self.server_id.0.to_le_bytes());
        header.extend_from_slice(&(self.voters.len() as u32).to_le_bytes());
        for voter in &self.voters {
            header.extend_from_slice(&voter.0.to_le_bytes());
        }
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        header
    }

    /// Reads the header at the start of `file`, or says what is wrong with it.
    pub(crate) fn read(file: &mut File) -> io::Result<Result<Self, String>> {
        let mut header = Vec::new();
        Read::by_ref(file).take(HEADER_START_BYTES as u64).read_to_end(&mut header)?;
        if !header.starts_with(&MAGIC[..7]) {
            return Ok(Err("it does not start like the log of a server".to_owned()));
        }
        if !header.starts_with(&MAGIC) {
            let (found, ours) = (header.get(7).copied().unwrap_or_default(), MAGIC[7]);
            return Ok(Err(format!("it is of format {found}, and only {ours} can be read here")));
        }
        let damaged = Ok(Err("its header is damaged".to_owned()));
        if header.len() < HEADER_START_BYTES {
            return damaged;
        }
        let mut fields = &header[MAGIC.len()..];
        let cluster_id = ClusterId(fields.get_u64_le());
        let server_id = ServerId(fields.get_u64_le());
        let rest_bytes = u64::from(fields.get_u32_le()) * 8 + 4;
        let mut rest = Vec::new();
        file.take(rest_bytes).read_to_end(&mut rest)?;
        let voters = rest.chunks_exact(8).map(|mut voter| ServerId(voter.get_u64_le()));
        let owner = Self { cluster_id, server_id, voters: voters.collect() };
        header.extend_from_slice(&rest);
        if owner.encode() == header { Ok(Ok(owner)) } else { damaged }
    }

    /// True if both are one server of one cluster.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        (self.cluster_id, self.server_id) == (other.cluster_id, other.server_id)
    }

    /// In which way this owner and another one differ, in words.
    pub(crate) fn difference(&self, other: &Self) -> (String, String) {
        let words = |owner: &Self| {
            if !self.is_same_server(other) {
                return format!("{} of cluster {}", owner.server_id, owner.cluster_id);
            }
            let voters: Vec<_> = owner.voters.iter().map(ToString::to_string).collect();
            format!("a cluster that began with {}", voters.join(", "))
        };
        (words(self), words(other))
    }
}
