//! The header of a server's files: of which format they are, and whose (feature `file-storage`).
//!
//! Guarantees: a file of another server or cluster, and one that is damaged, is never taken for this
//!             server's; and it is told which voters the cluster began with.
//! Elsewhere:  when a header is made, and what follows it, is in [`crate::file_storage`].

use std::collections::BTreeSet;

use bytes::Buf;

use crate::types::{ClusterId, ServerId};

/// The first bytes of every file; the last one is the format version.
pub(crate) const MAGIC: [u8; 8] = *b"RAFTLOG\x04";
/// Magic, cluster, server, number of voters. The voters follow, and the CRC-32C of all these.
const HEADER_START_BYTES: usize = 8 + 8 + 8 + 4;

/// Says what is wrong with the first bytes of a file, if something is.
pub(crate) fn check_magic(found: &[u8]) -> Result<(), String> {
    let (name, version) = MAGIC.split_at(MAGIC.len() - 1);
    match found.strip_prefix(name) {
        Some([found, ..]) if *found == version[0] => Ok(()),
        Some([found, ..]) => {
            let ours = version[0];
            let by = if *found > ours { "a newer" } else { "an older" };
            Err(format!(
                "it is of format {found}, of {by} version of this program, and only format {ours} can \
                 be read here"
            ))
        }
        Some([]) | None => Err("it does not start like a file of a server".to_owned()),
    }
}

/// True for the first bytes of a file of another version of this program.
pub(crate) fn is_other_format(found: &[u8]) -> bool {
    let (name, version) = MAGIC.split_at(MAGIC.len() - 1);
    // A zero was not written yet.
    found.strip_prefix(name).is_some_and(|rest| !matches!(rest.first(), None | Some(0)))
        && found.get(name.len()) != version.first()
}

/// Whose files they are, as the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) cluster_id: ClusterId,
    pub(crate) server_id: ServerId,
    /// Those that the cluster began with. Sorted, each once.
    pub(crate) voters: Vec<ServerId>,
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
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        header
    }

    /// Reads the header that `bytes` start with, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        check_magic(bytes)?;
        let damaged = || "it is damaged".to_owned();
        if bytes.len() < HEADER_START_BYTES {
            return Err(damaged());
        }
        let mut fields = &bytes[MAGIC.len()..];
        let cluster_id = ClusterId(fields.get_u64_le());
        let server_id = ServerId(fields.get_u64_le());
        let voters_bytes = (fields.get_u32_le() as usize).checked_mul(8).ok_or_else(damaged)?;
        let voters = fields.get(..voters_bytes).ok_or_else(damaged)?;
        let voters = voters.chunks_exact(8).map(|mut voter| ServerId(voter.get_u64_le()));
        let owner = Self { cluster_id, server_id, voters: voters.collect() };
        if bytes.starts_with(&owner.encode()) { Ok(owner) } else { Err(damaged()) }
    }

    /// True if both are one server of one cluster.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        (self.cluster_id, self.server_id) == (other.cluster_id, other.server_id)
    }

    /// Whose server it is, in words.
    pub(crate) fn server_words(&self) -> String {
        server_words(self.cluster_id, self.server_id)
    }

    /// With whom its cluster began, in words.
    pub(crate) fn voters_words(&self) -> String {
        let voters: Vec<_> = self.voters.iter().map(ToString::to_string).collect();
        format!("a cluster that began with {}", voters.join(", "))
    }
}

/// A server of a cluster, in words.
pub(crate) fn server_words(cluster_id: ClusterId, server_id: ServerId) -> String {
    format!("{server_id} of cluster {cluster_id}")
}
