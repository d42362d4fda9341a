//! The bytes of what clients ask for and are answered.

use bincode::de::{BorrowDecode, BorrowDecoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError as BincodeError, EncodeError as BincodeEncodeError};
use bytes::Bytes;

use super::{Field, decode_bytes, encode_bytes};
use crate::message::{ClientRequest, ClientResponse, ClientResult};

impl Encode for ClientRequest {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        self.client_id.encode(encoder)?;
        self.session.encode(encoder)?;
        self.sequence_number.encode(encoder)?;
        self.first_incomplete.encode(encoder)?;
        encode_bytes(&self.command, encoder)
    }
}

impl<'de> BorrowDecode<'de, Bytes> for ClientRequest {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        Ok(Self {
            client_id: Field::decode(decoder)?,
            session: Field::decode(decoder)?,
            sequence_number: Field::decode(decoder)?,
            first_incomplete: Field::decode(decoder)?,
            command: decode_bytes(decoder)?,
        })
    }
}

impl Encode for ClientResponse {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        self.client_id.encode(encoder)?;
        self.sequence_number.encode(encoder)?;
        match &self.result {
            ClientResult::Applied { log_id, response } => {
                0_u8.encode(encoder)?;
                log_id.encode(encoder)?;
                encode_bytes(response, encoder)
            }
            ClientResult::NotLeader { leader } => {
                1_u8.encode(encoder)?;
                leader.encode(encoder)
            }
            ClientResult::Superseded => 2_u8.encode(encoder),
            ClientResult::Registered { session } => {
                4_u8.encode(encoder)?;
                session.encode(encoder)
            }
            ClientResult::SessionExpired => 5_u8.encode(encoder),
            ClientResult::Busy => 6_u8.encode(encoder),
            ClientResult::TooLarge { command_bytes, command_bytes_max } => {
                3_u8.encode(encoder)?;
                command_bytes.encode(encoder)?;
                command_bytes_max.encode(encoder)
            }
        }
    }
}

impl<'de> BorrowDecode<'de, Bytes> for ClientResponse {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        let (client_id, sequence_number) = (Field::decode(decoder)?, Field::decode(decoder)?);
        let tag: u8 = Field::decode(decoder)?;
        let result = match tag {
            0 => ClientResult::Applied {
                log_id: Field::decode(decoder)?,
                response: decode_bytes(decoder)?,
            },
            1 => ClientResult::NotLeader { leader: Field::decode(decoder)? },
            2 => ClientResult::Superseded,
            3 => ClientResult::TooLarge {
                command_bytes: Field::decode(decoder)?,
                command_bytes_max: Field::decode(decoder)?,
            },
            4 => ClientResult::Registered { session: Field::decode(decoder)? },
            5 => ClientResult::SessionExpired,
            6 => ClientResult::Busy,
            _ => return Err(BincodeError::Other("unknown kind of ClientResult")),
        };
        Ok(Self { client_id, sequence_number, result })
    }
}
