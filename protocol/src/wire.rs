//! How words become bytes: a declaration names its fields once, and the order of the
//! fields is the format. A variant's number is its first byte and is never used for anything else.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::types::{Incarnation, Op, ReplicaId, SessionId, Timestamp};

/// Something with one encoding.
pub trait Wire: Sized {
    /// No encoding is shorter, so that a forged count cannot make us reserve more than the input holds.
    const SIZE_MIN: usize;

    fn encode(&self, out: &mut Encoder);

    /// `field` names the place in a `DecodeError`.
    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError>;

    fn to_bytes(&self) -> Bytes {
        // Boxed: it may be kept for long, as a reply is, and must not keep the room to grow.
        Bytes::from(self.encoded().into_boxed_slice())
    }

    fn encoded(&self) -> Vec<u8> {
        // Most of what is encoded fits into this: growing step by step would cost more than encoding.
        let mut out = Encoder::with_capacity(512);
        self.encode(&mut out);
        out.finish()
    }

    /// Decodes the whole of `input`.
    fn from_bytes(input: &Bytes) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(input.clone());
        let value = Self::decode(&mut decoder, std::any::type_name::<Self>())?;
        decoder.finish()?;
        Ok(value)
    }
}

macro_rules! wire_integer {
    ($($type:ident)*) => {$(
        impl Wire for $type {
            const SIZE_MIN: usize = size_of::<$type>();

            fn encode(&self, out: &mut Encoder) {
                out.$type(*self);
            }

            fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
                input.$type(field)
            }
        }
    )*};
}

wire_integer!(u8 u16 u32 u64 bool);

/// A number with a name: encoded as the number.
macro_rules! wire_number {
    ($($type:ident)*) => {$(
        impl $crate::wire::Wire for $type {
            const SIZE_MIN: usize = size_of::<u64>();

            fn encode(&self, out: &mut $crate::codec::Encoder) {
                out.u64(self.get());
            }

            fn decode(
                input: &mut $crate::codec::Decoder,
                field: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok($type::new(input.u64(field)?))
            }
        }
    )*};
}

wire_number!(Incarnation Op SessionId Timestamp);

impl Wire for ReplicaId {
    const SIZE_MIN: usize = 1;

    fn encode(&self, out: &mut Encoder) {
        out.u8(self.get());
    }

    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
        input.replica(field)
    }
}

/// A fixed number of bytes with a name: a hash or the like.
macro_rules! wire_bytes {
    ($(#[$meta:meta])* $name:ident, $size:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $crate::wire::Wire for $name {
            const SIZE_MIN: usize = $size;

            fn encode(&self, out: &mut $crate::codec::Encoder) {
                out.raw(&self.0);
            }

            fn decode(
                input: &mut $crate::codec::Decoder,
                field: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                input.array(field).map($name)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

impl Wire for Bytes {
    const SIZE_MIN: usize = 4;

    fn encode(&self, out: &mut Encoder) {
        out.bytes(self);
    }

    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
        input.bytes(field)
    }
}

impl<const N: usize> Wire for [u8; N] {
    const SIZE_MIN: usize = N;

    fn encode(&self, out: &mut Encoder) {
        out.raw(self);
    }

    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
        input.array(field)
    }
}

impl<T: Wire> Wire for Option<T> {
    const SIZE_MIN: usize = 1;

    fn encode(&self, out: &mut Encoder) {
        out.option(self.as_ref(), |out, value| value.encode(out));
    }

    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
        input.option(field, |input| T::decode(input, field))
    }
}

impl<T: Wire> Wire for Vec<T> {
    const SIZE_MIN: usize = 4;

    fn encode(&self, out: &mut Encoder) {
        out.count(self.len());
        for element in self {
            element.encode(out);
        }
    }

    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
        input.list(T::SIZE_MIN, field, |input| T::decode(input, field))
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    const SIZE_MIN: usize = 1;

    fn encode(&self, out: &mut Encoder) {
        out.bool(self.is_ok());
        match self {
            Ok(value) => value.encode(out),
            Err(error) => error.encode(out),
        }
    }

    fn decode(input: &mut Decoder, field: &'static str) -> Result<Self, DecodeError> {
        if input.bool(field)? { T::decode(input, field).map(Ok) } else { E::decode(input, field).map(Err) }
    }
}

/// Declares a struct whose encoding is its fields in order.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            const SIZE_MIN: usize = 0 $(+ <$type as $crate::wire::Wire>::SIZE_MIN)*;

            fn encode(&self, out: &mut $crate::codec::Encoder) {
                $($crate::wire::Wire::encode(&self.$field, out);)*
            }

            fn decode(
                input: &mut $crate::codec::Decoder,
                _field: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name {
                    $($field: $crate::wire::Wire::decode(
                        input,
                        concat!(stringify!($name), ".", stringify!($field)),
                    )?,)*
                })
            }
        }
    };
}

/// Declares an enum whose encoding is the variant's number, one byte, and then its fields in order.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $tag:literal => $variant:ident
            $({ $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant $({ $($(#[$field_meta])* $field: $type,)* })?,)*
        }

        impl $crate::wire::Wire for $name {
            const SIZE_MIN: usize = 1;

            fn encode(&self, out: &mut $crate::codec::Encoder) {
                match self {
                    $($name::$variant $({ $($field,)* })? => {
                        out.u8($tag);
                        $($($crate::wire::Wire::encode($field, out);)*)?
                    })*
                }
            }

            fn decode(
                input: &mut $crate::codec::Decoder,
                _field: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                match input.u8(concat!(stringify!($name), ".kind"))? {
                    $($tag => Ok($name::$variant $({
                        $($field: $crate::wire::Wire::decode(
                            input,
                            concat!(stringify!($variant), ".", stringify!($field)),
                        )?,)*
                    })?),)*
                    _ => Err($crate::codec::DecodeError::Invalid(concat!(stringify!($name), ".kind"))),
                }
            }
        }
    };
}

pub(crate) use {wire_bytes, wire_enum, wire_number, wire_struct};
