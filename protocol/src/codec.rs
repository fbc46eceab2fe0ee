//! Bytes in and out: little-endian integers and length-prefixed strings, nothing self-describing.
//!
//! Decoding never panics and never allocates more than the input could hold.

use bytes::{Buf, Bytes};

use crate::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId, RequestNumber, View};

/// What was wrong with bytes that came from a client, a peer or a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside this field.
    Truncated(&'static str),
    /// The field holds a value that it must not hold.
    Invalid(&'static str),
    /// Bytes follow the end of the structure.
    TrailingBytes,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DecodeError::Truncated(field) => write!(f, "input ends inside {field}"),
            DecodeError::Invalid(field) => write!(f, "{field} is out of range"),
            DecodeError::TrailingBytes => write!(f, "bytes follow the end"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends fields to a buffer.
#[derive(Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder::default()
    }

    pub fn with_capacity(size: usize) -> Encoder {
        Encoder { bytes: Vec::with_capacity(size) }
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes whose length the reader knows.
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// A `u32` length, then the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.raw(value);
    }

    /// The `u32` count that precedes a list.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("lists are bounded far below 2^32"));
    }

    /// A presence byte, then the value.
    pub fn option<T>(&mut self, value: Option<T>, encode: impl FnOnce(&mut Encoder, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            encode(self, value);
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields from a buffer. `bytes` shares the input's memory instead of copying it.
pub struct Decoder {
    rest: Bytes,
}

impl Decoder {
    pub fn new(input: Bytes) -> Decoder {
        Decoder { rest: input }
    }

    /// Decodes from borrowed bytes, copying them once.
    pub fn copying(input: &[u8]) -> Decoder {
        Decoder { rest: Bytes::copy_from_slice(input) }
    }

    /// Bytes whose number is fixed, copied.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        // Not through `raw`: a shared slice is counted, which costs more than a number is worth.
        let taken = *self.rest.first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.rest.advance(N);
        Ok(taken)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }

    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(field)),
        }
    }

    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub fn u128(&mut self, field: &'static str) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array(field)?))
    }

    pub fn raw(&mut self, size: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if self.rest.len() < size {
            return Err(DecodeError::Truncated(field));
        }
        Ok(self.rest.split_to(size))
    }

    pub fn bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let size = self.u32(field)? as usize;
        self.raw(size, field)
    }

    /// The count of a list whose elements take at least `element_size_min` bytes each, so that a
    /// forged count cannot make us reserve more memory than the input itself takes.
    pub fn count(&mut self, element_size_min: usize, field: &'static str) -> Result<usize, DecodeError> {
        let count = self.u32(field)? as usize;
        if count.saturating_mul(element_size_min.max(1)) > self.rest.len() {
            return Err(DecodeError::Truncated(field));
        }
        Ok(count)
    }

    pub fn list<T>(
        &mut self,
        element_size_min: usize,
        field: &'static str,
        mut decode: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(element_size_min, field)?;
        (0..count).map(|_| decode(self)).collect()
    }

    pub fn option<T>(
        &mut self,
        field: &'static str,
        decode: impl FnOnce(&mut Decoder) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool(field)? { Ok(Some(decode(self)?)) } else { Ok(None) }
    }

    /// At most `Op::MAX`.
    pub fn op(&mut self, field: &'static str) -> Result<Op, DecodeError> {
        let op = Op::new(self.u64(field)?);
        if op <= Op::MAX { Ok(op) } else { Err(DecodeError::Invalid(field)) }
    }

    /// At most `View::MAX`.
    pub fn view(&mut self, field: &'static str) -> Result<View, DecodeError> {
        let view = View::new(self.u64(field)?);
        if view <= View::MAX { Ok(view) } else { Err(DecodeError::Invalid(field)) }
    }

    /// At most `RequestNumber::MAX`.
    pub fn request_number(&mut self, field: &'static str) -> Result<RequestNumber, DecodeError> {
        let number = RequestNumber::new(self.u64(field)?);
        if number <= RequestNumber::MAX { Ok(number) } else { Err(DecodeError::Invalid(field)) }
    }

    /// An op, too: that of a `Rejoin`.
    pub fn incarnation(&mut self, field: &'static str) -> Result<Incarnation, DecodeError> {
        Ok(Incarnation::from_rejoin(self.op(field)?))
    }

    /// One that a cluster may have.
    pub fn replica(&mut self, field: &'static str) -> Result<ReplicaId, DecodeError> {
        let replica = ReplicaId::new(self.u8(field)?);
        if replica.index() < REPLICAS_MAX { Ok(replica) } else { Err(DecodeError::Invalid(field)) }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}
