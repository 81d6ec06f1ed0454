//! What happened in this process and waits to be written into the file.

use parking_lot::Mutex;

/// What is written of something that happened.
pub(super) struct Row {
    pub(super) outbox: String,
    pub(super) at: i64,
    pub(super) weight: usize,
    pub(super) happening: Vec<u8>,
}

/// Rows that are being written. Whatever was not comes back when this goes: it failed, or whoever writes for all was dropped in the middle.
/// At worst it is written twice then, and told twice.
pub(super) struct Taken<'a> {
    pending: &'a Mutex<Vec<Row>>,
    pub(super) rows: Vec<Row>,
}

impl<'a> Taken<'a> {
    pub(super) fn all(pending: &'a Mutex<Vec<Row>>) -> Self {
        Self { pending, rows: std::mem::take(&mut *pending.lock()) }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        // What came meanwhile comes behind it.
        let mut pending = self.pending.lock();
        self.rows.append(&mut pending);
        std::mem::swap(&mut *pending, &mut self.rows);
    }
}
