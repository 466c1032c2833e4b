//! ledger (interim)
use std::collections::VecDeque;
use std::time::Duration;
/// ack
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// tag
    pub tag: u64,
    /// multiple
    pub multiple: bool,
}
/// ledger
#[derive(Debug, Default)]
pub struct Ledger {
    base: u64,
    entries: VecDeque<(u32, bool)>,
    open: usize,
    blocked: Duration,
}
impl Ledger {
    /// new
    #[must_use]
    pub fn new() -> Self {
        Self { base: 1, ..Self::default() }
    }
    /// received
    pub fn received(&mut self, tag: u64, routes: u32, now: Duration) {
        if self.entries.is_empty() {
            self.base = tag;
            self.blocked = now;
        }
        self.entries.push_back((routes, false));
        self.open += 1;
    }
    /// settled
    pub fn settled(&mut self, tag: u64) -> bool {
        let Some(at) = tag.checked_sub(self.base) else { return false };
        let Ok(at) = usize::try_from(at) else { return false };
        let Some(entry) = self.entries.get_mut(at) else { return false };
        if entry.0 == 0 {
            return false;
        }
        entry.0 -= 1;
        true
    }
    /// acks
    pub fn acks(&mut self, now: Duration) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut highest = None;
        let mut count = 0;
        while let Some(&(0, acked)) = self.entries.front() {
            if !acked {
                highest = Some(self.base);
                count += 1;
                self.open -= 1;
            }
            self.entries.pop_front();
            self.base += 1;
            self.blocked = now;
        }
        if let Some(tag) = highest {
            acks.push(Ack { tag, multiple: count > 1 });
        }
        if now.saturating_sub(self.blocked) >= Duration::from_millis(50) {
            for (at, entry) in self.entries.iter_mut().enumerate() {
                if *entry == (0, false) {
                    entry.1 = true;
                    self.open -= 1;
                    acks.push(Ack { tag: self.base + at as u64, multiple: false });
                }
            }
        }
        acks
    }
    /// outstanding
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.open
    }
}
