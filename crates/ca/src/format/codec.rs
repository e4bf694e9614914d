//! Fields to bytes and back, for the plain types and for the words of `pki`.
//!
//! Reading never trusts a length: nothing is allocated before the bytes for it are there.

use certus_pki::{
    CertId, ClusterName, Epoch, Grant, Lifetime, NodeId, PublicKey, Reason, Role, San, Serial, Sha256,
    SpiffeId, TokenId, UnixTime,
};

use super::Malformed;
use crate::limits::{BYTES_MAX, ITEMS_MAX};

/// A value that has a persisted form.
pub(crate) trait Persist: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Writer);
    /// Takes one value off.
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Bytes being written.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn length(&mut self, length: usize) {
        // Lengths are bounded far below 2^32 where values are accepted.
        self.raw(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes being read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(crate) fn raw(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short { what })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short { what })?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn length(&mut self, what: &'static str, max: usize) -> Result<usize, Malformed> {
        let length = u32::from_be_bytes(self.array(what)?) as usize;
        if length > max {
            return Err(Malformed::TooLong { what, max, came: length });
        }
        Ok(length)
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.length(what, BYTES_MAX)?;
        self.raw(length, what)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let value = |error: std::str::Utf8Error| Malformed::Value { what, why: error.to_string() };
        std::str::from_utf8(self.bytes(what)?).map_err(value)
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(Malformed::Long { bytes }),
        }
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Persist for $type {
            fn write(&self, out: &mut Writer) {
                out.raw(&self.to_be_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(<$type>::from_be_bytes(from.array("a number")?))
            }
        }
    )*};
}
numbers!(u16, u32, u64, i64);

impl Persist for bool {
    fn write(&self, out: &mut Writer) {
        out.byte(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match from.byte("yes or no")? {
            0 => Ok(false),
            1 => Ok(true),
            came => Err(Malformed::Choice { what: "yes or no", came }),
        }
    }
}

impl Persist for Vec<u8> {
    fn write(&self, out: &mut Writer) {
        out.bytes(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(from.bytes("bytes")?.to_vec())
    }
}

impl Persist for String {
    fn write(&self, out: &mut Writer) {
        out.bytes(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(from.text("text")?.to_owned())
    }
}

impl<T: Persist> Persist for Vec<T> {
    fn write(&self, out: &mut Writer) {
        out.length(self.len());
        for item in self {
            item.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = from.length("a list", ITEMS_MAX)?;
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<T: Persist> Persist for Option<T> {
    fn write(&self, out: &mut Writer) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<A: Persist, B: Persist> Persist for (A, B) {
    fn write(&self, out: &mut Writer) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

/// Implements [`Persist`] for a struct: its fields in this order.
macro_rules! persist_struct {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::format::Persist for $name {
            fn write(&self, out: &mut $crate::format::Writer) {
                $($crate::format::Persist::write(&self.$field, out);)*
            }

            fn read(from: &mut $crate::format::Reader<'_>) -> Result<Self, $crate::format::Malformed> {
                Ok($name { $($field: $crate::format::Persist::read(from)?),* })
            }
        }
    )*};
}
pub(crate) use persist_struct;

/// Implements [`Persist`] for an enum: one byte for the variant, then its fields in this order.
macro_rules! persist_enum {
    ($name:ident, $what:literal {
        $($tag:literal = $variant:ident $({ $($field:ident),* })? $(($inner:ident))?;)*
    }) => {
        impl $crate::format::Persist for $name {
            fn write(&self, out: &mut $crate::format::Writer) {
                match self {
                    $($name::$variant $({ $($field),* })? $(($inner))? => {
                        out.byte($tag);
                        $($($crate::format::Persist::write($field, out);)*)?
                        $($crate::format::Persist::write($inner, out);)?
                    })*
                }
            }

            fn read(from: &mut $crate::format::Reader<'_>) -> Result<Self, $crate::format::Malformed> {
                match from.byte($what)? {
                    $($tag => Ok($name::$variant
                        $({ $($field: $crate::format::Persist::read(from)?),* })?
                        $(({ let $inner = $crate::format::Persist::read(from)?; $inner }))?
                    ),)*
                    came => Err($crate::format::Malformed::Choice { what: $what, came }),
                }
            }
        }
    };
}
pub(crate) use persist_enum;

persist_struct! {
    CertId { issuer, serial }
    SpiffeId { cluster, role, id }
    Epoch { generation, revision }
}

persist_enum!(Role, "role" { 1 = Manager; 2 = Worker; 3 = Client; });
persist_enum!(Grant, "grant" { 0 = None; 1 = Read; 2 = Operate; 3 = Admin; });

impl Persist for Sha256 {
    fn write(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Sha256::from_bytes(from.array("a digest")?))
    }
}

impl Persist for Serial {
    fn write(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes: [u8; Serial::BYTES_MAX] = from.array("a serial number")?;
        Serial::from_be_bytes(&bytes).ok_or(Malformed::Short { what: "a serial number" })
    }
}

impl Persist for TokenId {
    fn write(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(TokenId::from_bytes(from.array("a token's id")?))
    }
}

impl Persist for UnixTime {
    fn write(&self, out: &mut Writer) {
        self.secs().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(UnixTime::from_secs(i64::read(from)?))
    }
}

impl Persist for Lifetime {
    fn write(&self, out: &mut Writer) {
        self.secs().write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Lifetime::from_secs(u32::read(from)?))
    }
}

impl Persist for Reason {
    fn write(&self, out: &mut Writer) {
        out.byte(self.number());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let came = from.byte("a reason")?;
        Reason::from_number(came).ok_or(Malformed::Choice { what: "reason", came })
    }
}

impl Persist for PublicKey {
    fn write(&self, out: &mut Writer) {
        out.bytes(self.spki_der());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let why = |error: certus_pki::key::BadKey| Malformed::Value { what: "key", why: error.to_string() };
        PublicKey::from_spki_der(from.bytes("a key")?).map_err(why)
    }
}

macro_rules! texts {
    ($($type:ty, $what:literal;)*) => {$(
        impl Persist for $type {
            fn write(&self, out: &mut Writer) {
                out.bytes(self.to_string().as_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let why = |error: certus_pki::name::BadName| {
                    Malformed::Value { what: $what, why: error.to_string() }
                };
                from.text($what)?.parse().map_err(why)
            }
        }
    )*};
}
texts! {
    ClusterName, "cluster name";
    NodeId, "node id";
    San, "name";
}
