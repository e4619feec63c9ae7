//! Appending small values to a message.
//!
//! What [`bytes::BufMut`] has for it is not inlined from another crate, and a result is made of millions of fields of a few
//! bytes. These are.

use bytes::BytesMut;

/// Appends values in network byte order.
pub(super) trait Append {
    /// Appends bytes.
    fn put_slice(&mut self, bytes: &[u8]);

    /// Appends one byte several times.
    fn put_bytes(&mut self, byte: u8, count: usize);

    /// Appends a byte.
    #[inline(always)]
    fn put_u8(&mut self, value: u8) {
        self.put_slice(&[value]);
    }

    /// Appends two bytes.
    #[inline(always)]
    fn put_u16(&mut self, value: u16) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends two bytes.
    #[inline(always)]
    fn put_i16(&mut self, value: i16) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends four bytes.
    #[inline(always)]
    fn put_u32(&mut self, value: u32) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends four bytes.
    #[inline(always)]
    fn put_i32(&mut self, value: i32) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends eight bytes.
    #[inline(always)]
    fn put_i64(&mut self, value: i64) {
        self.put_slice(&value.to_be_bytes());
    }
}

impl Append for BytesMut {
    #[inline(always)]
    fn put_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_bytes(&mut self, byte: u8, count: usize) {
        self.resize(self.len() + count, byte);
    }
}
